// SPDX-License-Identifier: MPL-2.0

package simulator

import "cmp"

// RESTVersion is the version that GET /auth/version returns.
const RESTVersion = "2.6"

var (
	loginParams    = []restParam{stringParam("login", false), stringParam("email", false), stringParam("password", true)}
	refreshParams  = []restParam{stringParam("token", true)}
	passwordParams = []restParam{stringParam("currentPassword", true), stringParam("newPassword", true)}
)

type restToken struct {
	Token     string `json:"token"`
	ExpiresAt string `json:"expiresAt"`
	UserID    int32  `json:"userId"`
}

func (s *Simulator) restToken(n *session) restToken {
	return restToken{n.id, iso8601(s.statedEnd(n)), n.user.UserID}
}

type restSessionInfo struct {
	UserID    int32   `json:"userId"`
	Login     string  `json:"login"`
	NetworkID int32   `json:"networkId"`
	MailboxID int32   `json:"mailboxId"`
	AuthLevel string  `json:"authLevel"`
	ExpiresAt *string `json:"expiresAt"` // null for an API key; not documented
}

func restVersion(*Simulator, *restCall) (any, Cause) {
	return map[string]string{"version": RESTVersion}, ""
}

// loginOf returns the login name of a Login: "login" or, as one page of the docs says, "email".
func loginOf(args map[string]any) string {
	c := restCall{args: args}
	return cmp.Or(c.text("login"), c.text("email"))
}

func restLogin(s *Simulator, c *restCall) (any, Cause) {
	login := loginOf(c.args)
	if login == "" {
		return nil, InvalidParameter
	}
	a := s.authenticate(login, c.text("password"))
	if a == nil {
		return nil, LoginRefused
	}
	return s.restToken(s.openToken(a, c.ip)), ""
}

// restRefresh replaces the token in the body, which must be one of the caller's.
func restRefresh(s *Simulator, c *restCall) (any, Cause) {
	n := s.tokenFor(c.text("token"))
	if n == nil || n.user != c.user {
		return nil, SessionDead
	}
	s.refreshToken(n)
	return s.restToken(n), ""
}

func restSession(s *Simulator, c *restCall) (any, Cause) {
	u := c.user
	info := restSessionInfo{u.UserID, u.LoginName, u.NetworkID, u.MailboxID, u.AuthLevel, nil}
	if c.token != nil {
		end := iso8601(s.statedEnd(c.token))
		info.ExpiresAt = &end
	}
	return info, ""
}

func restLogout(s *Simulator, c *restCall) (any, Cause) {
	if c.token != nil {
		s.closeSession(c.token)
	}
	return nil, ""
}

func restPassword(s *Simulator, c *restCall) (any, Cause) {
	return nil, s.changePassword(c.user, c.text("currentPassword"), c.text("newPassword"), c.timing)
}
