// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestCalls(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now})
	id := login(t, s, simulator.LowUserID)
	soapCall(s, "UserGetAPIKey", "SessionID", id, "UserID", "5001")
	got := s.Calls()
	want := []simulator.Call{
		{Op: "Login", Transport: "soap", Time: c.Now(), ClientIP: "192.0.2.1", Answered: true},
		{Op: "UserGetAPIKey", Transport: "soap", Time: c.Now(), ClientIP: "192.0.2.1", Answered: true, SessionID: id, Refused: simulator.AccessDenied},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d calls, or wrong ones", len(got))
	}
	if s.Count("Login") != 1 || s.Count("") != 2 || s.State().Calls["UserGetAPIKey"] != 1 {
		t.Error("wrong counts")
	}
}

// The calls that are kept are bounded, the counters are not.
func TestKeepCalls(t *testing.T) {
	t.Parallel()
	const keep, made = 10, 35
	s := newSim(t, simulator.Options{KeepCalls: keep, Record: true})
	for range made {
		soapCall(s, "Version")
	}
	soapCall(s, "WhoAmI")
	calls, exchanges := s.Calls(), s.Exchanges()
	if len(calls) != keep || len(exchanges) != keep || calls[keep-1].Op != "WhoAmI" || exchanges[keep-1].Op != "WhoAmI" || calls[0].Op != "Version" {
		t.Errorf("%d calls and %d exchanges, or not the newest", len(calls), len(exchanges))
	}
	if s.Count("Version") != made || s.Count("") != made+1 || s.State().Calls["Version"] != made {
		t.Errorf("counted %d, want %d", s.Count("Version"), made)
	}
}

// A call that is dropped from the journal while it is in flight still ends.
func TestKeepCallsInFlight(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{KeepCalls: 1})
	s.Inject(simulator.Fault{Op: "WhoAmI", Before: func(s *simulator.Simulator) {
		for range 5 {
			soapCall(s, "Version")
		}
	}})
	soapCall(s, "WhoAmI")
	if st := s.State(); st.InFlight != 0 || st.MaxInFlight != 2 {
		t.Errorf("in flight %d, at most %d", st.InFlight, st.MaxInFlight)
	}
}

// Former secrets are bounded, current ones are all kept.
func TestSecretsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	first := user(t, s, simulator.UserID5001).APIKey
	id := login(t, s, simulator.AdminUserID)
	for range 250_000 {
		s.ReplaceKey(simulator.UserID5001)
	}
	admin, secrets := user(t, s, simulator.AdminUserID), s.Secrets()
	has := func(secret string) bool { _, found := slices.BinarySearch(secrets, secret); return found }
	if len(secrets) > 220_000 || has(first) {
		t.Errorf("%d secrets are kept", len(secrets))
	}
	if !has(id) || !has(admin.Password) || !has(admin.APIKey) || !has(user(t, s, simulator.UserID5001).APIKey) || has("") {
		t.Error("a current secret is missing, or an empty one is included")
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID)
	id := login(t, s, simulator.AdminUserID)
	fresh := result(t, s, "GenerateAPIKey", "SessionID", id, "UserID", "1001")
	result(t, s, "ChangePassword", "SessionID", id, "OldPassword", admin.Password, "NewPassword", "New&1pass")
	s.SetPassword(simulator.AdminUserID, "set-outside")
	secrets := s.Secrets()
	for what, secret := range map[string]string{
		"old password": admin.Password, "old key": admin.APIKey, "SessionID": id, "new key": fresh,
		"new password": "New&1pass", "new password in XML": "New&amp;1pass", "new password in JSON": `New\u00261pass`,
		"password set outside": "set-outside",
	} {
		if !slices.Contains(secrets, secret) {
			t.Errorf("%s is missing", what)
		}
	}
	if slices.Contains(secrets, "") {
		t.Error("an empty secret is included")
	}
}

func TestStateHoldsNoSecret(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	id := login(t, s, simulator.AdminUserID)
	soapCall(s, "WhoAmI", "SessionID", id)
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/simulator/state", nil),
		httptest.NewRequest(http.MethodPost, "/simulator/rotate/5001", nil),
		httptest.NewRequest(http.MethodPost, "/simulator/fault", strings.NewReader(`{"op":"x"}`)),
	} {
		wantNoSecret(t, s, send(s, r).body)
	}
}

func wantNoSecret(t *testing.T, s *simulator.Simulator, text string) {
	t.Helper()
	if slices.ContainsFunc(s.Secrets(), func(secret string) bool { return strings.Contains(text, secret) }) {
		t.Error("the text contains a secret")
	}
}

// A fault for an invalid request does not repeat its values.
func TestFaultsRepeatNoSecret(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	id := login(t, s, simulator.AdminUserID)
	for _, body := range []string{
		element("WhoAmI", "SessionID", id)[:60+len(id)],
		element("UserInfo", "SessionID", id, "UserID", id),
		element("UserInfo", "SessionID", id),
		element("WhoAmI", "SessionID", id+"x"),
		`<WhoAmI xmlns="https://os.ecgrid.io/"><SessionID a="` + id + `"/></WhoAmI>`,
		`<WhoAmI xmlns="https://os.ecgrid.io/">` + id + `</WhoAmI>`,
	} {
		wantNoSecret(t, s, send(s, v12.request("", v12.wrap(body))).body)
	}
}

func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	release := make(chan struct{})
	s.Inject(simulator.Fault{Op: "Version", Before: func(*simulator.Simulator) { <-release }})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { soapCall(s, "Version") })
	}
	if err := s.Await(t.Context(), "Version", 3); err != nil {
		t.Fatal(err)
	}
	close(release)
	wg.Wait()
	if st := s.State(); st.InFlight != 0 || st.MaxInFlight != 3 {
		t.Errorf("in flight %d, at most %d", st.InFlight, st.MaxInFlight)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newSim(t, simulator.Options{}).Await(ctx, "Login", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestExchanges(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{Record: true})
	a := soapCall(s, "Version")
	send(s, v11.request("Version", "not XML"))
	got := s.Exchanges()
	if len(got) != 2 {
		t.Fatalf("%d exchanges", len(got))
	}
	if x := got[0]; x.Op != "Version" || string(x.Request) != v11.wrap(element("Version")) || string(x.Response) != a.body || x.Status != http.StatusOK ||
		x.RequestHeader.Get("SOAPAction") != `"https://os.ecgrid.io/Version"` || x.ResponseHeader.Get("Content-Type") != v11.contentType || x.URL != simulator.SOAPPath {
		t.Error("the first exchange is wrong")
	}
	if x := got[1]; x.Op != "" || string(x.Request) != "not XML" || x.Status != http.StatusInternalServerError {
		t.Errorf("the second exchange is wrong: %s, HTTP %d", x.Op, x.Status)
	}
	if s.State().BadRequests != 1 {
		t.Error("the bad request was not counted")
	}
	if a := send(s, v11.request("Version", strings.Repeat(" ", simulator.MaxBody+1))); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large while recording: HTTP %d", a.status)
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID)
	do := func(method, path, body string) answer {
		return send(s, httptest.NewRequest(method, simulator.AdminPath+path, strings.NewReader(body)))
	}
	login(t, s, simulator.AdminUserID)
	var state simulator.State
	if err := json.Unmarshal([]byte(do("GET", "/state", "").body), &state); err != nil || state.OpenSessions != 1 || state.Calls["Login"] != 1 || state.OpenByUser[1001] != 1 {
		t.Errorf("state is %+v, %v", state, err)
	}
	if a := do("POST", "/fault", `{"op":"Version","answer":"status","status":502}`); a.status != http.StatusOK {
		t.Errorf("fault: HTTP %d", a.status)
	}
	if a := soapCall(s, "Version"); a.status != http.StatusBadGateway {
		t.Errorf("the fault was not injected: HTTP %d", a.status)
	}
	do("DELETE", "/fault", "")
	result(t, s, "Version")
	if a := do("POST", "/fault", `{"op":"ChangePassword","apply_late_ns":1000,"check_early":true,"answer":"twice"}`); a.status != http.StatusOK {
		t.Errorf("late fault: HTTP %d", a.status)
	}
	for _, bad := range []string{`{"op":"Login","apply_late_ns":1}`, `{"op":"Nothing"}`, `{"answers":"status"}`, `[]`, ``} {
		if a := do("POST", "/fault", bad); a.status != http.StatusBadRequest {
			t.Errorf("fault %s: HTTP %d", bad, a.status)
		}
	}
	old := user(t, s, simulator.UserID5001).APIKey
	if do("POST", "/rotate/5001", ""); user(t, s, simulator.UserID5001).APIKey == old {
		t.Error("not rotated")
	}
	do("POST", "/password/1001", "Set-By-Admin-7")
	if u := user(t, s, 1001); u.Password != "Set-By-Admin-7" {
		t.Error("the password was not set")
	}
	s.SetPassword(1001, admin.Password)
	if a := do("POST", "/password/1001", ""); a.status != http.StatusBadRequest || user(t, s, 1001).Password != admin.Password {
		t.Errorf("an empty password: HTTP %d", a.status)
	}
	if do("POST", "/kill/0", ""); s.OpenSessions() != 0 {
		t.Error("not killed")
	}
	do("POST", "/fill/1001", "")
	wantRefused(t, tryLogin(s, admin.LoginName, admin.Password), "AccessDenied")
	if a := do("POST", "/rotate/abc", ""); a.status != http.StatusBadRequest {
		t.Errorf("rotate/abc: HTTP %d", a.status)
	}
}
