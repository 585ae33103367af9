package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	statusHelpSynopsis    = "Look at ECGrid with the stored login, live."
	statusHelpDescription = `
Asks ECGrid who the configured login is. Success means that ECGrid can be reached
and that the login works; auth_level shows what it may see. A failure has the same
status code and message as a read of a key would have. It is the first thing to try
when something does not work.
`
)

// statusPaths serves status.
func (m *mount) statusPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "status$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "status",
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(statusHelpSynopsis, m.readStatus, failing(ok(map[string]*framework.FieldSchema{
				"url":             {Type: framework.TypeString, Description: "The endpoint that was asked."},
				"auth_method":     {Type: framework.TypeString, Description: "password or api_key, whichever is stored."},
				"ecgrid_version":  {Type: framework.TypeString, Description: "The version that ECGridOS reports."},
				"login_name":      {Type: framework.TypeString, Description: "LoginName of the stored login."},
				"user_id":         {Type: framework.TypeInt, Description: "UserID of the stored login."},
				"auth_level":      {Type: framework.TypeString, Description: "AuthLevel of the stored login."},
				"network_id":      {Type: framework.TypeInt, Description: "NetworkID of the stored login."},
				"mailbox_id":      {Type: framework.TypeInt, Description: "MailboxID of the stored login; 0 if it is of no one mailbox."},
				"open_sessions":   {Type: framework.TypeInt, Description: "Open sessions of this user at ECGrid, by whomever; about 5 are allowed."},
				"session_timeout": {Type: framework.TypeInt, Description: "TimeOut of the session as ECGrid reports it; its unit is not documented."},
			}), append([]int{denied}, atECGrid...)...)),
		},
		HelpSynopsis:    statusHelpSynopsis,
		HelpDescription: statusHelpDescription,
	}}
}

// readStatus serves GET status.
func (m *mount) readStatus(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	status, err := m.engine.Status(ctx)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		"url":             status.URL,
		"auth_method":     status.AuthMethod,
		"ecgrid_version":  status.Session.ECGridOSVersion,
		"login_name":      status.Session.LoginName,
		"user_id":         status.Session.UserID,
		"auth_level":      status.Session.AuthLevel,
		"network_id":      status.Session.NetworkID,
		"mailbox_id":      status.Session.MailboxID,
		"open_sessions":   status.Session.OpenSessions,
		"session_timeout": status.Session.TimeOut,
	}}, nil
}
