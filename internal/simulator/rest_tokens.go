// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"
)

// identify sets the user of a call. It returns false if the credential is invalid.
func (s *Simulator) identify(c *restCall, cred restCredential) bool {
	if !cred.isToken {
		c.user = s.userByKey(cred.value)
		return c.user != nil && c.user.isActive()
	}
	c.token = s.tokenFor(cred.value)
	if c.token == nil {
		return false
	}
	c.user = c.token.user
	return true
}

// tokenFor returns the session of a valid token, or nil.
func (s *Simulator) tokenFor(token string) *session {
	s.expire()
	n := s.sessions[token]
	if n == nil || !n.isToken() || !n.user.isActive() {
		return nil
	}
	return n
}

func (s *Simulator) openToken(a *account, ip string) *session {
	now := s.opts.Clock()
	n := &session{user: a, ip: ip, opened: now, used: now, expires: now.Add(s.opts.TokenLife)}
	n.id = s.newToken(n)
	s.addSession(n)
	return n
}

// refreshToken gives a session a new token, and the old one is dead.
func (s *Simulator) refreshToken(n *session) {
	delete(s.sessions, n.id)
	n.expires = s.opts.Clock().Add(s.opts.TokenLife)
	n.id = s.newToken(n)
	s.sessions[n.id] = n
	s.journal.addSecrets(n.id)
}

// newToken looks like a JWT. Clients must not read it.
func (s *Simulator) newToken(n *session) string {
	signature := make([]byte, 32)
	rand.Read(signature)
	part := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"sub":"%d","jti":"%s","exp":%d}`, n.user.UserID, newGUID(), s.statedEnd(n).Unix())
	return part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part(signature)
}

// statedEnd is when a token expires as the client is told.
func (s *Simulator) statedEnd(n *session) time.Time { return n.expires.Add(s.opts.TokenSkew) }

// iso8601 writes UTC with a Z.
func iso8601(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// rateCounter counts the calls of each caller in one second.
type rateCounter struct {
	second int64
	calls  map[string]int
}

// isAboveRate counts a call. It reports whether the caller has made too many in this second.
func (s *Simulator) isAboveRate(c *restCall) bool {
	if s.opts.RateLimit <= 0 {
		return false
	}
	if now := s.opts.Clock().Unix(); s.rate.calls == nil || s.rate.second != now {
		s.rate = rateCounter{now, map[string]int{}}
	}
	caller := "address " + c.ip
	if c.user != nil {
		caller = "user " + itoa(c.user.UserID)
	}
	s.rate.calls[caller]++
	return s.rate.calls[caller] > s.opts.RateLimit
}
