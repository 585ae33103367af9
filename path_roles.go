// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	rolesPattern = "roles/"

	rolesListHelpSynopsis    = "List the roles of this mount."
	rolesListHelpDescription = `
Lists the names of all roles. It does not call ECGrid.
`
	rolesHelpSynopsis    = "Manage a role: a name for one user's API key, with its own lease and rotation settings."
	rolesHelpDescription = `
A role names one ECGrid user. "creds/<name>" returns that user's API key with the
role's lease settings, and "static-creds/<name>" returns it without a lease.

ECGrid has one key per user. Replacing the key takes effect at once for everyone who
uses it.

With rotate_on_revoke, the key is replaced when the last lease with this option ends.
The option of a lease is set when the lease is issued. The leases of all roles of the
user count. With rotation_period, or rotation_schedule and rotation_window, the key is
replaced on a schedule, and a lease of the role ends at the next rotation.

A write is a patch. An omitted field keeps its value. An empty value clears an
optional field. The user is first looked up when the key is read. A read returns the
role and the state of its rotations. A delete ends no lease. Existing leases can still
be revoked but no longer renewed.
`
)

// roleFields lists the fields of a role, apart from its name.
var roleFields = slices.Concat(fieldTable[backend.RolePatch, backend.Role]{
	{
		name: fieldUserID,
		// Not required, because a patch may omit it.
		request:  newSchema(framework.TypeString, "User ID", userIDField().Description+" Required to create a role. A string or a number."),
		response: &framework.FieldSchema{Type: framework.TypeInt, Description: "UserID of the ECGrid user."},
		parse: func(d *framework.FieldData, p *backend.RolePatch) (err error) {
			p.UserID, err = parseUserID(d)
			return err
		},
		value: func(r backend.Role) any { return r.UserID },
	},
	stringField("description", "Description",
		"What the role is for, as a note to readers.",
		func(p *backend.RolePatch) **string { return &p.Description },
		func(r backend.Role) string { return r.Description }),
	durationField(fieldTTL, "TTL",
		"Lease duration of the key. 0 means the ttl of config, or else the mount's default.", 0,
		func(p *backend.RolePatch) **time.Duration { return &p.TTL },
		func(r backend.Role) time.Duration { return r.TTL }),
	durationField(fieldMaxTTL, "Maximum TTL",
		"Maximum lease duration of the key, including renewals. 0 means the max_ttl of config, or else the mount's maximum, which is never exceeded.", 0,
		func(p *backend.RolePatch) **time.Duration { return &p.MaxTTL },
		func(r backend.Role) time.Duration { return r.MaxTTL }),
	boolField("rotate_on_revoke", "Rotate on revoke",
		"Replace the key when the last lease with this option ends. The leases of all roles of the user count.",
		func(p *backend.RolePatch) **bool { return &p.RotateOnRevoke },
		func(r backend.Role) bool { return r.RotateOnRevoke }),
	returnedField[backend.RolePatch]("last_rotation", framework.TypeTime,
		"When this role last rotated the key, or null if never.",
		func(r backend.Role) any { return timestamp(r.Rotation.Last) }),
	returnedField[backend.RolePatch]("next_rotation", framework.TypeTime,
		"When the next rotation is due, or null if never.",
		func(r backend.Role) any { return timestamp(r.Rotation.Next) }),
	returnedField[backend.RolePatch]("last_rotation_error", framework.TypeString,
		"Why the last rotation failed or was not started. Empty otherwise.",
		func(r backend.Role) any { return r.Rotation.LastError }),
}, scheduleFields(
	func(p *backend.RolePatch) *backend.SchedulePatch { return &p.Schedule },
	func(r backend.Role) backend.Schedule { return r.Schedule },
))

// rolesPaths serves roles/ and roles/<name>.
func (m *mount) rolesPaths() []*framework.Path {
	fields := roleFields.requestSchema()
	fields[fieldName] = roleNameField()
	write := operation("Write a role. Omitted fields keep their values.", m.writeRole(m.engine.WriteRole), withErrors(noContent(), ecgridErrors...))
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
				logical.ListOperation: operation(rolesListHelpSynopsis, m.listRoles, withErrors(ok(map[string]*framework.FieldSchema{
					"keys": {Type: framework.TypeStringSlice, Description: "Names of the roles, in alphabetical order."},
				}), http.StatusNotFound)),
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
			Fields:         fields,
			ExistenceCheck: m.roleExists,
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.CreateOperation: write,
				logical.UpdateOperation: write,
				logical.PatchOperation: operation("Patch a role. A null clears a field.", m.writeRole(m.engine.PatchRole),
					withErrors(withErrors(noContent(), ecgridErrors...), http.StatusNotFound)),
				logical.ReadOperation:   operation("Read a role and the state of its rotations.", m.readRole, withErrors(ok(roleFields.responseSchema()), http.StatusNotFound)),
				logical.DeleteOperation: operation("Delete a role. Its leases can still be revoked.", m.deleteRole, noContent()),
			},
			HelpSynopsis:    rolesHelpSynopsis,
			HelpDescription: rolesHelpDescription,
		},
	}
}

func (m *mount) roleExists(ctx context.Context, req *logical.Request, d *framework.FieldData) (bool, error) {
	_, err := m.engine.ReadRole(ctx, pathRoleName(d))
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

// writeRole serves POST and PATCH roles/<name>. They differ in the engine's method.
func (m *mount) writeRole(write func(context.Context, string, backend.RolePatch) error) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		patch, err := roleFields.patch(d)
		if err != nil {
			return nil, err
		}
		return nil, write(ctx, pathRoleName(d), patch)
	}
}

// readRole serves GET roles/<name>.
func (m *mount) readRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	role, err := m.engine.ReadRole(ctx, pathRoleName(d))
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: roleFields.data(role)}, nil
}

// deleteRole serves DELETE roles/<name>.
func (m *mount) deleteRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return nil, m.engine.DeleteRole(ctx, pathRoleName(d))
}
