// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"time"

	"vault-plugin-ecgrid/backend/metrics"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// The operations of ecgrid.Client, as they are counted.
const (
	opLogin          = "Login"
	opLogout         = "Logout"
	opWhoAmI         = "WhoAmI"
	opUserGetAPIKey  = "UserGetAPIKey"
	opGenerateAPIKey = "GenerateAPIKey"
	opChangePassword = "ChangePassword"
	opUserList       = "UserList"
	opVersion        = "Version"
)

var operations = []string{opLogin, opLogout, opWhoAmI, opUserGetAPIKey, opGenerateAPIKey, opChangePassword, opUserList, opVersion}

// errPanic is the result of a call that did not return.
var errPanic = errors.New("the call panicked")

// measuredClient counts the calls of a client and measures how long they take.
type measuredClient struct {
	ecgrid.Client
	clock Clock

	login, logout, whoAmI, userGetAPIKey, generateAPIKey, changePassword, userList, version *metrics.Call
}

// measured returns a Connector whose clients are measured.
func measured(connect ecgrid.Connector, m *metrics.Metrics, clock Clock) ecgrid.Connector {
	return func(e ecgrid.Endpoint) (ecgrid.Client, error) {
		client, err := connect(e)
		if err != nil {
			return nil, err
		}
		return &measuredClient{
			Client:         client,
			clock:          clock,
			login:          m.Call(opLogin),
			logout:         m.Call(opLogout),
			whoAmI:         m.Call(opWhoAmI),
			userGetAPIKey:  m.Call(opUserGetAPIKey),
			generateAPIKey: m.Call(opGenerateAPIKey),
			changePassword: m.Call(opChangePassword),
			userList:       m.Call(opUserList),
			version:        m.Call(opVersion),
		}, nil
	}
}

func (c *measuredClient) begin(call *metrics.Call) time.Time {
	call.Begin()
	return c.clock.Now()
}

// end is deferred. Err is the result of the call, which is errPanic until it returns.
func (c *measuredClient) end(call *metrics.Call, began time.Time, err *error) {
	call.End(callOutcome(*err), c.clock.Now().Sub(began))
}

// callOutcome returns how a call ended.
func callOutcome(err error) string {
	switch {
	case err == nil:
		return metrics.OK
	case errors.Is(err, context.Canceled): // a client reports it as a timeout, too
		return classOf(context.Canceled)
	}
	return classOf(err)
}

// Login implements ecgrid.Client, as do all methods below.
func (c *measuredClient) Login(ctx context.Context, loginName, password string) (opened ecgrid.LoginResult, err error) {
	err = errPanic
	defer c.end(c.login, c.begin(c.login), &err)
	return c.Client.Login(ctx, loginName, password)
}

// Logout ends a session.
func (c *measuredClient) Logout(ctx context.Context, by ecgrid.Credential) (err error) {
	err = errPanic
	defer c.end(c.logout, c.begin(c.logout), &err)
	return c.Client.Logout(ctx, by)
}

// WhoAmI returns the session.
func (c *measuredClient) WhoAmI(ctx context.Context, by ecgrid.Credential) (s ecgrid.Session, err error) {
	err = errPanic
	defer c.end(c.whoAmI, c.begin(c.whoAmI), &err)
	return c.Client.WhoAmI(ctx, by)
}

// UserGetAPIKey returns a user's key. An empty result is counted as a user without a key.
func (c *measuredClient) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (key string, err error) {
	counted := errPanic
	defer c.end(c.userGetAPIKey, c.begin(c.userGetAPIKey), &counted)
	key, err = c.Client.UserGetAPIKey(ctx, by, userID)
	counted = err
	if errors.Is(err, ecgrid.ErrEmptyResult) {
		counted = ErrNoKey
	}
	return key, err
}

// GenerateAPIKey replaces a user's key.
func (c *measuredClient) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (key string, err error) {
	err = errPanic
	defer c.end(c.generateAPIKey, c.begin(c.generateAPIKey), &err)
	return c.Client.GenerateAPIKey(ctx, by, userID)
}

// ChangePassword replaces the password of the login.
func (c *measuredClient) ChangePassword(ctx context.Context, by ecgrid.Credential, oldPassword, newPassword string) (err error) {
	err = errPanic
	defer c.end(c.changePassword, c.begin(c.changePassword), &err)
	return c.Client.ChangePassword(ctx, by, oldPassword, newPassword)
}

// UserList returns the users.
func (c *measuredClient) UserList(ctx context.Context, by ecgrid.Credential) (users []ecgrid.User, err error) {
	err = errPanic
	defer c.end(c.userList, c.begin(c.userList), &err)
	return c.Client.UserList(ctx, by)
}

// Version returns ECGrid's version.
func (c *measuredClient) Version(ctx context.Context) (version string, err error) {
	err = errPanic
	defer c.end(c.version, c.begin(c.version), &err)
	return c.Client.Version(ctx)
}
