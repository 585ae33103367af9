// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"context"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// operation is an operation of the WSDL.
type operation struct {
	httpclient.Operation
	header http.Header
}

var (
	opLogin          = newOperation("Login", httpclient.RetryUnsent, httpclient.MaxSmallBody)
	opLogout         = newOperation("Logout", httpclient.RetryRead, httpclient.MaxSmallBody)
	opWhoAmI         = newOperation("WhoAmI", httpclient.RetryRead, httpclient.MaxSmallBody)
	opUserGetAPIKey  = newOperation("UserGetAPIKey", httpclient.RetryRead, httpclient.MaxSmallBody)
	opGenerateAPIKey = newOperation("GenerateAPIKey", httpclient.RetryUnsent, httpclient.MaxSmallBody)
	opChangePassword = newOperation("ChangePassword", httpclient.RetryUnsent, httpclient.MaxSmallBody)
	opUserList       = newOperation("UserList", httpclient.RetryRead, maxListBody)
	opVersion        = newOperation("Version", httpclient.RetryRead, httpclient.MaxSmallBody)
)

func newOperation(name string, retry httpclient.RetryPolicy, maxBody int64) *operation {
	return &operation{
		httpclient.Operation{Name: name, Method: http.MethodPost, MaxBody: maxBody, Retry: retry, Long: name == "Login"},
		http.Header{
			"Content-Type": {"text/xml; charset=utf-8"},
			"SOAPAction":   {`"` + nsECGrid + name + `"`}, // capitalized as in the specification
			"User-Agent":   {httpclient.UserAgent},
		},
	}
}

// Login opens a session and returns its SessionID, which is opaque, one word and never
// empty. It is retried once, and only if no attempt got a connection: refused logins
// lock the account. ErrServerFault means that ECGrid failed and says so without
// contradiction. Any other fault is a refusal.
func (c *Client) Login(ctx context.Context, loginName, password string) (ecgrid.LoginResult, error) {
	e := newEnvelope(opLogin, len(loginName)+len(password)).
		str("LoginName", loginName).str("Password", password)
	sessionID, err := callForText(ctx, c, e, (*parser).credential)
	return ecgrid.LoginResult{SessionID: sessionID}, err
}

// Logout ends a session. It ignores ECGrid's result, whose meaning the vendor's
// documents disagree on.
func (c *Client) Logout(ctx context.Context, by ecgrid.Credential) error {
	e := newEnvelope(opLogout, len(by.Value)).str("SessionID", by.Value)
	_, _, err := call(ctx, c, e, func(p *parser) (struct{}, error) { return struct{}{}, p.skip() })
	return err
}

// WhoAmI describes a live session. ECGrid answers with a fault if the session is dead. A
// response without a session is ErrEmptyResult.
func (c *Client) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	e := newEnvelope(opWhoAmI, len(by.Value)).str("SessionID", by.Value)
	session, found, err := call(ctx, c, e, (*parser).session)
	if err == nil && !found {
		err = opWhoAmI.Failed(ecgrid.ErrEmptyResult, "")
	}
	return session, err
}

// UserGetAPIKey returns the persistent API key of a user, which is opaque, one word and
// never empty. ErrEmptyResult means that the user has none.
func (c *Client) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	e := newEnvelope(opUserGetAPIKey, len(by.Value)).
		str("SessionID", by.Value).user(userID)
	return callForText(ctx, c, e, (*parser).credential)
}

// GenerateAPIKey replaces the API key of a user and returns the new one. The old one is
// dead at once. It is never retried after it may have been sent: after an error with
// Sent, or ErrEmptyResult, only UserGetAPIKey can tell which key is valid.
func (c *Client) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	e := newEnvelope(opGenerateAPIKey, len(by.Value)).
		str("SessionID", by.Value).user(userID)
	return callForText(ctx, c, e, (*parser).credential)
}

// ChangePassword changes the password of the session's own user, at once. It is never
// retried after it may have been sent. ErrFault with the reason "answered false" means
// that ECGrid did not change it. A response without a result is ErrEmptyResult.
func (c *Client) ChangePassword(ctx context.Context, by ecgrid.Credential, oldPassword, newPassword string) error {
	e := newEnvelope(opChangePassword, len(by.Value)+len(oldPassword)+len(newPassword)).
		str("SessionID", by.Value).str("OldPassword", oldPassword).str("NewPassword", newPassword)
	changed, found, err := call(ctx, c, e, (*parser).boolean)
	switch {
	case err != nil:
		return err
	case !found:
		return opChangePassword.Failed(ecgrid.ErrEmptyResult, "")
	case !changed:
		return opChangePassword.Failed(ecgrid.ErrFault, "answered false")
	}
	return nil
}

// UserList returns the users whom the session can see, in ECGrid's order. No user is not an
// error. The list is complete, also for more than 100000 users. A list above the limits is
// ErrBadAnswer.
func (c *Client) UserList(ctx context.Context, by ecgrid.Credential) ([]ecgrid.User, error) {
	e := newEnvelope(opUserList, len(by.Value)).
		str("SessionID", by.Value).str("Name", "")
	users, _, err := call(ctx, c, e, userList(ecgrid.MaxListMemory))
	return users, err
}

// Version returns ECGridOS's version text. It needs no session. A response without one is
// ErrEmptyResult.
func (c *Client) Version(ctx context.Context) (string, error) {
	return callForText(ctx, c, newEnvelope(opVersion, 0), (*parser).text)
}
