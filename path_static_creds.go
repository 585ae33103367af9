// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"maps"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	staticCredsPattern = "static-creds/"

	staticCredsHelpSynopsis    = "Read the API key of a role's user, without a lease."
	staticCredsHelpDescription = `
Returns the API key of the ECGrid user that the role names. There is no lease, so Vault
stores nothing for a read. Use it for consumers that read again and again, such as
operators and caches. Use "creds/<name>" for consumers that renew a lease: they are told
about a replaced key by a refused renewal.

The response has the form of Vault's own static roles. Read again after "ttl" seconds: at
the next rotation, or after the ttl of the role or config, if that is sooner. A role
with rotate_on_revoke is refused, because its leases are counted.
`
)

// staticCredsFields lists the fields of a response, apart from the role's name.
var staticCredsFields = fieldTable[noPatch, backend.StaticCreds]{
	returnedField[noPatch](fieldUserID, framework.TypeInt, "UserID of the ECGrid user.",
		func(c backend.StaticCreds) any { return c.UserID }),
	returnedField[noPatch]("last_vault_rotation", framework.TypeTime,
		"When the role last rotated the key, or else when the role was given this user.",
		func(c backend.StaticCreds) any { return timestamp(c.LastRotation) }),
	returnedField[noPatch]("rotation_period", framework.TypeInt,
		"Seconds between rotations. For a role without rotations, the same as ttl. Absent for a role with a schedule.",
		func(c backend.StaticCreds) any { return present(seconds(c.Schedule.Period)) }),
	returnedField[noPatch]("rotation_schedule", framework.TypeString,
		"Cron expression of the rotation times, in UTC. Absent for a role without a schedule.",
		func(c backend.StaticCreds) any { return present(c.Schedule.Cron) }),
	returnedField[noPatch]("rotation_window", framework.TypeInt,
		"Seconds in which a scheduled rotation may start. Absent if there is no limit.",
		func(c backend.StaticCreds) any { return present(seconds(c.Schedule.Window)) }),
	returnedField[noPatch](fieldTTL, framework.TypeInt, "Seconds until the key should be read again.",
		func(c backend.StaticCreds) any { return seconds(c.TTL) }),
}

// present is a value of a response, or nil if it is its type's zero value.
func present[T comparable](value T) any {
	var zero T
	if value == zero {
		return nil
	}
	return value
}

// staticCredsPaths serves static-creds/<name>.
func (m *mount) staticCredsPaths() []*framework.Path {
	fields := staticCredsFields.responseSchema()
	maps.Copy(fields, apiKeyFields())
	fields[fieldRole] = roleField()
	return []*framework.Path{{
		Pattern: staticCredsPattern + framework.GenericNameRegex(fieldName),
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationVerb:   "read",
			OperationSuffix: "static-role-credentials",
		},
		Fields: map[string]*framework.FieldSchema{fieldName: roleNameField()},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(staticCredsHelpSynopsis, m.readStaticCreds, withErrors(ok(fields), userErrors...)),
		},
		HelpSynopsis:    staticCredsHelpSynopsis,
		HelpDescription: staticCredsHelpDescription,
	}}
}

// readStaticCreds serves GET static-creds/<name>.
func (m *mount) readStaticCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	name := pathRoleName(d)
	creds, err := m.engine.ReadStaticCreds(ctx, name)
	if err != nil {
		return nil, err
	}
	data := staticCredsFields.data(creds)
	data[fieldAPIKey], data[fieldRole] = creds.APIKey, name
	maps.DeleteFunc(data, func(_ string, value any) bool { return value == nil })
	return &logical.Response{Data: data}, nil
}
