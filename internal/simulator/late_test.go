// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const (
	late    = 10 * time.Second
	fresh   = "Fresh-1 password"
	another = "Another-1 password"
)

// change is a call of either protocol that changes the administrator's own user.
type change struct {
	op      string
	over    string
	request func(u simulator.User, sessionID string) *http.Request
	done    func(before, now simulator.User) bool
}

func newPassword(_, now simulator.User) bool { return now.Password == fresh }
func newKey(before, now simulator.User) bool { return now.APIKey != before.APIKey }

func restRequest(method, path, key, body string) *http.Request {
	r := httptest.NewRequest(method, simulator.RESTPath+path, strings.NewReader(body))
	r.Header.Set("X-API-Key", key)
	r.Header.Set("Content-Type", "application/json")
	return r
}

var changes = []change{
	{"ChangePassword", simulator.TransportSOAP, func(u simulator.User, id string) *http.Request {
		return v11.request("ChangePassword", v11.wrap(element("ChangePassword", "SessionID", id, "OldPassword", u.Password, "NewPassword", fresh)))
	}, newPassword},
	{"GenerateAPIKey", simulator.TransportSOAP, func(_ simulator.User, id string) *http.Request {
		return v11.request("GenerateAPIKey", v11.wrap(element("GenerateAPIKey", "SessionID", id, "UserID", "1001")))
	}, newKey},
	{"ChangePassword", simulator.TransportREST, func(u simulator.User, _ string) *http.Request {
		return restRequest("PUT", "/auth/password", u.APIKey, `{"currentPassword":"`+u.Password+`","newPassword":"`+fresh+`"}`)
	}, newPassword},
	{"GenerateAPIKey", simulator.TransportREST, func(u simulator.User, _ string) *http.Request {
		return restRequest("POST", "/users/key-generate/1001", u.APIKey, "")
	}, newKey},
}

// A change is applied exactly after ApplyLate, whatever the client is answered, and even if
// it hangs up.
func TestApplyLate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault  simulator.Fault
		leaves time.Duration // when the client hangs up; 0 is never
		lasts  time.Duration // how long the client waits
		status int           // 0 if the client hangs up
	}{
		"the client waits":     {simulator.Fault{}, 0, late, http.StatusOK},
		"the client hangs up":  {simulator.Fault{}, time.Second, time.Second, 0},
		"silence":              {simulator.Fault{Answer: simulator.AnswerSilent}, time.Second, time.Second, 0},
		"a status meanwhile":   {simulator.Fault{Answer: simulator.AnswerStatus}, 0, 0, http.StatusServiceUnavailable},
		"a refusal meanwhile":  {simulator.Fault{Cause: simulator.SystemError}, 0, 0, http.StatusInternalServerError},
		"a later refusal":      {simulator.Fault{Cause: simulator.SystemError, DelayAnswer: time.Second}, 0, time.Second, http.StatusInternalServerError},
		"an answer even later": {simulator.Fault{DelayAnswer: time.Second}, 0, late + time.Second, http.StatusOK},
		"checked early":        {simulator.Fault{CheckEarly: true}, time.Second, time.Second, 0},
	} {
		for _, ch := range changes {
			t.Run(name+"/"+ch.op+"/"+ch.over, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := newSim(t, simulator.Options{})
					id, before := login(t, s, simulator.AdminUserID), user(t, s, simulator.AdminUserID)
					fault := c.fault // a copy for each change
					fault.Op, fault.Times, fault.ApplyLate, fault.Transport = ch.op, 1, late, ch.over
					s.Inject(fault)
					ctx := t.Context()
					if c.leaves > 0 {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, c.leaves)
						defer cancel()
					}
					began := time.Now()
					a := send(s, ch.request(before, id).WithContext(ctx))
					if lasted := time.Since(began); lasted != c.lasts || (c.status != 0 && a.status != c.status) {
						t.Errorf("HTTP %d after %v, want %d after %v", a.status, lasted, c.status, c.lasts)
					}
					s.KillSessions(0) // the caller was checked when it called
					if left := late - time.Nanosecond - time.Since(began); left > 0 {
						if time.Sleep(left); ch.done(before, user(t, s, simulator.AdminUserID)) || s.State().Landing != 1 {
							t.Error("applied too early")
						}
					}
					if err := s.AwaitState(t.Context(), func(st simulator.State) bool { return st.Landing == 0 }); err != nil {
						t.Fatal(err)
					}
					if !ch.done(before, user(t, s, simulator.AdminUserID)) {
						t.Error("not applied")
					}
					if applied := time.Since(began); applied != max(late, c.lasts) {
						t.Errorf("applied after %v", applied)
					}
				})
			})
		}
	}
}

// TestLateChangePassword applies a ChangePassword after the password has changed.
func TestLateChangePassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		early     bool
		old       string // "" is the right one
		meanwhile func(s *simulator.Simulator, old, sessionID string)
		want      string // "" is the old one
		refused   string // the ErrorString
		lasts     time.Duration
	}{
		"changed meanwhile":                {false, "", func(s *simulator.Simulator, _, _ string) { s.SetPassword(simulator.AdminUserID, another) }, another, "AccessDenied", late},
		"changed meanwhile, checked early": {true, "", func(s *simulator.Simulator, _, _ string) { s.SetPassword(simulator.AdminUserID, another) }, fresh, "", late},
		"the same pair again": {false, "", func(s *simulator.Simulator, old, id string) {
			soapCall(s, "ChangePassword", "SessionID", id, "OldPassword", old, "NewPassword", fresh)
		}, fresh, "AccessDenied", late},
		"wrong":                {false, "wrong", nil, "", "AccessDenied", late},
		"wrong, checked early": {true, "wrong", nil, "", "AccessDenied", 0},
		"right by then":        {false, another, func(s *simulator.Simulator, _, _ string) { s.SetPassword(simulator.AdminUserID, another) }, fresh, "", late},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, simulator.Options{})
				id, before := login(t, s, simulator.AdminUserID), user(t, s, simulator.AdminUserID)
				s.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, ApplyLate: late, CheckEarly: c.early})
				if c.meanwhile != nil {
					time.AfterFunc(time.Second, func() { c.meanwhile(s, before.Password, id) })
				}
				old := c.old
				if old == "" {
					old = before.Password
				}
				began := time.Now()
				wantRefused(t, soapCall(s, "ChangePassword", "SessionID", id, "OldPassword", old, "NewPassword", fresh), c.refused)
				if lasted := time.Since(began); lasted != c.lasts {
					t.Errorf("the call lasted %v, want %v", lasted, c.lasts)
				}
				want := c.want
				if want == "" {
					want = before.Password
				}
				if user(t, s, simulator.AdminUserID).Password != want {
					t.Error("wrong password")
				}
			})
		})
	}
}

// A late change does not restore a user that was deleted meanwhile.
func TestLateChangeOfADeletedUser(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, simulator.Options{})
		key := user(t, s, simulator.AdminUserID).APIKey
		s.Inject(simulator.Fault{Op: "GenerateAPIKey", Times: 1, ApplyLate: late})
		time.AfterFunc(time.Second, func() { s.Delete(simulator.UserID5001) })
		wantRefused(t, soapCall(s, "GenerateAPIKey", "SessionID", key, "UserID", "5001"), "NotFound")
		if _, there := s.User(simulator.UserID5001); there {
			t.Error("the user is back")
		}

		gone := user(t, s, simulator.UserID5002)
		s.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, ApplyLate: late, CheckEarly: true})
		time.AfterFunc(time.Second, func() { s.Delete(simulator.UserID5002) })
		soapCall(s, "ChangePassword", "SessionID", gone.APIKey, "OldPassword", gone.Password, "NewPassword", fresh)
		wantRefused(t, tryLogin(s, gone.LoginName, fresh), "AccessDenied")
		wantRefused(t, soapCall(s, "WhoAmI", "SessionID", gone.APIKey), "SessionTimeout")
	})
}

// The connection is real, and reset.
func TestApplyLateAndReset(t *testing.T) {
	t.Parallel()
	s := start(t, simulator.Options{}, simulator.ServerOptions{})
	admin, before := user(t, s.Simulator, simulator.AdminUserID), user(t, s.Simulator, simulator.UserID5001)
	s.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset, ApplyLate: 50 * time.Millisecond})
	if _, _, err := post(t, s.SOAP, "GenerateAPIKey", "SessionID", admin.APIKey, "UserID", "5001"); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the call ended with %v", err)
	}
	if err := s.AwaitState(t.Context(), func(st simulator.State) bool { return st.Landing == 0 }); err != nil {
		t.Fatal(err)
	}
	if user(t, s.Simulator, simulator.UserID5001).APIKey == before.APIKey {
		t.Error("not applied")
	}
}

// The changes that wait are bounded. A further one is refused and not applied.
func TestLateIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const most = 1000
		s := newSim(t, simulator.Options{})
		key := user(t, s, simulator.AdminUserID).APIKey
		s.Inject(simulator.Fault{Op: "GenerateAPIKey", ApplyLate: time.Hour})
		gone, cancel := context.WithCancel(t.Context())
		cancel() // the clients do not wait
		generate := func() answer {
			return send(s, restRequest("POST", "/users/key-generate/5001", key, "").WithContext(gone))
		}
		for range most {
			generate()
		}
		if waiting := s.Kept().Late; waiting != most {
			t.Fatalf("%d changes wait, want %d", waiting, most)
		}
		if a := generate(); a.status != http.StatusInternalServerError || s.Kept().Late != most {
			t.Errorf("one more: HTTP %d, %d wait", a.status, s.Kept().Late)
		}
		time.Sleep(2 * time.Hour) // in the time of the test
		if waiting := s.Kept().Late; waiting != 0 {
			t.Errorf("%d changes still wait", waiting)
		}
	})
}
