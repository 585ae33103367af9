package soap

import (
	"context"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
)

var (
	opLogin          = newOperation("Login", retryUnsent, maxSmallBody)
	opLogout         = newOperation("Logout", retryRead, maxSmallBody)
	opWhoAmI         = newOperation("WhoAmI", retryRead, maxSmallBody)
	opUserGetAPIKey  = newOperation("UserGetAPIKey", retryRead, maxSmallBody)
	opGenerateAPIKey = newOperation("GenerateAPIKey", retryUnsent, maxSmallBody)
	opChangePassword = newOperation("ChangePassword", retryUnsent, maxSmallBody)
	opUserList       = newOperation("UserList", retryRead, maxListBody)
	opVersion        = newOperation("Version", retryRead, maxSmallBody)
)

func newOperation(name string, retry retryPolicy, maxBody int64) *operation {
	return &operation{name, http.Header{
		"Content-Type": {"text/xml; charset=utf-8"},
		"SOAPAction":   {`"` + nsECGrid + name + `"`}, // capitalized as in the specification
		"User-Agent":   {"vault-plugin-ecgrid"},
	}, maxBody, retry}
}

// Login opens a session and returns its SessionID, which is opaque, one word and never
// empty. It is retried once, and only if no attempt got a connection: refused logins
// lock the account. ErrServerFault means that ECGrid failed and says so without
// contradiction. Any other fault is a refusal.
func (c *Client) Login(ctx context.Context, loginName, password string) (sessionID string, err error) {
	e := newEnvelope(opLogin, len(loginName)+len(password)).
		str("LoginName", loginName).str("Password", password)
	return callForText(ctx, c, e, (*parser).credential)
}

// Logout ends a session. It ignores ECGrid's result, whose meaning the vendor's
// documents disagree on.
func (c *Client) Logout(ctx context.Context, sessionID string) error {
	e := newEnvelope(opLogout, len(sessionID)).str("SessionID", sessionID)
	_, _, err := call(ctx, c, e, func(p *parser) (struct{}, error) { return struct{}{}, p.skip() })
	return err
}

// WhoAmI describes a live session. ECGrid answers with a fault if the session is dead. A
// response without a session is ErrEmptyResult.
func (c *Client) WhoAmI(ctx context.Context, sessionID string) (ecgrid.Session, error) {
	e := newEnvelope(opWhoAmI, len(sessionID)).str("SessionID", sessionID)
	session, found, err := call(ctx, c, e, (*parser).session)
	if err == nil && !found {
		err = emptyResult(opWhoAmI)
	}
	return session, err
}

// UserGetAPIKey returns the persistent API key of a user, which is opaque, one word and
// never empty. ErrEmptyResult means that the user has none.
func (c *Client) UserGetAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	e := newEnvelope(opUserGetAPIKey, len(sessionID)).
		str("SessionID", sessionID).user(userID)
	return callForText(ctx, c, e, (*parser).credential)
}

// GenerateAPIKey replaces the API key of a user and returns the new one. The old one is
// dead at once. It is never retried after it may have been sent: after an error with
// Sent, or ErrEmptyResult, only UserGetAPIKey can tell which key is valid.
func (c *Client) GenerateAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	e := newEnvelope(opGenerateAPIKey, len(sessionID)).
		str("SessionID", sessionID).user(userID)
	return callForText(ctx, c, e, (*parser).credential)
}

// ChangePassword changes the password of the session's own user, at once. It is never
// retried after it may have been sent. ErrFault with the reason "answered false" means
// that ECGrid did not change it. A response without a result is ErrEmptyResult.
func (c *Client) ChangePassword(ctx context.Context, sessionID, oldPassword, newPassword string) error {
	e := newEnvelope(opChangePassword, len(sessionID)+len(oldPassword)+len(newPassword)).
		str("SessionID", sessionID).str("OldPassword", oldPassword).str("NewPassword", newPassword)
	changed, found, err := call(ctx, c, e, (*parser).boolean)
	switch {
	case err != nil:
		return err
	case !found:
		return emptyResult(opChangePassword)
	case !changed:
		return &ecgrid.Error{Op: opChangePassword.name, Kind: ecgrid.ErrFault, Reason: "answered false", Sent: true}
	}
	return nil
}

// UserList returns the users whom the session can see and whose name contains name, in
// ECGrid's order; "" matches all. No user is not an error. The list is complete, also for
// more than 100000 users. A list above the limits is ErrBadAnswer.
func (c *Client) UserList(ctx context.Context, sessionID, name string) ([]ecgrid.User, error) {
	e := newEnvelope(opUserList, len(sessionID)+len(name)).
		str("SessionID", sessionID).str("Name", name)
	users, _, err := call(ctx, c, e, userList(maxListMemory))
	return users, err
}

// Version returns ECGridOS's version text. It needs no session. A response without one is
// ErrEmptyResult.
func (c *Client) Version(ctx context.Context) (string, error) {
	return callForText(ctx, c, newEnvelope(opVersion, 0), (*parser).text)
}
