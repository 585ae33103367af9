// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// operation is a call of the REST documentation, with the name of its equivalent in the
// WSDL.
type operation struct {
	httpclient.Operation
	path string
	// noResult: a success need not have data.
	noResult bool
}

var (
	opVersion        = newOperation("Version", http.MethodGet, "auth/version", httpclient.RetryRead)
	opLogin          = newOperation("Login", http.MethodPost, "auth/login", httpclient.RetryUnsent)
	opLogout         = newOperation("Logout", http.MethodPost, "auth/logout", httpclient.RetryReadAlone)
	opChangePassword = newOperation("ChangePassword", http.MethodPut, "auth/password", httpclient.RetryUnsent)
	opWhoAmI         = newOperation("WhoAmI", http.MethodGet, "users/me", httpclient.RetryRead)
	opUserInfo       = newOperation("UserInfo", http.MethodGet, "users", httpclient.RetryReadAlone)
	opUserGetAPIKey  = newOperation("UserGetAPIKey", http.MethodGet, "users/key", httpclient.RetryRead)
	opGenerateAPIKey = newOperation("GenerateAPIKey", http.MethodPost, "users/key-generate", httpclient.RetryUnsent)
	opUserList       = newOperation("UserList", http.MethodPost, "users/list", httpclient.RetryRead)
)

func newOperation(name, method, path string, retry httpclient.RetryPolicy) *operation {
	op := &operation{
		Operation: httpclient.Operation{Name: name, Method: method, MaxBody: httpclient.MaxSmallBody, Retry: retry, Unnamed: true},
		path:      path,
	}
	switch path {
	case "auth/login":
		op.Long = true
	case "auth/logout", "auth/password":
		op.noResult = true
	case "users/list":
		op.MaxBody = maxPageBody
	}
	return op
}

func (call call) url(base *url.URL) *url.URL {
	if call.userID == 0 {
		return base.JoinPath(call.path)
	}
	return base.JoinPath(call.path, strconv.Itoa(int(call.userID)))
}

// loginRequest has the name of the user twice: the documentation calls it login on one page
// and email on another. A second try with the other name could count as a refused Login.
type loginRequest struct {
	Login    string `json:"login"`
	Email    string `json:"email"`
	Password string `json:"password"`
}

// Login opens a session and returns its bearer token, which is opaque, one word and never
// empty. It is retried once, and only if no attempt got a connection: refused logins may
// lock the account. The Lifetime is 0 if ECGrid does not say when the token expires.
func (c *Client) Login(ctx context.Context, loginName, password string) (ecgrid.LoginResult, error) {
	request := call{operation: opLogin, body: loginRequest{loginName, loginName, password}}
	result, _, err := send(ctx, c, request, func(p *parser, resp *http.Response) (ecgrid.LoginResult, error) {
		return p.login(httpclient.ServerTime(resp.Header))
	})
	if err == nil && result.SessionID == "" {
		return ecgrid.LoginResult{}, opLogin.Failed(ecgrid.ErrEmptyResult, "")
	}
	return result, err
}

// Logout ends a session.
func (c *Client) Logout(ctx context.Context, by ecgrid.Credential) error {
	_, _, err := send(ctx, c, call{operation: opLogout, by: by}, skipped)
	return err
}

// WhoAmI describes the user of a live session or API key. It has no OpenSessions and no
// TimeOut.
func (c *Client) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	me, found, err := send(ctx, c, call{operation: opWhoAmI, by: by}, data((*parser).user))
	if err == nil && !found {
		err = opWhoAmI.Failed(ecgrid.ErrEmptyResult, "")
	}
	if err != nil {
		return ecgrid.Session{}, err
	}
	return ecgrid.Session{
		UserID: me.UserID, LoginName: me.LoginName, AuthLevel: me.AuthLevel, NetworkID: me.NetworkID, MailboxID: me.MailboxID,
	}, nil
}

// UserGetAPIKey returns the persistent API key of a user, which is opaque, one word and
// never empty. ErrEmptyResult means that the user has none. ECGrid may also say "not found"
// then. So UserInfo is asked: if it finds the user, the user has no key.
func (c *Client) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	deadline := time.Now().Add(c.RequestTimeout())
	key, err := c.sendForWord(ctx, call{operation: opUserGetAPIKey, by: by, userID: userID}, (*parser).word)
	if !errors.Is(err, ecgrid.ErrNotFound) {
		return key, err
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if _, _, failed := send(ctx, c, call{operation: opUserInfo, by: by, userID: userID}, skipped); failed == nil {
		err = opUserGetAPIKey.Failed(ecgrid.ErrEmptyResult, "")
	}
	return "", err
}

// GenerateAPIKey replaces the API key of a user and returns the new one. The old one is
// dead at once. It is never retried after it may have been sent: after an error with
// Sent, or ErrEmptyResult, only UserGetAPIKey can tell which key is valid.
func (c *Client) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return c.sendForWord(ctx, call{operation: opGenerateAPIKey, by: by, userID: userID}, (*parser).word)
}

// sendForWord makes a call whose result must not be empty.
func (c *Client) sendForWord(ctx context.Context, call call, parse func(*parser) (string, error)) (string, error) {
	word, _, err := send(ctx, c, call, data(parse))
	if err == nil && word == "" {
		err = call.Failed(ecgrid.ErrEmptyResult, "")
	}
	return word, err
}

// passwordRequest is the body of a ChangePassword.
type passwordRequest struct {
	CurrentPassword string `json:"currentPassword"`
	NewPassword     string `json:"newPassword"`
}

// ChangePassword changes the password of the session's own user. It is never retried after
// it may have been sent. Open sessions stay open. The documentation does not say what a
// success returns: nothing, "" and true are accepted. ErrFault with the reason "answered
// false" means that ECGrid did not change it.
func (c *Client) ChangePassword(ctx context.Context, by ecgrid.Credential, oldPassword, newPassword string) error {
	request := call{operation: opChangePassword, by: by, body: passwordRequest{oldPassword, newPassword}}
	denied, _, err := send(ctx, c, request, data((*parser).isFalse))
	if err == nil && denied {
		err = opChangePassword.Failed(ecgrid.ErrFault, "answered false")
	}
	return err
}

// Version returns the version of the REST API. It needs no session. A response without one
// is ErrEmptyResult.
func (c *Client) Version(ctx context.Context) (string, error) {
	return c.sendForWord(ctx, call{operation: opVersion}, (*parser).version)
}
