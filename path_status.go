// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	statusHelpSynopsis    = "Check the stored login against ECGrid."
	statusHelpDescription = `
Asks ECGrid who the configured login is. Success means that ECGrid is reachable and
that the login works. auth_level shows what the login can see. A failure has the same
status code and message as a read of a key. Try this path first if something does not
work.
`
)

var statusFields = fieldTable[noPatch, backend.Status]{
	returnedField[noPatch]("transport", framework.TypeString, "soap or rest.",
		func(s backend.Status) any { return string(s.Transport) }),
	returnedField[noPatch]("url", framework.TypeString, "The endpoint that was called.",
		func(s backend.Status) any { return s.URL }),
	returnedField[noPatch]("auth_method", framework.TypeString, "Kind of the stored credential: password or api_key.",
		func(s backend.Status) any { return s.AuthMethod }),
	returnedField[noPatch]("ecgrid_version", framework.TypeString, "The version that ECGridOS, or its REST API, reports.",
		func(s backend.Status) any { return s.Session.ECGridOSVersion }),
	returnedField[noPatch]("login_name", framework.TypeString, "LoginName of the stored login.",
		func(s backend.Status) any { return s.Session.LoginName }),
	returnedField[noPatch]("user_id", framework.TypeInt, "UserID of the stored login.",
		func(s backend.Status) any { return s.Session.UserID }),
	returnedField[noPatch]("auth_level", framework.TypeString, "AuthLevel of the stored login.",
		func(s backend.Status) any { return s.Session.AuthLevel }),
	returnedField[noPatch]("network_id", framework.TypeInt, "NetworkID of the stored login.",
		func(s backend.Status) any { return s.Session.NetworkID }),
	returnedField[noPatch]("mailbox_id", framework.TypeInt, "MailboxID of the stored login. 0 if it belongs to no single mailbox.",
		func(s backend.Status) any { return s.Session.MailboxID }),
	returnedField[noPatch]("open_sessions", framework.TypeInt, "Number of sessions that this user has open at ECGrid, including those of other clients. ECGrid allows about 5. It is null over REST, which does not tell.",
		func(s backend.Status) any { return orNull(s.Session.OpenSessions) }),
	returnedField[noPatch]("session_timeout", framework.TypeInt, "TimeOut of the session as ECGrid reports it. Its unit is not documented. It is null over REST.",
		func(s backend.Status) any { return orNull(s.Session.TimeOut) }),
}

// orNull returns the value, or a nil that is null in a response.
func orNull(value *int16) any {
	if value == nil {
		return nil
	}
	return *value
}

// statusPaths serves status.
func (m *mount) statusPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "status$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "status",
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(statusHelpSynopsis, m.readStatus, withErrors(ok(statusFields.responseSchema()), statusErrors...)),
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
	return &logical.Response{Data: statusFields.data(status)}, nil
}
