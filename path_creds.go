// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	credsPattern = "creds/"

	fieldRole = "role"

	credsHelpSynopsis    = "Read the API key of a role's user, as a leased secret."
	credsHelpDescription = `
Returns the API key of the ECGrid user that the role names, with the role's lease and
rotation settings. See "roles/<name>" for these settings, and "keys/<user_id>" for what
a lease means.

If the role rotates on a schedule, the lease ends at the next rotation. If the role has
rotate_on_revoke, the key is replaced when the last such lease ends.
`
)

// credsPaths serves creds/<name>.
func (m *mount) credsPaths() []*framework.Path {
	fields := apiKeyFields()
	fields[fieldRole] = roleField()
	return []*framework.Path{{
		Pattern: credsPattern + framework.GenericNameRegex(fieldName),
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationVerb:   "generate",
			OperationSuffix: "credentials",
		},
		Fields: map[string]*framework.FieldSchema{
			fieldName: roleNameField(),
			fieldTTL:  readTTLField(),
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(credsHelpSynopsis, m.readCreds, withErrors(ok(fields), userErrors...)),
		},
		HelpSynopsis:    credsHelpSynopsis,
		HelpDescription: credsHelpDescription,
	}}
}

// roleField is the role name in a response.
func roleField() *framework.FieldSchema {
	return &framework.FieldSchema{Type: framework.TypeString, Description: "Name of the role."}
}

// readCreds serves GET creds/<name>.
func (m *mount) readCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	ttl, err := parseReadTTL(d)
	if err != nil {
		return nil, err
	}
	issued, err := m.engine.IssueCreds(ctx, pathRoleName(d), ttl)
	if err != nil {
		return nil, err
	}
	resp := m.leaseResponse(issued)
	resp.Data[fieldRole] = issued.Lease.Role
	return resp, nil
}
