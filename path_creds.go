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
Returns the API key of the ECGrid user that the role names, leased on the role's
terms: its ttl and max_ttl, and its rotation rules. See "roles/<name>" for what they
can be, and "keys/<user_id>" for what a lease means.

Where the role rotates by time, the lease ends with the next rotation. Where it has
rotate_on_revoke, the key is replaced when the last such lease ends.
`
)

// credsPaths serves creds/<name>.
func (m *mount) credsPaths() []*framework.Path {
	fields := apiKeyFields()
	fields[fieldRole] = &framework.FieldSchema{Type: framework.TypeString, Description: "The role that was read."}
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
			logical.ReadOperation: operation(credsHelpSynopsis, m.readCreds, failing(ok(fields), ofUser...)),
		},
		HelpSynopsis:    credsHelpSynopsis,
		HelpDescription: credsHelpDescription,
	}}
}

// readCreds serves GET creds/<name>.
func (m *mount) readCreds(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	ttl, err := durationField(d, fieldTTL, 0)
	if err != nil {
		return nil, err
	}
	issued, err := m.engine.IssueCreds(ctx, roleName(d), orZero(ttl))
	if err != nil {
		return nil, err
	}
	resp := m.leased(issued)
	resp.Data[fieldRole] = issued.Lease.Role
	return resp, nil
}
