package ecgrid

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	rolesPattern = "roles/"

	fieldName             = "name"
	fieldDescription      = "description"
	fieldRotateOnRevoke   = "rotate_on_revoke"
	fieldRotationPeriod   = "rotation_period"
	fieldRotationSchedule = "rotation_schedule"
	fieldRotationWindow   = "rotation_window"
	fieldLastRotation     = "last_rotation"
	fieldNextRotation     = "next_rotation"
	fieldLastError        = "last_rotation_error"

	rolesListHelpSynopsis    = "List the roles of this mount."
	rolesListHelpDescription = `
Lists the names of all roles. It does not call ECGrid.
`
	rolesHelpSynopsis    = "A team's name for one user's API key, with its own lease and rotation rules."
	rolesHelpDescription = `
A role names one ECGrid user. "creds/<name>" returns that user's API key on the
role's terms.

With rotate_on_revoke the key is replaced when its last lease of a role with that
option ends. It is decided when a lease is issued, and counted over all roles of the
user. With rotation_period, or rotation_schedule and rotation_window, the key is
replaced by time; a lease of the role then ends with the next rotation. ECGrid has
one key for each user: replacing it is immediate, for everyone who holds it.

A write is a patch: a field that is omitted stays as it is, and an empty value clears
an optional one. Whether the user exists is found out when the key is read. Reading
shows the role and how its rotations go. Deleting it ends no lease: they can still be
revoked, and no longer be renewed.
`
)

// rolesPaths serves roles/ and roles/<name>.
func (m *mount) rolesPaths() []*framework.Path {
	write := operation("Write a role; what is omitted stays as it is.", m.writeRole, failing(noContent(), atECGrid...))
	return []*framework.Path{
		{
			Pattern: rolesPattern + "?$",
			DisplayAttrs: &framework.DisplayAttributes{
				OperationPrefix: operationPrefix,
				OperationSuffix: "roles",
				Navigation:      true,
				ItemType:        "Role",
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation(rolesListHelpSynopsis, m.listRoles, failing(ok(map[string]*framework.FieldSchema{
					"keys": {Type: framework.TypeStringSlice, Description: "Names of the roles, in alphabetical order."},
				}), missing)),
			},
			HelpSynopsis:    rolesListHelpSynopsis,
			HelpDescription: rolesListHelpDescription,
		},
		{
			Pattern: rolesPattern + framework.GenericNameRegex(fieldName),
			DisplayAttrs: &framework.DisplayAttributes{
				OperationPrefix: operationPrefix,
				OperationSuffix: "role",
				ItemType:        "Role",
				Action:          "Create",
			},
			Fields:         roleFields(),
			ExistenceCheck: m.roleExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: write,
				logical.UpdateOperation: write,
				logical.PatchOperation:  operation("Patch a role; null clears a field.", m.patchRole, failing(noContent(), append([]int{missing}, atECGrid...)...)),
				logical.ReadOperation:   operation("Read a role and how its rotations go.", m.readRole, failing(ok(roleResponseFields()), missing)),
				logical.DeleteOperation: operation("Delete a role; its leases can still be revoked.", m.deleteRole, noContent()),
			},
			HelpSynopsis:    rolesHelpSynopsis,
			HelpDescription: rolesHelpDescription,
		},
	}
}

func roleNameField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Required:     true,
		Description:  "Name of the role.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Name"},
	}
}

func roleFields() map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		fieldName:   roleNameField(),
		fieldUserID: roleUserIDField(),
		fieldTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Lease of the key. 0: the ttl of config, else the mount's default.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL"},
		},
		fieldMaxTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Longest lease of the key, with all renewals. 0: the max_ttl of config, else the mount's maximum, which it never exceeds.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Maximum TTL"},
		},
		fieldDescription: {
			Type:         framework.TypeString,
			Description:  "What the role is for, for people.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Description"},
		},
		fieldRotateOnRevoke: {
			Type:         framework.TypeBool,
			Description:  "Replace the key when its last lease of a role with this option ends, counted over all roles of the user.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotate on revoke"},
		},
	}
	addScheduleFields(fields)
	return fields
}

// roleUserIDField is not marked as required: a patch need not repeat it.
func roleUserIDField() *framework.FieldSchema {
	field := userIDField()
	field.Required = false
	field.Description += " Needed when the role is created; a string or a number."
	return field
}

// addScheduleFields adds the fields that Vault's own engines have for rotation.
func addScheduleFields(fields map[string]*framework.FieldSchema) {
	fields[fieldRotationPeriod] = &framework.FieldSchema{
		Type:         framework.TypeDurationSecond,
		Description:  "Time between rotations, at least 1m. 0: none. Not together with rotation_schedule.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation period"},
	}
	fields[fieldRotationSchedule] = &framework.FieldSchema{
		Type:         framework.TypeString,
		Description:  "Cron expression of five fields, in UTC, that says when to rotate.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation schedule"},
	}
	fields[fieldRotationWindow] = &framework.FieldSchema{
		Type:         framework.TypeDurationSecond,
		Description:  "How long after a time of rotation_schedule the rotation may still begin, at least 1h. 0: for ever.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation window"},
	}
}

func roleResponseFields() map[string]*framework.FieldSchema {
	fields := roleFields()
	delete(fields, fieldName)
	asAnswered(fields)
	fields[fieldUserID] = &framework.FieldSchema{Type: framework.TypeInt, Description: "UserID of the ECGrid user."}
	fields[fieldLastRotation] = &framework.FieldSchema{Type: framework.TypeTime, Description: "When the key was last rotated by this role; null if never."}
	fields[fieldNextRotation] = &framework.FieldSchema{Type: framework.TypeTime, Description: "When it is due next; null if never."}
	fields[fieldLastError] = &framework.FieldSchema{Type: framework.TypeString, Description: "Why the last try failed; empty if it did not."}
	return fields
}

func roleName(d *framework.FieldData) string { return d.Get(fieldName).(string) }

func (m *mount) roleExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	_, err := m.engine.ReadRole(ctx, roleName(d))
	if errors.Is(err, backend.ErrRoleNotFound) {
		return false, nil
	}
	return err == nil, err
}

// listRoles serves LIST roles.
func (m *mount) listRoles(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	names, err := m.engine.ListRoles(ctx)
	if err != nil {
		return nil, err
	}
	return logical.ListResponse(names), nil
}

// writeRole serves PUT and POST roles/<name>.
func (m *mount) writeRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	patch, err := rolePatch(d)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.WriteRole(ctx, roleName(d), patch)
}

// patchRole serves PATCH roles/<name>: the same, of a role that is there.
func (m *mount) patchRole(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	patch, err := rolePatch(d)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.PatchRole(ctx, roleName(d), patch)
}

func rolePatch(d *framework.FieldData) (p backend.RolePatch, err error) {
	p.RotateOnRevoke = clearableBoolField(d, fieldRotateOnRevoke)
	if p.UserID, err = userID(d); err != nil {
		return p, err
	}
	if p.Description, err = stringField(d, fieldDescription); err != nil {
		return p, err
	}
	if p.TTL, err = durationField(d, fieldTTL, 0); err != nil {
		return p, err
	}
	if p.MaxTTL, err = durationField(d, fieldMaxTTL, 0); err != nil {
		return p, err
	}
	p.Schedule, err = schedulePatch(d)
	return p, err
}

// userID reads the UserID that was sent, as a string or as a JSON number. Floats
// are what numbers become on their way to a plugin.
func userID(d *framework.FieldData) (*int32, error) {
	if _, sent := d.Raw[fieldUserID]; !sent {
		return nil, nil
	}
	var text string
	switch raw := d.Raw[fieldUserID].(type) {
	case string:
		text = raw
	case json.Number:
		text = raw.String()
	case float64:
		if raw != math.Trunc(raw) {
			return nil, backend.Invalid("user_id has to be a whole number")
		}
		text = strconv.FormatFloat(raw, 'f', 0, 64)
	case int:
		text = strconv.Itoa(raw)
	default:
		return nil, backend.Invalid("user_id has to be a number, or a string of one")
	}
	id, err := backend.ParseUserID(text)
	return &id, err
}

func schedulePatch(d *framework.FieldData) (p backend.SchedulePatch, err error) {
	if p.Period, err = durationField(d, fieldRotationPeriod, 0); err != nil {
		return p, err
	}
	if p.Cron, err = stringField(d, fieldRotationSchedule); err != nil {
		return p, err
	}
	p.Window, err = durationField(d, fieldRotationWindow, 0)
	return p, err
}

// readRole serves GET roles/<name>.
func (m *mount) readRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	r, err := m.engine.ReadRole(ctx, roleName(d))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		fieldUserID:           r.UserID,
		fieldDescription:      r.Description,
		fieldTTL:              seconds(r.TTL),
		fieldMaxTTL:           seconds(r.MaxTTL),
		fieldRotateOnRevoke:   r.RotateOnRevoke,
		fieldRotationPeriod:   seconds(r.Schedule.Period),
		fieldRotationSchedule: r.Schedule.Cron,
		fieldRotationWindow:   seconds(r.Schedule.Window),
		fieldLastRotation:     timestamp(r.Rotation.Last),
		fieldNextRotation:     timestamp(r.Rotation.Next),
		fieldLastError:        r.Rotation.LastError,
	}}, nil
}

// deleteRole serves DELETE roles/<name>.
func (m *mount) deleteRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return nil, m.engine.DeleteRole(ctx, roleName(d))
}
