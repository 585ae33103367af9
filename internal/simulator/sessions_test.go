// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestSessionLife(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now})
	id := login(t, s, simulator.AdminUserID)
	a := soapCall(s, "WhoAmI", "SessionID", id)
	for name, want := range map[string]string{
		"SessionID": id, "LoginName": simulator.AdminLogin, "UserID": "1001", "AuthLevel": "NetworkAdmin",
		"LastLogin": "2026-01-02T03:04:05.12", "OpenSessions": "1", "TimeOut": "3600", "ip": "192.0.2.1",
	} {
		if got, _ := a.text(name); got != want {
			t.Errorf("%s is not as expected", name)
		}
	}
	c.Advance(1500 * time.Millisecond)
	if ms := result(t, s, "Logout", "SessionID", id); ms != "1500" {
		t.Errorf("Logout returns %s ms", ms)
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", id), "SessionTimeout")
	wantRefused(t, soapCall(s, "Logout", "SessionID", id), "SessionTimeout")
	if n := s.OpenSessions(); n != 0 {
		t.Errorf("%d sessions open", n)
	}
}

func TestSessionIdleExpiry(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now, IdleTimeout: time.Minute})
	id := login(t, s, simulator.AdminUserID)
	c.Advance(59 * time.Second)
	result(t, s, "WhoAmI", "SessionID", id) // use keeps it alive
	c.Advance(59 * time.Second)
	result(t, s, "WhoAmI", "SessionID", id)
	c.Advance(time.Minute)
	if n := s.OpenSessions(); n != 0 {
		t.Errorf("%d sessions open", n)
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", id), "SessionTimeout")
}

func TestSessionIsBoundToIP(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	id := login(t, s, simulator.AdminUserID)
	r := v11.request("WhoAmI", v11.wrap(element("WhoAmI", "SessionID", id)))
	r.RemoteAddr = "198.51.100.7:1"
	wantRefused(t, send(s, r), "SessionTimeout")
	result(t, s, "WhoAmI", "SessionID", id)

	moved := newSim(t, simulator.Options{ClientIP: func(r *http.Request) string { return r.Header.Get("X-Test-IP") }})
	id = login(t, moved, simulator.AdminUserID)
	r = v11.request("WhoAmI", v11.wrap(element("WhoAmI", "SessionID", id)))
	r.Header.Set("X-Test-IP", "elsewhere")
	wantRefused(t, send(moved, r), "SessionTimeout")
}

func TestSessionCap(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	first := login(t, s, simulator.AdminUserID)
	for range simulator.DefaultSessionCap - 1 {
		login(t, s, simulator.AdminUserID)
	}
	admin := user(t, s, simulator.AdminUserID)
	full := tryLogin(s, admin.LoginName, admin.Password)
	if wrong := tryLogin(s, admin.LoginName, "wrong"); full.body != wrong.body || full.status != wrong.status {
		t.Error("a full session table is answered differently from a wrong password")
	}
	wantRefused(t, full, "AccessDenied")
	login(t, s, simulator.LowUserID) // the cap is per user
	result(t, s, "Logout", "SessionID", first)
	login(t, s, simulator.AdminUserID)
	state := s.State()
	if state.MaxOpenSessions != 6 || state.OpenByUser[simulator.AdminUserID] != 5 || state.RefusedLogins != 2 || state.SessionsOpened != 7 {
		t.Errorf("counted %+v", state)
	}
}

func TestSessionCapOption(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{SessionCap: 1})
	login(t, s, simulator.AdminUserID)
	admin := user(t, s, simulator.AdminUserID)
	wantRefused(t, tryLogin(s, admin.LoginName, admin.Password), "AccessDenied")
}

func TestAPIKeyStandsForASession(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	key := user(t, s, simulator.AdminUserID).APIKey
	if got, _ := soapCall(s, "WhoAmI", "SessionID", key).text("LoginName"); got != simulator.AdminLogin {
		t.Errorf("the key acts as %q", got)
	}
	if got := result(t, s, "UserGetAPIKey", "SessionID", key, "UserID", "5001"); got != user(t, s, simulator.UserID5001).APIKey {
		t.Error("another key than user 5001's")
	}
	if got := result(t, s, "Logout", "SessionID", key); got != "0" {
		t.Errorf("Logout with a key returns %s ms", got)
	}
	if s.State().SessionsOpened != 0 {
		t.Error("a key opened a session")
	}
	fresh := result(t, s, "GenerateAPIKey", "SessionID", key, "UserID", "1001")
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", key), "SessionTimeout")
	result(t, s, "WhoAmI", "SessionID", fresh)
}

func TestRefusedLogins(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*simulator.User){
		"suspended":  func(u *simulator.User) { u.Status = "Suspended" },
		"terminated": func(u *simulator.User) { u.Status = "Terminated" },
		"locked out": func(u *simulator.User) { u.LockedOut = true },
		"password":   func(u *simulator.User) { u.Password += "x" },
		"login name": func(u *simulator.User) { u.LoginName += "x" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{})
			before := user(t, s, simulator.LowUserID)
			login(t, s, simulator.LowUserID)
			s.Update(simulator.LowUserID, change)
			wantRefused(t, tryLogin(s, before.LoginName, before.Password), "AccessDenied")
			if s.State().RefusedLogins != 1 {
				t.Error("not counted")
			}
		})
	}
}

func TestInactiveUsersCredentials(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	id, key := login(t, s, simulator.LowUserID), user(t, s, simulator.LowUserID).APIKey
	s.Update(simulator.LowUserID, func(u *simulator.User) { u.Status = "Suspended" })
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", id), "SessionTimeout")
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", key), "SessionTimeout")
}

func TestLockout(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{LockoutAfter: 3})
	low := user(t, s, simulator.LowUserID)
	tryLogin(s, low.LoginName, "wrong")
	tryLogin(s, low.LoginName, "wrong")
	login(t, s, simulator.LowUserID) // resets the count
	for range 3 {
		if user(t, s, simulator.LowUserID).LockedOut {
			t.Error("locked too early")
		}
		tryLogin(s, low.LoginName, "wrong")
	}
	wantRefused(t, tryLogin(s, low.LoginName, low.Password), "AccessDenied")
	if !user(t, s, simulator.LowUserID).LockedOut {
		t.Error("not locked")
	}
}

func TestLoginNameIgnoresCase(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	low := user(t, s, simulator.LowUserID)
	if a := tryLogin(s, strings.ToUpper(low.LoginName), low.Password); a.status != http.StatusOK {
		t.Errorf("HTTP %d", a.status)
	}
	wantRefused(t, tryLogin(s, low.LoginName, strings.ToLower(low.Password)), "AccessDenied")
}

func TestControl(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID)
	one, two := login(t, s, simulator.AdminUserID), login(t, s, simulator.LowUserID)
	if n := s.KillSessions(simulator.LowUserID); n != 1 {
		t.Errorf("killed %d", n)
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", two), "SessionTimeout")
	result(t, s, "WhoAmI", "SessionID", one)
	if n := s.KillSessions(0); n != 1 {
		t.Errorf("killed %d of all users", n)
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", one), "SessionTimeout")

	if n := s.FillSessions(simulator.AdminUserID); n != simulator.DefaultSessionCap {
		t.Errorf("filled up with %d", n)
	}
	wantRefused(t, tryLogin(s, admin.LoginName, admin.Password), "AccessDenied")
	s.KillSessions(0)

	s.SetPassword(simulator.AdminUserID, "changed")
	wantRefused(t, tryLogin(s, admin.LoginName, admin.Password), "AccessDenied")
	if a := tryLogin(s, admin.LoginName, "changed"); a.status != http.StatusOK {
		t.Errorf("new password: HTTP %d", a.status)
	}

	old := user(t, s, simulator.UserID5001).APIKey
	if fresh := s.ReplaceKey(simulator.UserID5001); fresh == old || fresh != user(t, s, simulator.UserID5001).APIKey {
		t.Error("the key was not replaced")
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", old), "SessionTimeout")

	s.Update(simulator.UserID5002, func(u *simulator.User) { u.UserID, u.Company = 4711, "Renamed" })
	if u := user(t, s, simulator.UserID5002); u.UserID != simulator.UserID5002 || u.Company != "Renamed" {
		t.Errorf("updated to %d, %q", u.UserID, u.Company)
	}

	gone := login(t, s, simulator.UserID5001)
	s.Delete(simulator.UserID5001)
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", gone), "SessionTimeout")
	wantRefused(t, soapCall(s, "UserInfo", "SessionID", admin.APIKey, "UserID", "5001"), "NotFound")
	if s.ReplaceKey(4711) != "" || s.SetPassword(4711, "x") || s.FillSessions(4711) != 0 {
		t.Error("an unknown user was changed")
	}
}
