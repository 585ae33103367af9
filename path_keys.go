package ecgrid

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	keysListPattern = "keys/?$"
	keysPattern     = "keys/"

	fieldUserID = "user_id"
	fieldTTL    = "ttl"
	fieldAPIKey = "api_key"

	// maxKeyInfo is how many users a list describes. A list of 100,000 then takes 2 MB
	// and 4 s; described in full it took 14 MB, 10 s, and Vault 350 MB more to serve it.
	maxKeyInfo = 10_000

	keysListHelpSynopsis    = "List the ECGrid users whose API keys can be read."
	keysListHelpDescription = `
Asks ECGrid for the users that the configured login can see. The keys of the list
are user IDs; key_info holds login_name, network_id, mailbox_id, auth_level and
status of each. "vault list -detailed" shows them as a table. What is listed is what
the login can see: a user may be listed without having a key. The list is complete up
to 100,000 users. Beyond 10,000, key_info holds the first 10,000, in the order of
their IDs, and a warning says so.
`
	keysHelpSynopsis    = "Read the API key of an ECGrid user, as a leased secret."
	keysHelpDescription = `
Returns the API key of the user with this UserID. Every read asks ECGrid, unless
key_cache_ttl in config allows otherwise.

The user ID is a plain decimal number from 1 to 2147483647. Any other spelling,
such as one with a leading zero, is refused, so that a policy on a path is a policy
on a user.

ECGrid has one long-lived API key for each user. All leases on a user share it, and
revoking a lease does not end the key. A user that has none is answered with 404;
"rotate-key/<user_id>" makes one. Renewing a lease asks ECGrid whether the key
is still the user's: if it was replaced, the renewal is refused, and reading this
path again gives the new one.
`
)

// keysPaths serves keys/ and keys/<user_id>.
func (m *mount) keysPaths() []*framework.Path {
	return []*framework.Path{
		{
			Pattern: keysListPattern,
			DisplayAttrs: &framework.DisplayAttributes{
				OperationPrefix: operationPrefix,
				OperationSuffix: "keys",
				Navigation:      true,
				ItemType:        "Key",
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ListOperation: operation(keysListHelpSynopsis, m.listKeys, failing(ok(map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "User IDs, in ascending order."},
					"key_info": {Type: framework.TypeMap, Description: "By user ID: login_name, network_id, mailbox_id, auth_level and status; of the first 10,000."},
				}), ofUser...)),
			},
			HelpSynopsis:    keysListHelpSynopsis,
			HelpDescription: keysListHelpDescription,
		},
		{
			Pattern: keysPattern + framework.MatchAllRegex(fieldUserID),
			DisplayAttrs: &framework.DisplayAttributes{
				OperationPrefix: operationPrefix,
				OperationSuffix: "key",
				ItemType:        "Key",
			},
			Fields: map[string]*framework.FieldSchema{
				fieldUserID: userIDField(),
				fieldTTL:    readTTLField(),
			},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: operation(keysHelpSynopsis, m.readKey, failing(ok(apiKeyFields()), ofUser...)),
			},
			HelpSynopsis:    keysHelpSynopsis,
			HelpDescription: keysHelpDescription,
		},
	}
}

func userIDField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeString,
		Required:     true,
		Description:  "UserID of the ECGrid user: a plain decimal number from 1 to 2147483647.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "User ID"},
	}
}

func readTTLField() *framework.FieldSchema {
	return &framework.FieldSchema{
		Type:         framework.TypeDurationSecond,
		Query:        true,
		Description:  "Lease of this read, at most the configured max_ttl and the mount's maximum. 0 or unset: the configured ttl, else the mount's.",
		DisplayAttrs: &framework.DisplayAttributes{Name: "TTL"},
	}
}

// listKeys serves LIST keys.
func (m *mount) listKeys(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	users, err := m.engine.ListUsers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = strconv.Itoa(int(u.UserID))
	}
	described := users[:min(len(users), maxKeyInfo)]
	info := make(map[string]any, len(described))
	for i, u := range described {
		info[ids[i]] = map[string]any{
			"login_name": u.LoginName,
			"network_id": u.NetworkID,
			"mailbox_id": u.MailboxID,
			"auth_level": u.AuthLevel,
			"status":     u.Status,
		}
	}
	resp := logical.ListResponseWithInfo(ids, info)
	if len(described) < len(users) {
		resp.AddWarning(fmt.Sprintf("key_info holds the first %d of %d users; keys has them all", len(described), len(users)))
	}
	return resp, nil
}

// readKey serves GET keys/<user_id>.
func (m *mount) readKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	userID, err := backend.ParseUserID(d.Get(fieldUserID).(string))
	if err != nil {
		return nil, err
	}
	ttl, err := durationField(d, fieldTTL, 0)
	if err != nil {
		return nil, err
	}
	issued, err := m.engine.IssueKey(ctx, userID, orZero(ttl))
	if err != nil {
		return nil, err
	}
	return m.leased(issued), nil
}
