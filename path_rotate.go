// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	fieldRotatedAt = "rotated_at"

	rotateRootHelpSynopsis    = "Change the password of the configured ECGrid login."
	rotateRootHelpDescription = `
Generates a password and makes it the login's password at ECGrid. The password comes
from the password_policy of config, or else from a built-in generator. Only Vault knows
it. It is not returned.

A crash, a lost answer or a late change loses nothing: both passwords are kept until it
is known which one ECGrid has. If ECGrid does not confirm the change, this path answers
409, and the plugin resolves it in the background. Then last_root_rotation_error of
"config" is empty. A config with an api_key has no password to rotate.
`
	rotateKeyHelpSynopsis    = "Replace the API key of an ECGrid user now."
	rotateKeyHelpDescription = `
Makes ECGrid generate a new API key for this user. The old key stops working at once for
everyone who uses it. The two keys never work at the same time. The new key is not
returned. Read it from "keys/<user_id>". A user without a key gets its first one.

The request to ECGrid is sent once. 409 means that ECGrid did not confirm it and may
still carry it out. The renewal of a lease from before tells whether the key was replaced:
then it is refused. The user whose api_key the config uses is refused.
`
	rotateRoleHelpSynopsis    = "Replace the API key of a role's user now."
	rotateRoleHelpDescription = `
Does the same as "rotate-key/<user_id>" for the user of the role. The role's rotation
schedule then counts from this rotation.
`
)

// rotatePaths serves rotate-root, rotate-key/<user_id> and rotate-role/<name>.
func (m *mount) rotatePaths() []*framework.Path {
	rotatedAt := &framework.FieldSchema{Type: framework.TypeTime, Description: "Time of the rotation, in UTC."}
	root := withErrors(ok(map[string]*framework.FieldSchema{fieldRotatedAt: rotatedAt}), rootErrors...)
	key := withErrors(ok(map[string]*framework.FieldSchema{
		fieldUserID:    {Type: framework.TypeInt, Description: "UserID of the user whose key was replaced."},
		fieldRotatedAt: rotatedAt,
	}), rotationErrors...)
	return []*framework.Path{
		rotatePath("rotate-root$", "root", nil, operation(rotateRootHelpSynopsis, m.rotateRoot, root), rotateRootHelpDescription),
		rotatePath("rotate-key/"+framework.MatchAllRegex(fieldUserID), "key",
			map[string]*framework.FieldSchema{fieldUserID: userIDField()},
			operation(rotateKeyHelpSynopsis, m.rotateKey, key), rotateKeyHelpDescription),
		rotatePath("rotate-role/"+framework.GenericNameRegex(fieldName), "role",
			map[string]*framework.FieldSchema{fieldName: roleNameField()},
			operation(rotateRoleHelpSynopsis, m.rotateRole, key), rotateRoleHelpDescription),
	}
}

func rotatePath(pattern, suffix string, fields map[string]*framework.FieldSchema, update *framework.PathOperation, description string) *framework.Path {
	return &framework.Path{
		Pattern: pattern,
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationVerb:   "rotate",
			OperationSuffix: suffix,
		},
		Fields:          fields,
		Operations:      map[logical.Operation]framework.OperationHandler{logical.UpdateOperation: update},
		HelpSynopsis:    update.Summary,
		HelpDescription: description,
	}
}

// rotateRoot serves POST rotate-root.
func (m *mount) rotateRoot(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	at, err := m.engine.RotateRoot(ctx)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{fieldRotatedAt: timestamp(at)}}, nil
}

// rotateKey serves POST rotate-key/<user_id>.
func (m *mount) rotateKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	userID, err := pathUserID(d)
	if err != nil {
		return nil, err
	}
	return rotationResponse(m.engine.RotateKey(ctx, userID))
}

// rotateRole serves POST rotate-role/<name>.
func (m *mount) rotateRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return rotationResponse(m.engine.RotateRole(ctx, pathRoleName(d)))
}

func rotationResponse(rotation backend.KeyRotation, err error) (*logical.Response, error) {
	if err != nil {
		return nil, err
	}
	return &logical.Response{
		Data: map[string]any{
			fieldUserID:    rotation.UserID,
			fieldRotatedAt: timestamp(rotation.RotatedAt),
		},
		Warnings: rotation.Warnings,
	}, nil
}
