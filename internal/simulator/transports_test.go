// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// A key that was replaced over one transport is dead over the other.
func TestTransportsShareKeys(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID).APIKey
	header := "X-API-Key: " + admin
	first := rest(t, s, header, "GET", "/users/key/5001", "").text()
	if first != user(t, s, simulator.UserID5001).APIKey || first == "" {
		t.Error("not user 5001's key")
	}
	second := rest(t, s, header, "POST", "/users/key-generate/5001", "").text()
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", first), "SessionTimeout")
	wantDead(t, s, "X-API-Key: "+first, "the first key")
	if got := result(t, s, "UserGetAPIKey", "SessionID", admin, "UserID", "5001"); got != second || second == first {
		t.Error("SOAP has another key")
	}
	third := result(t, s, "GenerateAPIKey", "SessionID", second, "UserID", "5001")
	wantDead(t, s, "X-API-Key: "+second, "the second key")
	wantAlive(t, s, "X-API-Key: "+third, "the third key")
	if a := rest(t, s, header, "GET", "/users/key/5003", ""); a.status != http.StatusOK || a.Data != nil {
		t.Errorf("a user without a key: HTTP %d, or not null", a.status)
	}
}

// A password that was changed over one transport counts in the other.
func TestTransportsSharePasswords(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	low := user(t, s, simulator.LowUserID)
	token, sessionID := openToken(t, s, low), login(t, s, low.UserID)
	change := func(old, password string) restAnswer {
		return rest(t, s, token, "PUT", "/auth/password", quoteFields("currentPassword", old, "newPassword", password))
	}
	wantCode(t, change(low.Password, "short-1"), 400, "InvalidParameter")
	if a := change(low.Password, fresh); a.status != http.StatusOK {
		t.Errorf("HTTP %d", a.status)
	}
	wantAlive(t, s, token, "a token from before")
	wantRefused(t, tryLogin(s, low.LoginName, low.Password), "AccessDenied")
	result(t, s, "Login", "LoginName", low.LoginName, "Password", fresh)
	result(t, s, "ChangePassword", "SessionID", sessionID, "OldPassword", fresh, "NewPassword", another)
	wantCode(t, restLogin(t, s, low.LoginName, fresh), 401, "InvalidSession")
	if a := restLogin(t, s, low.LoginName, another); a.status != http.StatusOK {
		t.Errorf("login with the newest password: HTTP %d", a.status)
	}
}

// SOAP sessions and tokens count together, for the limit and the counters.
func TestTransportsShareSessions(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{SessionCap: 2})
	low := user(t, s, simulator.LowUserID)
	sessionID, token := login(t, s, low.UserID), openToken(t, s, low)
	wantCode(t, restLogin(t, s, low.LoginName, low.Password), 401, "InvalidSession")
	wantRefused(t, tryLogin(s, low.LoginName, low.Password), "AccessDenied")
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", token[len(bearer):]), "SessionTimeout")
	st := s.State()
	if st.OpenSessions != 2 || st.OpenTokens != 1 || st.OpenByUser[low.UserID] != 2 || st.MaxOpenSessions != 2 || st.SessionsOpened != 2 || st.RefusedLogins != 2 {
		t.Errorf("counted %+v", st)
	}
	if got, _ := soapCall(s, "WhoAmI", "SessionID", sessionID).text("OpenSessions"); got != "2" {
		t.Errorf("WhoAmI has %s open sessions", got)
	}
	result(t, s, "Logout", "SessionID", sessionID)
	openToken(t, s, low)
	if n := s.KillSessions(0); n != 2 {
		t.Errorf("killed %d", n)
	}
	if n := s.FillSessions(low.UserID); n != 2 {
		t.Errorf("filled up with %d", n)
	}
	wantCode(t, restLogin(t, s, low.LoginName, low.Password), 401, "InvalidSession")
}

// Refused logins of both transports lock out of both.
func TestTransportsShareLockout(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{LockoutAfter: 2})
	low := user(t, s, simulator.LowUserID)
	restLogin(t, s, low.LoginName, "wrong")
	openToken(t, s, low) // resets the count
	restLogin(t, s, low.LoginName, "wrong")
	tryLogin(s, low.LoginName, "wrong")
	wantCode(t, restLogin(t, s, low.LoginName, low.Password), 401, "InvalidSession")
	wantRefused(t, tryLogin(s, low.LoginName, low.Password), "AccessDenied")
	if !user(t, s, low.UserID).LockedOut || s.State().RefusedLogins != 5 {
		t.Error("not locked out, or not counted")
	}
}

// A fault counts for one transport or both.
func TestTransportsOfFaults(t *testing.T) {
	t.Parallel()
	for transport, want := range map[string][2]bool{"": {true, true}, simulator.TransportSOAP: {true, false}, simulator.TransportREST: {false, true}} {
		s := newSim(t, simulator.Options{})
		s.Inject(simulator.Fault{Op: "Version", Transport: transport, Answer: simulator.AnswerStatus})
		soap := soapCall(s, "Version").status != http.StatusOK
		over := send(s, restRequest("GET", "/auth/version", "", "")).status != http.StatusOK
		if soap != want[0] || over != want[1] {
			t.Errorf("%q: SOAP failed %v, REST failed %v", transport, soap, over)
		}
	}
}
