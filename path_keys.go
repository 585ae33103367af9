// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"fmt"
	"strconv"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	keysListPattern = "keys/?$"
	keysPattern     = "keys/"

	// maxKeyInfo is how many users a list describes. For 100,000 users the response is
	// then 2 MB and takes 4 s. With all of them described it is 14 MB, takes 10 s, and
	// costs Vault 350 MB more memory.
	maxKeyInfo = 10_000

	keysListHelpSynopsis    = "List the ECGrid users that the configured login can see."
	keysListHelpDescription = `
Asks ECGrid for the users that the configured login can see. The keys of the list are
user IDs. A listed user does not always have an API key. key_info gives the login_name,
network_id, mailbox_id, auth_level and status of each user. "vault list -detailed"
shows them as a table. The list is complete up to 100,000 users. Beyond 10,000 users,
key_info describes only the first 10,000 by user ID, and a warning says so.
`
	keysHelpSynopsis    = "Read the API key of an ECGrid user, as a leased secret."
	keysHelpDescription = `
Returns the API key of the user with this UserID. Every read calls ECGrid, unless
key_cache_ttl in config allows a cached key.

The user ID is a plain decimal number from 1 to 2147483647. Any other spelling, such
as one with a leading zero, is refused. That way a policy on a path always covers one
user.

ECGrid has one long-lived API key per user. All leases of a user share it, and
revoking a lease does not end the key. A user without a key is answered with 404.
"rotate-key/<user_id>" creates one. A lease renewal asks ECGrid whether the user still
has the same key. If the key was replaced, the renewal fails. Read this path again to
get the new key.
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
				logical.ListOperation: operation(keysListHelpSynopsis, m.listKeys, withErrors(ok(map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "User IDs, in ascending order."},
					"key_info": {Type: framework.TypeMap, Description: "The login_name, network_id, mailbox_id, auth_level and status of the first 10,000 users, by user ID."},
				}), userErrors...)),
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
				logical.ReadOperation: operation(keysHelpSynopsis, m.readKey, withErrors(ok(apiKeyFields()), userErrors...)),
			},
			HelpSynopsis:    keysHelpSynopsis,
			HelpDescription: keysHelpDescription,
		},
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
		resp.AddWarning(fmt.Sprintf("key_info describes the first %d of %d users; keys lists all of them", len(described), len(users)))
	}
	return resp, nil
}

// readKey serves GET keys/<user_id>.
func (m *mount) readKey(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	userID, err := pathUserID(d)
	if err != nil {
		return nil, err
	}
	ttl, err := parseReadTTL(d)
	if err != nil {
		return nil, err
	}
	issued, err := m.engine.IssueKey(ctx, userID, ttl)
	if err != nil {
		return nil, err
	}
	return m.leaseResponse(issued), nil
}
