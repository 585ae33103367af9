// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// restAnswer is the envelope of the REST API's documentation.
type restAnswer struct {
	status    int
	header    http.Header
	Success   *bool            `json:"success"`
	Data      *json.RawMessage `json:"data"` // nil if absent, and if null
	ErrorCode *string          `json:"errorCode"`
	Message   *string          `json:"message"`
}

// rest makes a call. A credential is a header, "Name: value", or "".
func rest(t *testing.T, s *simulator.Simulator, credential, method, path, body string) restAnswer {
	t.Helper()
	r := httptest.NewRequest(method, simulator.RESTPath+path, strings.NewReader(body))
	if name, value, ok := strings.Cut(credential, ": "); ok {
		r.Header.Set(name, value)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	a := send(s, r)
	got := restAnswer{status: a.status, header: a.header}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Success == nil {
		t.Fatalf("%s %s: HTTP %d without the JSON envelope", method, path, a.status)
	}
	isError := got.status != http.StatusOK
	usersFamily := strings.HasPrefix(path, "/users/") && !isError
	if *got.Success == isError || (got.ErrorCode == nil) != usersFamily || (got.Message == nil) != usersFamily {
		t.Errorf("%s %s: HTTP %d does not match the envelope", method, path, got.status)
	}
	if isError && got.Data != nil || !usersFamily && isError == (*got.ErrorCode == "") {
		t.Errorf("%s %s: HTTP %d with data or without a code", method, path, got.status)
	}
	return got
}

// into reads the data.
func into[T any](t *testing.T, a restAnswer) (data T) {
	t.Helper()
	if a.Data == nil {
		t.Fatalf("HTTP %d without data", a.status)
	}
	if err := json.Unmarshal(*a.Data, &data); err != nil {
		t.Fatal(err)
	}
	return data
}

// text returns the data if it is a string.
func (a restAnswer) text() string {
	var text string
	if a.Data == nil || json.Unmarshal(*a.Data, &text) != nil {
		return ""
	}
	return text
}

func (a restAnswer) code() string {
	if a.ErrorCode == nil {
		return ""
	}
	return *a.ErrorCode
}

func wantCode(t *testing.T, a restAnswer, status int, code string) {
	t.Helper()
	if a.status != status || a.code() != code {
		t.Errorf("HTTP %d %s, want %d %s", a.status, a.code(), status, code)
	}
}

func keyOf(t *testing.T, s *simulator.Simulator, id int32) string {
	t.Helper()
	return "X-API-Key: " + user(t, s, id).APIKey
}

func TestRESTRefusals(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin, low := keyOf(t, s, simulator.AdminUserID), keyOf(t, s, simulator.LowUserID)
	sessionID := login(t, s, simulator.AdminUserID)
	for name, c := range map[string]struct {
		credential, method, path, body string
		status                         int
		code                           string
	}{
		"no credential":      {"", "GET", "/users/me", "", 401, "InvalidAPIKey"},
		"wrong key":          {"X-API-Key: x", "GET", "/users/me", "", 401, "InvalidAPIKey"},
		"wrong token":        {"Authorization: Bearer x", "GET", "/users/me", "", 401, "InvalidSession"},
		"not a bearer":       {"Authorization: Basic eDp5", "GET", "/users/me", "", 401, "InvalidSession"},
		"a SessionID":        {"Authorization: Bearer " + sessionID, "GET", "/users/me", "", 401, "InvalidSession"},
		"a key as token":     {"Authorization: Bearer " + admin[11:], "GET", "/users/me", "", 401, "InvalidSession"},
		"denied":             {low, "GET", "/users/key/5001", "", 403, "AccessDenied"},
		"denied, own key":    {low, "GET", "/users/key/1002", "", 403, "AccessDenied"},
		"denied new":         {low, "POST", "/users/key-generate/5001", "", 403, "AccessDenied"},
		"denied reset":       {low, "POST", "/users/reset/5001", "", 403, "AccessDenied"},
		"no such user":       {admin, "GET", "/users/key/4711", "", 404, "ObjectNotFound"},
		"not accessible":     {admin, "GET", "/users/6001", "", 404, "ObjectNotFound"},
		"bad id":             {admin, "GET", "/users/key/abc", "", 400, "InvalidParameter"},
		"id 0":               {admin, "GET", "/users/key/0", "", 400, "InvalidParameter"},
		"other spelling":     {admin, "GET", "/users/05001", "", 400, "InvalidParameter"},
		"id above int32":     {admin, "GET", "/users/2147483648", "", 400, "InvalidParameter"},
		"not an id":          {admin, "GET", "/users/you", "", 400, "InvalidParameter"},
		"no such path":       {admin, "GET", "/users/a/b/c", "", 404, "ObjectNotFound"},
		"wrong method":       {admin, "DELETE", "/users/me", "", 404, "ObjectNotFound"},
		"GET for POST":       {admin, "GET", "/auth/login", "", 404, "ObjectNotFound"},
		"POST for PUT":       {admin, "POST", "/auth/password", "{}", 404, "ObjectNotFound"},
		"wrong login":        {"", "POST", "/auth/login", `{"login":"sim-admin","password":"wrong"}`, 401, "InvalidSession"},
		"no login name":      {"", "POST", "/auth/login", `{"password":"wrong"}`, 400, "InvalidParameter"},
		"no password":        {"", "POST", "/auth/login", `{"login":"sim-admin"}`, 400, "InvalidParameter"},
		"null password":      {"", "POST", "/auth/login", `{"login":"sim-admin","password":null}`, 400, "InvalidParameter"},
		"empty password":     {"", "POST", "/auth/login", `{"login":"sim-admin","password":""}`, 400, "InvalidParameter"},
		"number as password": {"", "POST", "/auth/login", `{"login":"sim-admin","password":1}`, 400, "InvalidParameter"},
		"other case":         {"", "POST", "/auth/login", `{"login":"sim-admin","Password":"x"}`, 400, "InvalidParameter"},
		"field twice":        {"", "POST", "/auth/login", `{"login":"sim-admin","password":"x","password":"x"}`, 400, "InvalidParameter"},
		"no body":            {"", "POST", "/auth/login", "", 415, "InvalidParameter"},
		"no JSON":            {"", "POST", "/auth/login", `<login/>`, 400, "InvalidParameter"},
		"half JSON":          {"", "POST", "/auth/login", `{"login":"sim-admin","password":"x"`, 400, "InvalidParameter"},
		"two objects":        {"", "POST", "/auth/login", `{"login":"sim-admin","password":"x"}{}`, 400, "InvalidParameter"},
		"an array":           {"", "POST", "/auth/login", `[]`, 400, "InvalidParameter"},
		"not UTF-8":          {"", "POST", "/auth/login", "{\"login\":\"sim-admin\",\"password\":\"\xe9\"}", 400, "InvalidParameter"},
		"too large":          {"", "POST", "/auth/login", strings.Repeat(" ", simulator.MaxBody+1), 400, "InvalidParameter"},
		"wrong old":          {low, "PUT", "/auth/password", `{"currentPassword":"x","newPassword":"Good&1pass"}`, 403, "AccessDenied"},
		"no old":             {low, "PUT", "/auth/password", `{"newPassword":"Good&1pass"}`, 400, "InvalidParameter"},
		"malformed no-body":  {low, "POST", "/auth/session", "{", 400, "InvalidParameter"},
		"page 0":             {admin, "POST", "/users/list", `{"pageNo":0}`, 400, "InvalidParameter"},
		"page as text":       {admin, "POST", "/users/list", `{"pageNo":"1"}`, 400, "InvalidParameter"},
		"page as float":      {admin, "POST", "/users/list", `{"pageNo":1.5}`, 400, "InvalidParameter"},
		"empty page":         {admin, "POST", "/users/list", `{"recordsPerPage":0}`, 400, "InvalidParameter"},
		"no such status":     {admin, "POST", "/users/list", `{"status":"active"}`, 400, "InvalidParameter"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantCode(t, rest(t, s, c.credential, c.method, c.path, c.body), c.status, c.code)
		})
	}
}

// An invalid request is no call and changes nothing.
func TestRESTBadRequestsAreNoCalls(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{LockoutAfter: 1})
	low := user(t, s, simulator.LowUserID)
	for _, r := range []*http.Request{
		httptest.NewRequest("POST", "/v2/auth/login", strings.NewReader(`{"login":"`+low.LoginName+`","password":""}`)),
		httptest.NewRequest("GET", "/v2/users/x", nil),
		httptest.NewRequest("HEAD", "/v2/users/me", nil),
		httptest.NewRequest("GET", "/v2/nothing", nil),
	} {
		if r.Body != http.NoBody {
			r.Header.Set("Content-Type", "application/json; charset=UTF-8")
		}
		if a := send(s, r); a.status != 400 && a.status != 404 {
			t.Errorf("%s %s: HTTP %d", r.Method, r.URL, a.status)
		}
	}
	if st := s.State(); st.BadRequests != 4 || s.Count("") != 0 || st.RefusedLogins != 0 || user(t, s, low.UserID).LockedOut {
		t.Errorf("%d bad requests and %d calls, want 4 and 0, or one counts as a login", st.BadRequests, s.Count(""))
	}
}

func TestRESTContentType(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	for contentType, want := range map[string]int{
		"application/json": 401, "application/json; charset=utf-8": 401, "": 415, "text/json": 415,
		"application/json; charset=iso-8859-1": 415, "application/x-www-form-urlencoded": 415, "application/": 415,
	} {
		r := httptest.NewRequest("POST", "/v2/auth/login", strings.NewReader(`{"login":"a","password":"b","more":{"x":[1]}}`))
		r.Header.Set("Content-Type", contentType)
		if a := send(s, r); a.status != want {
			t.Errorf("%q: HTTP %d, want %d", contentType, a.status, want)
		}
	}
}

// Each REST call has the name of the SOAP operation that does the same.
func TestRESTOperationNames(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{Record: true})
	admin := user(t, s, simulator.AdminUserID)
	key, token := keyOf(t, s, simulator.AdminUserID), openToken(t, s, admin)
	for _, c := range []struct{ credential, method, path, body, op string }{
		{"", "GET", "/auth/version", "", "Version"},
		{token, "POST", "/auth/session", "", "WhoAmI"},
		{token, "POST", "/auth/refresh", quoteFields("token", token[len(bearer):]), "Refresh"},
		{key, "PUT", "/auth/password", quoteFields("currentPassword", admin.Password, "newPassword", "Good&1pass"), "ChangePassword"},
		{key, "GET", "/users/me", "", "WhoAmI"},
		{key, "GET", "/users/5001", "", "UserInfo"},
		{key, "GET", "/users/key/5001", "", "UserGetAPIKey"},
		{key, "POST", "/users/key-generate/5001", "", "GenerateAPIKey"},
		{key, "POST", "/users/list", "{}", "UserList"},
		{key, "POST", "/users/reset/5001", "{}", "UserReset"},
		{key, "POST", "/auth/logout", "", "Logout"},
	} {
		before := s.Count(c.op)
		if a := rest(t, s, c.credential, c.method, c.path, c.body); a.status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", c.path, a.status, a.code())
		}
		calls, exchanges := s.Calls(), s.Exchanges()
		_, sent, _ := strings.Cut(strings.Replace(c.credential, "Bearer ", "", 1), ": ")
		last := calls[len(calls)-1]
		if s.Count(c.op) != before+1 || last.Op != c.op || last.Transport != simulator.TransportREST || last.SessionID != sent || last.Refused != "" {
			t.Errorf("%s is counted as %s over %s, or with another credential", c.path, last.Op, last.Transport)
		}
		if got := exchanges[len(exchanges)-1].Op; got != c.op {
			t.Errorf("%s is recorded as %s", c.path, got)
		}
	}
}

// The reason of a refusal is in the journal, as for SOAP.
func TestRESTRefusalsInTheJournal(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	low := keyOf(t, s, simulator.LowUserID)
	rest(t, s, "X-API-Key: x", "GET", "/users/me", "")
	rest(t, s, "", "POST", "/auth/login", `{"login":"x","password":"y"}`)
	rest(t, s, low, "POST", "/users/reset/5001", "")
	rest(t, s, low, "GET", "/users/4711", "")
	want := []simulator.Cause{simulator.SessionDead, simulator.LoginRefused, simulator.AccessDenied, simulator.NotFound}
	for i, c := range s.Calls() {
		if c.Refused != want[i] || !c.Answered {
			t.Errorf("%s: refused %q, want %q", c.Op, c.Refused, want[i])
		}
	}
}
