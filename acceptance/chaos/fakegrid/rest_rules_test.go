// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRESTRequestsAreReadStrictly(t *testing.T) {
	t.Parallel()
	const (
		list     = "POST /users/list"
		password = "PUT /auth/password"
		login    = "POST /auth/login"
	)
	for name, c := range map[string]struct {
		credential, call, body string
		change                 func(*http.Request)
		rule                   string
		status                 int
	}{
		"good":               {"key", list, `{"pageNo":1,"status":null,"unknown":{"a":[1]}}`, nil, "", 200},
		"no field":           {"key", list, ` {} `, nil, "", 200},
		"a charset":          {"key", list, `{}`, header("Content-Type", "application/json; charset=UTF-8"), "", 200},
		"no credential":      {"", "GET /users/me", "", nil, "no credential", 401},
		"both":               {"key", "GET /users/me", "", header("Authorization", "Bearer a.b"), "more than one credential", 400},
		"Basic":              {"", "GET /users/me", "", header("Authorization", "Basic eA=="), "an Authorization that is not Bearer", 401},
		"empty key":          {"", "GET /users/me", "", header("X-API-Key", ""), "an empty credential", 401},
		"key at login":       {"key", login, `{"login":"a","password":"b"}`, nil, "a credential where none is needed", 400},
		"key at version":     {"key", "GET /auth/version", "", nil, "a credential where none is needed", 400},
		"a body":             {"key", "POST /auth/session", "{}", nil, "a body where none belongs", 400},
		"no body":            {"key", list, "", header("Content-Type", "application/json"), "the body is no JSON object in UTF-8", 400},
		"text/json":          {"key", list, `{}`, header("Content-Type", "text/json"), "a body whose Content-Type is not application/json", 400},
		"Latin-1":            {"key", list, `{}`, header("Content-Type", "application/json; charset=latin1"), "a body whose Content-Type is not application/json", 400},
		"number as a string": {"key", list, `{"pageNo":"1"}`, nil, "a field of the wrong JSON type", 400},
		"a fraction":         {"key", list, `{"pageNo":1.0}`, nil, "a field of the wrong JSON type", 400},
		"string as a number": {"key", list, `{"authLevel":1}`, nil, "a field of the wrong JSON type", 400},
		"twice":              {"key", list, `{"pageNo":1,"pageNo":1}`, nil, "a field that is there twice", 400},
		"an array":           {"key", list, `[]`, nil, "the body is no JSON object in UTF-8", 400},
		"half":               {"key", list, `{"pageNo":1`, nil, "the body is no JSON", 400},
		"two objects":        {"key", list, `{}{}`, nil, "something after the JSON object", 400},
		"invalid UTF-8":      {"key", list, "{\"status\":\"\xff\"}", nil, "the body is no JSON object in UTF-8", 400},
		"field missing":      {"key", password, `{"newPassword":"x"}`, nil, "a required field is missing", 400},
		"no login":           {"", login, `{"password":"x"}`, nil, "neither login nor email", 400},
		"another method":     {"key", "POST /users/me", "", nil, "no call of the documentation", 404},
		"unknown path":       {"key", "GET /user/1", "", nil, "no call of the documentation", 404},
		"slash":              {"key", "GET /users/me/", "", nil, "no call of the documentation", 404},
		"ID with a zero":     {"key", "GET /users/key/02", "", nil, "a user ID that is no number", 400},
		"query":              {"key", "GET /users/me?x=1", "", nil, "a query, which no call has", 400},
		"secret in the path": {"key", "GET /users/key/" + firstPassword, "", nil, "a credential in the URL", 400},
		"secret escaped":     {"key", "GET /users/me?k=%46irst-Passw0rd", "", nil, "a credential in the URL", 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := startREST(t, RESTReading{})
			r := client.request(strings.Replace(c.credential, "key", client.key, 1), c.call, c.body)
			if c.change != nil {
				c.change(r)
			}
			a, err := client.send(r)
			got := strings.Join(slices.Collect(maps.Keys(s.Violations())), "; ")
			if err != nil || a.status != c.status || strings.TrimPrefix(got, "REST: ") != c.rule {
				t.Errorf("%s, violation %q: %v", a.code(), got, err)
			}
		})
	}
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// TestRESTOrderRules checks a request against those before it.
func TestRESTOrderRules(t *testing.T) {
	t.Parallel()
	const unknown, known = "GET /users/99", "GET /users/2"
	for name, c := range map[string]struct {
		rates      Rates
		credential string // "" is the key
		calls      []string
		rule       string
	}{
		"denied and repeated":      {calls: []string{unknown, unknown}, rule: ruleRepeated},
		"another call in between":  {calls: []string{unknown, known, unknown}},
		"the denial did not come":  {rates: Rates{Truncated: 1}, calls: []string{unknown, unknown}},
		"a dead token":             {credential: "a.b.c", calls: []string{known, known}},
		"limited and repeated":     {rates: Rates{Limited: 1}, calls: []string{known, known}, rule: ruleEarly},
		"limited, then another":    {rates: Rates{Limited: 1}, calls: []string{known, unknown}},
		"a server fault, repeated": {rates: Rates{Fault: 1}, calls: []string{known, known}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, client := startREST(t, RESTReading{})
			s.SetRates(c.rates)
			for _, call := range c.calls {
				_, _ = client.try(cmp.Or(c.credential, client.key), call, "")
			}
			if got := strings.Join(slices.Collect(maps.Keys(s.Violations())), "; "); got != c.rule {
				t.Errorf("%q instead of %q", got, c.rule)
			}
		})
	}
	many, crowd := startWith(t, Options{Limits: limits, Users: restUsers(), REST: RESTReading{}, ManyClients: true})
	for range 2 {
		_, _ = restClient{crowd, ""}.try(many.Keys(1)[0].Value, unknown, "")
	}
	if v := many.Violations(); len(v) > 0 {
		t.Errorf("with many clients: %v", v)
	}
	s, client := startREST(t, RESTReading{})
	token := client.login(t)
	client.call(t, token, "POST /auth/logout", "")
	if _, ended := s.traffic.ended[token]; !ended {
		t.Error("a logout is not recorded")
	}
}

// TestRESTOrderTimes has the times of the rules, without a server.
func TestRESTOrderTimes(t *testing.T) {
	t.Parallel()
	asks := func(who, op string) *request {
		return &request{op: op, rest: &restCall{who: who, credential: who, call: who + op}}
	}
	first := asks("a", "UserInfo")
	deny := func(tr *traffic) { tr.deny(first, http.StatusNotFound) }
	postpone := func(tr *traffic) { tr.postponed(first, time.Now().Add(time.Second)) }
	logout := func(tr *traffic) { tr.loggedOut(first) }
	for name, c := range map[string]struct {
		answer func(*traffic)
		after  time.Duration
		next   *request
		rule   string
	}{
		"denied, soon":             {deny, retryWindow - 1, first, ruleRepeated},
		"denied, later":            {deny, retryWindow, first, ""},
		"denied, another":          {deny, 0, asks("a", "WhoAmI"), ""},
		"postponed, early":         {postpone, time.Second - clockSlack - 1, first, ruleEarly},
		"postponed, in time":       {postpone, time.Second - clockSlack, first, ""},
		"postponed, another":       {postpone, inFlight + 1, asks("a", "WhoAmI"), ""},
		"postponed, another login": {postpone, inFlight + 1, asks("b", "UserInfo"), ""},
		"ended, on its way":        {logout, inFlight, first, ""},
		"ended":                    {logout, inFlight + 1, first, ruleLoggedOut},
		"ended, ended again":       {logout, inFlight + 1, asks("a", "Logout"), ""},
		"ended, asked about":       {logout, inFlight + 1, asks("a", "WhoAmI"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				tr, got := newTraffic(), ""
				c.answer(tr)
				time.Sleep(c.after)
				tr.check(c.next, func(rule string) { got += rule })
				if got != c.rule {
					t.Errorf("%q instead of %q", got, c.rule)
				}
			})
		})
	}
}
