package simulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// restAnswer is the envelope of the REST API's documentation.
type restAnswer struct {
	status    int
	Success   *bool            `json:"success"`
	Data      *json.RawMessage `json:"data"`
	ErrorCode *string          `json:"errorCode"`
	Message   *string          `json:"message"`
}

func rest(t *testing.T, s *simulator.Simulator, credential, method, path, body string) restAnswer {
	t.Helper()
	r := httptest.NewRequest(method, simulator.RESTPath+path, strings.NewReader(body))
	name, value, _ := strings.Cut(credential, ": ")
	r.Header.Set(name, value)
	a := send(s, r)
	got := restAnswer{status: a.status}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || got.Success == nil || got.ErrorCode == nil || got.Message == nil {
		t.Fatalf("%s %s: HTTP %d without the JSON envelope", method, path, a.status)
	}
	if *got.Success != (got.status == http.StatusOK) || *got.Success != (*got.ErrorCode == "") {
		t.Errorf("%s %s: HTTP %d does not match the envelope", method, path, got.status)
	}
	return got
}

// text returns the data if it is a string.
func (a restAnswer) text() string {
	var text string
	if a.Data == nil || json.Unmarshal(*a.Data, &text) != nil {
		return ""
	}
	return text
}

func TestRESTRefusals(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin, low := "X-API-Key: "+user(t, s, simulator.AdminUserID).APIKey, "X-API-Key: "+user(t, s, simulator.LowUserID).APIKey
	for name, c := range map[string]struct {
		credential, method, path, body string
		status                         int
		code                           string
	}{
		"no credential": {"X: y", "GET", "/users/me", "", 401, "InvalidSession"},
		"wrong key":     {"X-API-Key: x", "GET", "/users/me", "", 401, "InvalidAPIKey"},
		"wrong token":   {"Authorization: Bearer x", "GET", "/users/me", "", 401, "InvalidSession"},
		"denied":        {low, "GET", "/users/key/5001", "", 403, "AccessDenied"},
		"denied new":    {low, "POST", "/users/key-generate/5001", "", 403, "AccessDenied"},
		"no such user":  {admin, "GET", "/users/key/4711", "", 404, "ObjectNotFound"},
		"bad id":        {admin, "GET", "/users/key/abc", "", 400, "InvalidParameter"},
		"id 0":          {admin, "GET", "/users/key/0", "", 400, "InvalidParameter"},
		"no such path":  {admin, "GET", "/users/you", "", 404, "ObjectNotFound"},
		"wrong method":  {admin, "DELETE", "/users/me", "", 404, "ObjectNotFound"},
		"wrong login":   {"X: y", "POST", "/auth/login", `{"login":"sim-admin","password":"wrong"}`, 401, "InvalidSession"},
		"no JSON":       {"X: y", "POST", "/auth/login", `<login/>`, 400, "InvalidParameter"},
		"too large":     {"X: y", "POST", "/auth/login", strings.Repeat(" ", simulator.MaxBody+1), 400, "InvalidParameter"},
		"wrong old":     {low, "PUT", "/auth/password", `{"currentPassword":"x","newPassword":"Good&1pass"}`, 403, "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := rest(t, s, c.credential, c.method, c.path, c.body); got.status != c.status || *got.ErrorCode != c.code {
				t.Errorf("HTTP %d %s, want %d %s", got.status, *got.ErrorCode, c.status, c.code)
			}
		})
	}
}

func TestRESTWithAKey(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := "X-API-Key: " + user(t, s, simulator.AdminUserID).APIKey
	old := user(t, s, simulator.UserID5001).APIKey
	if got := rest(t, s, admin, "GET", "/users/key/5001", "").text(); got != old {
		t.Error("not user 5001's key")
	}
	var me struct {
		UserID    int32  `json:"userId"`
		LoginName string `json:"loginName"`
	}
	if err := json.Unmarshal(*rest(t, s, "X-API-Key: "+old, "GET", "/users/me", "").Data, &me); err != nil || me.UserID != 5001 || me.LoginName != "sim-5001" {
		t.Errorf("me is %+v, %v", me, err)
	}
	fresh := rest(t, s, admin, "POST", "/users/key-generate/5001", "").text()
	if fresh == old || fresh != user(t, s, simulator.UserID5001).APIKey {
		t.Error("the new key is not the user's")
	}
	if got := rest(t, s, "X-API-Key: "+old, "GET", "/users/me", ""); got.status != 401 {
		t.Errorf("the old key: HTTP %d", got.status)
	}
	result(t, s, "WhoAmI", "SessionID", fresh) // SOAP accepts the same key
}

func TestRESTSession(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now})
	low := user(t, s, simulator.LowUserID)
	open := func(field, password string) string {
		body, _ := json.Marshal(map[string]string{field: low.LoginName, "password": password})
		var data struct {
			Token     string    `json:"token"`
			ExpiresAt time.Time `json:"expiresAt"`
			UserID    int32     `json:"userId"`
		}
		got := rest(t, s, "X: y", "POST", "/auth/login", string(body))
		if err := json.Unmarshal(*got.Data, &data); err != nil || data.UserID != low.UserID || !data.ExpiresAt.Equal(c.Now().Truncate(time.Second).Add(time.Hour)) {
			t.Fatalf("login: HTTP %d, user %d, %v", got.status, data.UserID, err)
		}
		return "Authorization: Bearer " + data.Token
	}
	token := open("email", low.Password)
	if rest(t, s, token, "GET", "/users/me", "").status != 200 {
		t.Error("the token does not work")
	}
	body, _ := json.Marshal(map[string]string{"currentPassword": low.Password, "newPassword": "Good&1pass"})
	if got := rest(t, s, token, "PUT", "/auth/password", string(body)); got.status != 200 || user(t, s, low.UserID).Password != "Good&1pass" {
		t.Errorf("password: HTTP %d, or not changed", got.status)
	}
	rest(t, s, token, "POST", "/auth/logout", "")
	if got := rest(t, s, token, "GET", "/users/me", ""); got.status != 401 {
		t.Errorf("after logout: HTTP %d", got.status)
	}
	token = open("login", "Good&1pass")
	c.Advance(time.Hour)
	if got := rest(t, s, token, "GET", "/users/me", ""); got.status != 401 {
		t.Errorf("after an hour: HTTP %d", got.status)
	}
	token = open("login", "Good&1pass")
	s.Update(low.UserID, func(u *simulator.User) { u.Status = "Suspended" })
	for _, credential := range []string{token, "X-API-Key: " + low.APIKey} {
		if got := rest(t, s, credential, "GET", "/users/me", ""); got.status != 401 {
			t.Errorf("of a suspended user: HTTP %d", got.status)
		}
	}
	s.Update(low.UserID, func(u *simulator.User) { u.Status = "Active" })
	s.Delete(low.UserID)
	if got := rest(t, s, token, "GET", "/users/me", ""); got.status != 401 {
		t.Errorf("of a deleted user: HTTP %d", got.status)
	}
	if s.State().SessionsOpened != 0 {
		t.Error("a REST login opened a SOAP session")
	}
}

func TestRESTFaults(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := "X-API-Key: " + user(t, s, simulator.AdminUserID).APIKey
	s.Inject(simulator.Fault{Op: simulator.RESTUserKey, Times: 1, Answer: simulator.AnswerStatus, Status: 429, Header: http.Header{"Retry-After": {"1"}}})
	if got := rest(t, s, admin, "GET", "/users/key/5001", ""); got.status != 429 || *got.ErrorCode != "RateLimitExceeded" {
		t.Errorf("HTTP %d %s", got.status, *got.ErrorCode)
	}
	for cause, status := range map[simulator.Cause]int{
		simulator.SessionDead: 401, simulator.AccessDenied: 403, simulator.NotFound: 404, simulator.InvalidParameter: 400, simulator.SystemError: 500,
	} {
		s.Inject(simulator.Fault{Op: simulator.RESTUserMe, Times: 1, Cause: cause})
		if got := rest(t, s, admin, "GET", "/users/me", ""); got.status != status {
			t.Errorf("%s: HTTP %d, want %d", cause, got.status, status)
		}
	}
}
