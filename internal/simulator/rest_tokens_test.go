// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const bearer = "Authorization: Bearer "

// tokenData is the data of login and refresh.
type tokenData struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
	UserID    int32     `json:"userId"`
}

// quoteFields is a JSON object of strings, from pairs of name and value.
func quoteFields(pairs ...string) string {
	fields := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fields[pairs[i]] = pairs[i+1]
	}
	body, _ := json.Marshal(fields)
	return string(body)
}

func restLogin(t *testing.T, s *simulator.Simulator, loginName, password string) restAnswer {
	t.Helper()
	return rest(t, s, "", "POST", "/auth/login", quoteFields("login", loginName, "password", password))
}

// openToken returns the credential of a new token.
func openToken(t *testing.T, s *simulator.Simulator, u simulator.User) string {
	t.Helper()
	return bearer + into[tokenData](t, restLogin(t, s, u.LoginName, u.Password)).Token
}

func wantDead(t *testing.T, s *simulator.Simulator, credential, why string) {
	t.Helper()
	if a := rest(t, s, credential, "GET", "/users/me", ""); a.status != http.StatusUnauthorized {
		t.Errorf("%s: HTTP %d", why, a.status)
	}
}

func wantAlive(t *testing.T, s *simulator.Simulator, credential, why string) {
	t.Helper()
	if a := rest(t, s, credential, "GET", "/users/me", ""); a.status != http.StatusOK {
		t.Errorf("%s: HTTP %d", why, a.status)
	}
}

func TestRESTTokenLife(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now, TokenLife: 10 * time.Minute, IdleTimeout: time.Minute})
	low := user(t, s, simulator.LowUserID)
	got := rest(t, s, "", "POST", "/auth/login", quoteFields("email", low.LoginName, "password", low.Password))
	data := into[tokenData](t, got)
	if want := c.Now().Truncate(time.Second).Add(10 * time.Minute); data.UserID != low.UserID || !data.ExpiresAt.Equal(want) || data.ExpiresAt.Location() != time.UTC {
		t.Errorf("user %d, expires at %v, want %v", data.UserID, data.ExpiresAt, want)
	}
	if date := got.header.Get("Date"); date != "Fri, 02 Jan 2026 03:04:05 GMT" {
		t.Errorf("Date is %s, not that of the clock", date)
	}
	parts := strings.Split(data.Token, ".")
	if header, err := base64.RawURLEncoding.DecodeString(parts[0]); err != nil || len(parts) != 3 || !strings.Contains(string(header), `"JWT"`) {
		t.Errorf("the token has %d parts, %v: not a JWT", len(parts), err)
	}
	token := bearer + data.Token
	c.Advance(10*time.Minute - time.Nanosecond) // it is idle longer than a SOAP session may be
	wantAlive(t, s, token, "before its time")
	c.Advance(time.Nanosecond)
	wantDead(t, s, token, "at its time")
	if st := s.State(); st.OpenSessions != 0 || st.OpenTokens != 0 || st.SessionsOpened != 1 || st.MaxOpenSessions != 1 {
		t.Errorf("counted %+v", st)
	}
}

func TestRESTTokenSkew(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-30 * time.Minute, 30 * time.Minute} {
		c := newClock()
		s := newSim(t, simulator.Options{Clock: c.Now, TokenSkew: skew})
		low := user(t, s, simulator.LowUserID)
		data := into[tokenData](t, restLogin(t, s, low.LoginName, low.Password))
		if want := c.Now().Truncate(time.Second).Add(simulator.DefaultTokenLife + skew); !data.ExpiresAt.Equal(want) {
			t.Errorf("expires at %v, want %v", data.ExpiresAt, want)
		}
		c.Advance(simulator.DefaultTokenLife - time.Second)
		wantAlive(t, s, bearer+data.Token, "before its real time")
		c.Advance(time.Second)
		wantDead(t, s, bearer+data.Token, "after its real time")
	}
}

func TestRESTRefresh(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now, SessionCap: 1})
	low, admin := user(t, s, simulator.LowUserID), user(t, s, simulator.AdminUserID)
	old, foreign := openToken(t, s, low), openToken(t, s, admin)
	refresh := func(credential, token string) restAnswer {
		return rest(t, s, credential, "POST", "/auth/refresh", quoteFields("token", strings.TrimPrefix(token, bearer)))
	}
	wantCode(t, refresh(old, foreign), 401, "InvalidSession")
	wantAlive(t, s, foreign, "another user's token")
	c.Advance(59 * time.Minute)
	data := into[tokenData](t, refresh(old, old)) // the session table is full
	fresh := bearer + data.Token
	if fresh == old || data.UserID != low.UserID || !data.ExpiresAt.Equal(c.Now().Truncate(time.Second).Add(time.Hour)) {
		t.Errorf("the same token, user %d, or expires at %v", data.UserID, data.ExpiresAt)
	}
	wantDead(t, s, old, "the old token")
	c.Advance(59 * time.Minute)
	wantAlive(t, s, fresh, "the new token")
	wantCode(t, refresh(fresh, old), 401, "InvalidSession")
	wantCode(t, refresh("", fresh), 401, "InvalidAPIKey")
	wantCode(t, rest(t, s, fresh, "POST", "/auth/refresh", "{}"), 400, "InvalidParameter")
	byKey := into[tokenData](t, refresh(keyOf(t, s, low.UserID), fresh))
	wantDead(t, s, fresh, "the second token")
	if st := s.State(); st.OpenByUser[low.UserID] != 1 || st.SessionsOpened != 2 {
		t.Errorf("counted %+v", st)
	}
	for _, token := range []string{old, fresh, bearer + byKey.Token} {
		if !slices.Contains(s.Secrets(), strings.TrimPrefix(token, bearer)) {
			t.Error("a token is missing in Secrets")
		}
	}
}

func TestRESTLogout(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	low := user(t, s, simulator.LowUserID)
	token, other, key := openToken(t, s, low), openToken(t, s, low), keyOf(t, s, low.UserID)
	if a := rest(t, s, token, "POST", "/auth/logout", ""); a.status != http.StatusOK {
		t.Errorf("HTTP %d", a.status)
	}
	wantCode(t, rest(t, s, token, "GET", "/users/me", ""), 401, "InvalidSession")
	wantCode(t, rest(t, s, token, "POST", "/auth/logout", ""), 401, "InvalidSession")
	wantAlive(t, s, other, "another token")
	if a := rest(t, s, key, "POST", "/auth/logout", ""); a.status != http.StatusOK || s.State().OpenTokens != 1 {
		t.Errorf("with a key: HTTP %d, or it ended a token", a.status)
	}
	wantAlive(t, s, key, "the key")
}

func TestRESTSession(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	low := user(t, s, simulator.LowUserID)
	token := into[tokenData](t, restLogin(t, s, low.LoginName, low.Password))
	for credential, expires := range map[string]*time.Time{bearer + token.Token: &token.ExpiresAt, keyOf(t, s, low.UserID): nil} {
		got := into[map[string]any](t, rest(t, s, credential, "POST", "/auth/session", ""))
		end, _ := got["expiresAt"].(string)
		if got["userId"] != 1002.0 || got["login"] != low.LoginName || got["networkId"] != 100.0 || got["mailboxId"] != 200.0 || got["authLevel"] != "MailboxUser" || len(got) != 6 {
			t.Errorf("session of user %v with %d fields", got["userId"], len(got))
		}
		if expires == nil && got["expiresAt"] != nil || expires != nil && end != expires.Format(time.RFC3339) {
			t.Errorf("expires at %q", end)
		}
	}
}

// What ends the tokens of a user, and what does not.
func TestRESTTokensOfAUser(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(t *testing.T, s *simulator.Simulator)
		alive  bool
	}{
		"nothing":      {func(*testing.T, *simulator.Simulator) {}, true},
		"new password": {func(_ *testing.T, s *simulator.Simulator) { s.SetPassword(simulator.LowUserID, "another") }, true},
		"new key":      {func(_ *testing.T, s *simulator.Simulator) { s.ReplaceKey(simulator.LowUserID) }, true},
		"suspended": {func(_ *testing.T, s *simulator.Simulator) {
			s.Update(simulator.LowUserID, func(u *simulator.User) { u.Status = "Suspended" })
		}, false},
		"deleted": {func(_ *testing.T, s *simulator.Simulator) { s.Delete(simulator.LowUserID) }, false},
		"killed":  {func(_ *testing.T, s *simulator.Simulator) { s.KillSessions(simulator.LowUserID) }, false},
		"reset over REST": {func(t *testing.T, s *simulator.Simulator) {
			if !into[bool](t, rest(t, s, keyOf(t, s, simulator.AdminUserID), "POST", "/users/reset/1002", "")) {
				t.Error("the result is false")
			}
		}, false},
		"reset over SOAP": {func(t *testing.T, s *simulator.Simulator) {
			result(t, s, "UserReset", "SessionID", user(t, s, simulator.AdminUserID).APIKey, "UserID", "1002")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{})
			token, sessionID := openToken(t, s, user(t, s, simulator.LowUserID)), login(t, s, simulator.LowUserID)
			c.change(t, s)
			soap := soapCall(s, "WhoAmI", "SessionID", sessionID)
			if a := rest(t, s, token, "GET", "/users/me", ""); (a.status == http.StatusOK) != c.alive || (soap.status == http.StatusOK) != c.alive {
				t.Errorf("token: HTTP %d, session: HTTP %d", a.status, soap.status)
			}
		})
	}
}

func TestRESTRateLimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now, RateLimit: 2})
	admin, low := keyOf(t, s, simulator.AdminUserID), keyOf(t, s, simulator.LowUserID)
	old := user(t, s, simulator.UserID5001).APIKey
	for second := range 2 {
		for range 2 {
			wantAlive(t, s, admin, "below the limit")
		}
		a := rest(t, s, admin, "POST", "/users/key-generate/5001", "")
		wantCode(t, a, 429, "RateLimitExceeded")
		if after := a.header.Get("Retry-After"); after != "1" {
			t.Errorf("second %d: Retry-After is %q", second, after)
		}
		wantAlive(t, s, low, "another user")
		c.Advance(time.Second)
	}
	for _, want := range []int{401, 401, 429} {
		if a := restLogin(t, s, "x", "y"); a.status != want {
			t.Errorf("login: HTTP %d, want %d", a.status, want)
		}
	}
	for range 3 {
		result(t, s, "Version") // SOAP has no limit
	}
	if user(t, s, simulator.UserID5001).APIKey != old || s.State().RefusedLogins != 2 {
		t.Error("a call above the limit was applied")
	}
}
