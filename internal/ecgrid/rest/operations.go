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
}

var (
	opVersion        = newOperation("Version", http.MethodGet, "auth/version", httpclient.RetryRead)
	opLogin          = newOperation("Login", http.MethodPost, "auth/login", httpclient.RetryUnsent)
	opLogout         = newOperation("Logout", http.MethodPost, "auth/logout", httpclient.RetryRead)
	opChangePassword = newOperation("ChangePassword", http.MethodPut, "auth/password", httpclient.RetryUnsent)
	opWhoAmI         = newOperation("WhoAmI", http.MethodGet, "users/me", httpclient.RetryRead)
	opUserInfo       = newOperation("UserInfo", http.MethodGet, "users", httpclient.RetryRead)
	opUserGetAPIKey  = newOperation("UserGetAPIKey", http.MethodGet, "users/key", httpclient.RetryRead)
	opGenerateAPIKey = newOperation("GenerateAPIKey", http.MethodPost, "users/key-generate", httpclient.RetryUnsent)
	opUserList       = newOperation("UserList", http.MethodPost, "users/list", httpclient.RetryRead)
)

func newOperation(name, method, path string, retry httpclient.RetryPolicy) *operation {
	maxBody := int64(httpclient.MaxSmallBody)
	if name == "UserList" {
		maxBody = maxPageBody
	}
	return &operation{
		httpclient.Operation{Name: name, Method: method, MaxBody: maxBody, Retry: retry, Long: name == "Login"}, path,
	}
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
	var result ecgrid.LoginResult
	_, err := c.send(ctx, call{
		operation: opLogin,
		body:      loginRequest{loginName, loginName, password},
		parse: func(p *parser, resp *http.Response) (err error) {
			result, err = p.login(httpclient.ServerTime(resp.Header))
			return err
		},
	})
	if err == nil && result.SessionID == "" {
		err = emptyResult(opLogin)
	}
	if err != nil {
		return ecgrid.LoginResult{}, err
	}
	return result, nil
}

// Logout ends a session.
func (c *Client) Logout(ctx context.Context, by ecgrid.Credential) error {
	_, err := c.send(ctx, call{operation: opLogout, by: by, parse: skipData})
	return err
}

// WhoAmI describes the user of a live session or API key. It has no OpenSessions and no
// TimeOut.
func (c *Client) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	var me ecgrid.User
	found, err := c.send(ctx, call{operation: opWhoAmI, by: by, parse: func(p *parser, _ *http.Response) (err error) {
		me, err = p.user()
		return err
	}})
	if err == nil && !found {
		err = emptyResult(opWhoAmI)
	}
	if err != nil {
		return ecgrid.Session{}, err
	}
	return ecgrid.Session{
		UserID: me.UserID, LoginName: me.LoginName, AuthLevel: me.AuthLevel, NetworkID: me.NetworkID, MailboxID: me.MailboxID,
	}, nil
}

// UserGetAPIKey returns the persistent API key of a user, which is opaque, one word and
// never empty. ErrEmptyResult means that the user has none. ECGrid may also answer that
// with "not found", so a user who can be found has none.
func (c *Client) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	deadline := time.Now().Add(c.RequestTimeout())
	key, err := c.sendForKey(ctx, opUserGetAPIKey, by, userID)
	if errors.Is(err, ecgrid.ErrNotFound) {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		if _, failed := c.send(ctx, call{operation: opUserInfo, by: by, userID: userID, parse: skipData}); failed == nil {
			return "", emptyResult(opUserGetAPIKey)
		}
	}
	return key, err
}

// GenerateAPIKey replaces the API key of a user and returns the new one. The old one is
// dead at once. It is never retried after it may have been sent: after an error with
// Sent, or ErrEmptyResult, only UserGetAPIKey can tell which key is valid.
func (c *Client) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return c.sendForKey(ctx, opGenerateAPIKey, by, userID)
}

func (c *Client) sendForKey(ctx context.Context, op *operation, by ecgrid.Credential, userID int32) (string, error) {
	var key string
	request := call{operation: op, by: by, userID: userID, parse: func(p *parser, _ *http.Response) (err error) {
		key, err = p.word()
		return err
	}}
	if op == opUserGetAPIKey {
		request.key = &key
	}
	_, err := c.send(ctx, request)
	if err == nil && key == "" {
		err = emptyResult(op)
	}
	if err != nil {
		return "", err
	}
	return key, nil
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
	changed := true
	_, err := c.send(ctx, call{
		operation: opChangePassword, by: by,
		body: passwordRequest{oldPassword, newPassword},
		parse: func(p *parser, _ *http.Response) error {
			changed = true // an earlier attempt may have cleared it
			s, ok, err := p.scalar()
			switch {
			case err != nil:
				return err
			case ok && !s.isString && s.text == "false":
				changed = false
			case !ok || s.text != "" && s.text != "true":
				return httpclient.BadAnswer(invalidValue)
			}
			return nil
		},
	})
	if err == nil && !changed {
		return &ecgrid.Error{Op: opChangePassword.Name, Kind: ecgrid.ErrFault, Reason: "answered false", Sent: true}
	}
	return err
}

// Version returns the version of the REST API. It needs no session. A response without one
// is ErrEmptyResult.
func (c *Client) Version(ctx context.Context) (string, error) {
	var version string
	_, err := c.send(ctx, call{operation: opVersion, parse: func(p *parser, _ *http.Response) (err error) {
		version, err = p.version()
		return err
	}})
	if err == nil && version == "" {
		err = emptyResult(opVersion)
	}
	return version, err
}

func emptyResult(op *operation) error {
	return &ecgrid.Error{Op: op.Name, Kind: ecgrid.ErrEmptyResult, Sent: true}
}

func skipData(p *parser, _ *http.Response) error { return p.skip() }
