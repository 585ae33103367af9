package ecgrid

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	fieldRotatedAt = "rotated_at"

	rotateRootHelpSynopsis    = "Change the password of the configured ECGrid login."
	rotateRootHelpDescription = `
Makes a password, by password_policy of config or else by a built-in generator, and
changes the login's own password at ECGrid to it. From then on only Vault knows it;
it is not returned. A crash, a lost answer or a change that is made late loses
nothing: both passwords are kept until it is clear which one ECGrid has. Without a
confirmation this answers 409 and settles by itself in the background;
last_root_rotation_error of "config" is empty when that is done. A config with an
api_key has no password to rotate.
`
	rotateKeyHelpSynopsis    = "Replace the API key of an ECGrid user now."
	rotateKeyHelpDescription = `
Has ECGrid make a new API key for this user. The old one is dead at once, for
everyone who holds it, with no time in which both work. The new one is not returned:
read it from "keys/<user_id>". For a user that has no key yet this makes the first.
ECGrid gets the order once; 409 says that it was not confirmed and may be carried out
late.
The user whose api_key the config itself uses is refused.
`
	rotateRoleHelpSynopsis    = "Replace the API key of a role's user now."
	rotateRoleHelpDescription = `
The same as "rotate-key/<user_id>" for the user that the role names. The role's
rotation schedule counts from then on.
`
)

// rotatePaths serves rotate-root, rotate-key/<user_id> and rotate-role/<name>.
func (m *mount) rotatePaths() []*framework.Path {
	rotatedAt := &framework.FieldSchema{Type: framework.TypeTime, Description: "When it was done, UTC."}
	key := failing(ok(map[string]*framework.FieldSchema{
		fieldUserID:    {Type: framework.TypeInt, Description: "UserID of the user whose key was replaced."},
		fieldRotatedAt: rotatedAt,
	}), inDoubt...)
	root := failing(ok(map[string]*framework.FieldSchema{fieldRotatedAt: rotatedAt}), append([]int{denied}, ofLogin...)...)
	return []*framework.Path{
		m.rotatePath("rotate-root$", "root", nil, operation(rotateRootHelpSynopsis, m.rotateRoot, root), rotateRootHelpDescription),
		m.rotatePath("rotate-key/"+framework.MatchAllRegex(fieldUserID), "key",
			map[string]*framework.FieldSchema{fieldUserID: userIDField()},
			operation(rotateKeyHelpSynopsis, m.rotateKey, key), rotateKeyHelpDescription),
		m.rotatePath("rotate-role/"+framework.GenericNameRegex(fieldName), "role",
			map[string]*framework.FieldSchema{fieldName: roleNameField()},
			operation(rotateRoleHelpSynopsis, m.rotateRole, key), rotateRoleHelpDescription),
	}
}

func (m *mount) rotatePath(pattern, suffix string, fields map[string]*framework.FieldSchema, update *framework.PathOperation, description string) *framework.Path {
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
	userID, err := backend.ParseUserID(d.Get(fieldUserID).(string))
	if err != nil {
		return nil, err
	}
	return rotatedKey(m.engine.RotateKey(ctx, userID))
}

// rotateRole serves POST rotate-role/<name>.
func (m *mount) rotateRole(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	return rotatedKey(m.engine.RotateRole(ctx, roleName(d)))
}

func rotatedKey(rotation backend.KeyRotation, err error) (*logical.Response, error) {
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

// timestamp is how a time is returned; one that has not come, or never will, is null.
func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339)
}
