// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// restUsers are testUsers, one without a key and enough for two pages.
func restUsers() []User {
	all := append(slices.Clone(testUsers), User{ID: 4, Login: "keyless", Password: "Four-Passw0rd", AuthLevel: "General", NetworkID: 9, NoKey: true})
	for id := 5; id < 32; id++ {
		all = append(all, User{ID: id, Login: fmt.Sprint("user", id), Password: "Many-Passw0rd", AuthLevel: "General", NetworkID: 9})
	}
	return all
}

// visible is how many of restUsers the first one sees.
const visible = 30

type restClient struct {
	client
	key string // of the first user
}

func startREST(t *testing.T, reading RESTReading) (*Server, restClient) {
	t.Helper()
	s, c := startWith(t, Options{Limits: limits, Users: restUsers(), Seed: 11, REST: reading})
	return s, restClient{c, s.Keys(1)[0].Value}
}

type restAnswer struct {
	status  int
	header  http.Header
	chunked bool
	raw     string
	fields  map[string]any
}

// code is the status, followed by the errorCode if there is one.
func (a restAnswer) code() string {
	code, _ := a.fields["errorCode"].(string)
	return strconv.Itoa(a.status) + code
}

// at is a field of data.
func (a restAnswer) at(name string) any {
	data, _ := a.fields["data"].(map[string]any)
	return data[name]
}

func (a restAnswer) token() string {
	token, _ := a.at("token").(string)
	return token
}

func (c restClient) request(credential, call, body string) *http.Request {
	method, path, _ := strings.Cut(call, " ")
	r, err := http.NewRequest(method, strings.TrimSuffix(c.url, endpoint)+restBase+path, strings.NewReader(body))
	if err != nil {
		panic(err) // the method and the URL are valid
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if strings.Contains(credential, ".") {
		r.Header.Set("Authorization", "Bearer "+credential)
	} else if credential != "" {
		r.Header.Set("X-API-Key", credential)
	}
	return r
}

// try sends a request. Tokens have a dot, keys have none.
func (c restClient) try(credential, call, body string) (restAnswer, error) {
	return c.send(c.request(credential, call, body))
}

func (c restClient) send(r *http.Request) (restAnswer, error) {
	resp, err := c.Do(r)
	if err != nil {
		return restAnswer{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return restAnswer{}, err
	}
	a := restAnswer{status: resp.StatusCode, header: resp.Header, chunked: len(resp.TransferEncoding) > 0, raw: string(raw)}
	return a, json.Unmarshal(raw, &a.fields)
}

func (c restClient) call(t *testing.T, credential, call, body string) restAnswer {
	t.Helper()
	a, err := c.try(credential, call, body)
	if err != nil {
		t.Fatalf("%s: %v", call, err)
	}
	return a
}

func credentialsOf(login, password string) string {
	return fmt.Sprintf(`{"login":%q,"password":%q}`, login, password)
}

func (c restClient) login(t *testing.T) string {
	t.Helper()
	a := c.call(t, "", "POST /auth/login", credentialsOf(rootLogin, firstPassword))
	if a.token() == "" {
		t.Fatal("no token:", a.code())
	}
	return a.token()
}

func TestRESTCalls(t *testing.T) {
	t.Parallel()
	s, c := startREST(t, RESTReading{})
	token := c.login(t)
	two := s.Keys(2)[0].Value
	for _, call := range []struct {
		credential, call, body, code string
		data                         any // compared with data, or with its userId or version
	}{
		{"", "GET /auth/version", "", "200", "2.6"},
		{token, "POST /auth/session", "", "200", 1.0},
		{c.key, "POST /auth/session", "", "200", 1.0},
		{token, "GET /users/me", "", "200", 1.0},
		{two, "GET /users/me", "", "200", 2.0},
		{token, "GET /users/2", "", "200", 2.0},
		{token, "GET /users/3", "", "404ObjectNotFound", nil},
		{token, "GET /users/99", "", "404ObjectNotFound", nil},
		{token, "GET /users/key/2", "", "200", two},
		{two, "GET /users/key/2", "", "403AccessDenied", nil},
		{token, "POST /users/reset/2", "", "200", true},
		{"none", "GET /users/me", "", "401InvalidAPIKey", nil},
		{"a.b.c", "GET /users/me", "", "401InvalidSession", nil},
		{"a.b.c", "POST /auth/logout", "", "401InvalidSession", nil},
		{"", "POST /auth/refresh", `{"token":"a.b.c"}`, "401InvalidSession", nil},
		{"", "POST /auth/login", credentialsOf(rootLogin, "wrong"), "401InvalidAPIKey", nil},
		{token, "PUT /auth/password", `{"currentPassword":"` + firstPassword + `","newPassword":"weak"}`, "400InvalidParameter", nil},
		{token, "PUT /auth/password", `{"currentPassword":"wrong","newPassword":"` + nextPassword + `"}`, "400InvalidParameter", nil},
		{token, "PUT /auth/password", `{"currentPassword":"` + firstPassword + `","newPassword":"` + nextPassword + `"}`, "200", true},
		{c.key, "POST /auth/logout", "", "200", true},
		{token, "POST /auth/logout", "", "200", true},
		{token, "POST /auth/session", "", "401InvalidSession", nil},
		{c.key, "POST /auth/session", "", "200", 1.0},
	} {
		a := c.call(t, call.credential, call.call, call.body)
		got := a.fields["data"]
		for _, name := range []string{"userId", "version"} {
			if v := a.at(name); v != nil {
				got = v
			}
		}
		if code := a.code(); code != call.code || got != call.data || a.fields["success"] != (a.status == 200) {
			t.Errorf("%s: %s, %t", call.call, code, got == call.data)
		}
	}
	if v := s.Violations(); len(v) != 0 || len(s.OpenSessions(rootLogin)) != 0 || s.Passwords(rootLogin)[1].Value != nextPassword {
		t.Error(v, len(s.OpenSessions(rootLogin)))
	}
	if n := s.Counts(); n["WhoAmI"] != 8 || n["UserGetAPIKey"] != 2 || n["ChangePassword"] != 3 || n["Version"] != 1 || n["Refresh"] != 1 {
		t.Error("counts by the names of SOAP:", n)
	}
}

func TestRESTTokens(t *testing.T) {
	t.Parallel()
	s, c := startREST(t, RESTReading{})
	first := c.login(t)
	second := c.call(t, "", "POST /auth/refresh", `{"token":"`+first+`"}`).token()
	if old, now := c.call(t, first, "GET /users/me", ""), c.call(t, second, "GET /users/me", ""); old.status != 401 || now.status != 200 {
		t.Error("after a refresh:", old.code(), now.code())
	}
	if n := len(s.OpenSessions(rootLogin)); n != 1 {
		t.Error("open after a refresh:", n)
	}
	if key, err := c.client.call("UserGetAPIKey", second, "2"); key != "" || err != nil {
		t.Error("a token is a SessionID:", err)
	}
	id, err := c.client.call("Login", rootLogin, firstPassword)
	if err != nil || len(s.OpenSessions(rootLogin)) != 2 || s.MaxOpenSessions(rootLogin) != 2 {
		t.Error(err, len(s.OpenSessions(rootLogin)))
	}
	for _, credential := range []string{id, c.key} {
		r := c.request("", "GET /users/me", "")
		r.Header.Set("Authorization", "Bearer "+credential)
		if a, err := c.send(r); a.code() != "401InvalidSession" || err != nil {
			t.Error("a SessionID or a key is a token:", a.code(), err)
		}
	}
	r := c.request("", "GET /users/me", "")
	r.Header.Set("X-API-Key", second)
	if a, err := c.send(r); a.code() != "401InvalidAPIKey" || err != nil {
		t.Error("a token is a key:", a.code(), err)
	}
	if a := c.call(t, c.key, "POST /users/reset/1", ""); a.fields["data"] != true || len(s.OpenSessions(rootLogin)) != 1 {
		t.Error("a reset ends the tokens and no session:", a.code(), len(s.OpenSessions(rootLogin)))
	}
}

func TestRESTTokenExpires(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Server{Grid: newGrid(limits, testUsers), random: newRandom(1)}
		u, _ := s.checkLogin(rootLogin, firstPassword, true)
		token := s.open(u, s.newToken(u)).id
		time.Sleep(time.Hour - time.Second)
		if s.token(token) == nil {
			t.Error("dead before its time, or of inactivity")
		}
		time.Sleep(time.Second)
		if s.token(token) != nil || len(s.OpenSessions(rootLogin)) != 0 {
			t.Error("alive after its time")
		}
	})
}

// One user, one key, one password and one lock-out for both APIs.
func TestRESTSharesState(t *testing.T) {
	t.Parallel()
	s, c := startREST(t, RESTReading{})
	key, _ := c.call(t, c.key, "POST /users/key-generate/2", "").fields["data"].(string)
	if got, err := c.client.call("UserGetAPIKey", c.key, "2"); err != nil || got != key || key == "" || len(s.KeyChanges(2)) != 1 {
		t.Error("a key generated over REST:", err)
	}
	key, err := c.client.call("GenerateAPIKey", c.key, "2")
	if a := c.call(t, c.key, "GET /users/key/2", ""); err != nil || a.fields["data"] != key {
		t.Error("a key generated over SOAP:", a.code(), err)
	}
	id, err := c.client.call("Login", rootLogin, firstPassword)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := c.client.call("ChangePassword", id, firstPassword, nextPassword); ok == "" || err != nil {
		t.Fatal(err)
	}
	for range limits.LockAfter {
		if a := c.call(t, "", "POST /auth/login", credentialsOf(rootLogin, firstPassword)); a.code() != "401InvalidAPIKey" {
			t.Error("a superseded password:", a.code())
		}
	}
	if id, err := c.client.call("Login", rootLogin, nextPassword); id != "" || err != nil {
		t.Error("refused logins over REST lock SOAP", err)
	}
	reasons := []Reason{Superseded, Superseded, Superseded, Superseded, LockedOut}
	for i, r := range s.Refusals() {
		if r.Reason != reasons[i] {
			t.Error(i, r.Reason)
		}
	}
}

// TestRESTFailures has each failure, and checks that the service works afterwards.
func TestRESTFailures(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rates    Rates
		status   int // 0: no usable answer
		code     any // nil: any
		applied  bool
		wantWait bool
	}{
		"no failure":  {Rates{}, 200, "", true, false},
		"late":        {Rates{Late: 1, LateMax: 10 * time.Millisecond}, 0, nil, true, false},
		"lost":        {Rates{Lost: 1}, 0, nil, true, false},
		"never":       {Rates{Never: 1}, 0, nil, false, false},
		"twice":       {Rates{Twice: 1}, 200, "", true, false},
		"silent":      {Rates{Silent: 1}, 200, "", true, false},
		"fault":       {Rates{Fault: 1}, 500, "InternalError", false, false},
		"unavailable": {Rates{Unavailable: 1}, 503, nil, false, false},
		"page":        {Rates{HTML: 1}, 0, nil, false, false},
		"truncated":   {Rates{Truncated: 1}, 0, nil, true, false},
		"limited":     {Rates{Limited: 1}, 429, "RateLimitExceeded", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := startREST(t, RESTReading{})
			client.Timeout = 2 * time.Second
			s.SetRates(c.rates)
			a, err := client.try(client.key, "POST /users/key-generate/2", "")
			if err != nil && a.status != 503 {
				a = restAnswer{}
			}
			if a.status != c.status || c.code != nil && a.fields["errorCode"] != c.code || (a.header.Get("Retry-After") != "") != c.wantWait && c.status != 503 {
				t.Error(a.code(), err)
			}
			checkApplied(t, s, c.applied)
			client.CloseIdleConnections()
			if a := client.call(t, "", "GET /auth/version", ""); a.status != 200 {
				t.Error("the service does not work afterwards:", a.code())
			}
		})
	}
}

func TestRESTKilledToken(t *testing.T) {
	t.Parallel()
	s, c := startREST(t, RESTReading{})
	token := c.login(t)
	s.SetRates(Rates{Kill: 1})
	if a := c.call(t, token, "GET /users/key/2", ""); a.code() != "401InvalidSession" || len(s.OpenSessions(rootLogin)) != 0 {
		t.Error(a.code(), len(s.OpenSessions(rootLogin)))
	}
}

// A token is orphaned if its client could not know of it, or could not end it.
func TestRESTOrphanedTokens(t *testing.T) {
	t.Parallel()
	s, c := startREST(t, RESTReading{})
	open := func() int { return len(s.OpenSessions(rootLogin)) }
	s.SetRates(Rates{Truncated: 1})
	if _, err := c.try("", "POST /auth/login", credentialsOf(rootLogin, firstPassword)); err == nil || s.MaxOpenSessions(rootLogin) != 1 || open() != 0 {
		t.Error("the token of a login that was not answered:", open())
	}
	s.SetRates(Rates{})
	token := c.login(t)
	s.SetRates(Rates{Lost: 1})
	if _, err := c.try("", "POST /auth/refresh", `{"token":"`+token+`"}`); err == nil || open() != 0 {
		t.Error("the token of a refresh that was not answered:", open())
	}
	s.SetRates(Rates{})
	token = c.login(t)
	for _, rates := range []Rates{{Fault: 1}, {Never: 1}, {Limited: 1}, {Unavailable: 1}} {
		s.SetRates(rates)
		if _, _ = c.try(token, "POST /auth/logout", ""); open() != 0 {
			t.Error("a token whose logout failed:", rates)
		}
		s.SetRates(Rates{})
		if a := c.call(t, token, "GET /users/me", ""); a.status != 200 || open() != 1 {
			t.Error("a used token is orphaned", a.code())
		}
	}
}

// Answers in every style have the same meaning.
func TestRESTStyles(t *testing.T) {
	t.Parallel()
	d := newRandom(12)
	const value = "k/é&<\\'\"+=\U0001F511"
	for range 2000 {
		var b bytes.Buffer
		style := jsonStyle{random: d, extra: d.oneIn(2), mixed: d.oneIn(2), escape: pick(d, escapes)}
		style.write(&b, object{{"data", object{{"text", value}, {"list", []any{1, true, nil}}}}})
		var got struct {
			Data struct {
				Text string
				List []any
			}
		}
		if err := json.Unmarshal(indented(b.Bytes(), "\t", "\n"), &got); err != nil || got.Data.Text != value || len(got.Data.List) != 3 {
			t.Fatal(err, got)
		}
	}
}
