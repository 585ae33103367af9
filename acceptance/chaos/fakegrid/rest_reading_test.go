// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

type readingCheck func(t *testing.T, s *Server, c restClient)

// readingChecks show on the wire that the reading of that name does what it says.
var readingChecks = map[string][]readingCheck{
	"as documented": {
		expiry(`T\d\d:\d\d:\d\dZ$`), lives(time.Hour, time.Hour), opens(limits.Sessions+1, ""), refuses("401InvalidAPIKey"), reads("login"), listed(1, 200, visible),
		listed(2, 200, 0), wrongPassword("400InvalidParameter"), byKey("200"), done(true, true), keyless("200", "", true), hidden("404ObjectNotFound"),
		codes("", true), networks(9.0), level("NetworkAdmin", "Active"), waits("1"), locks(true), refreshes(200, 200),
	},
	"tokens live 3 s":                    {lives(3*time.Second, 3*time.Second)},
	"tokens live 20 s":                   {lives(20*time.Second, 20*time.Second)},
	"tokens live 30 days":                {lives(30*24*time.Hour, 30*24*time.Hour)},
	"expiresAt with +00:00":              {expiry(`T\d\d:\d\d:\d\d\+00:00$`)},
	"expiresAt without an offset":        {expiry(`T\d\d:\d\d:\d\d$`)},
	"expiresAt with 7 decimals":          {expiry(`T\d\d:\d\d:\d\d\.\d{7}Z$`)},
	"expiresAt with 7 decimals, no zone": {expiry(`T\d\d:\d\d:\d\d\.\d{7}$`)},
	"expiresAt is null":                  {expiry(`^<nil>$`)},
	"expiresAt is null, 5 s":             {expiry(`^<nil>$`)},
	"tokens die early":                   {lives(5*time.Second, 65*time.Second)},
	"tokens outlive expiresAt":           {lives(10*time.Minute, 5*time.Second)},
	"the clock is 5 h ahead":             {lives(5*time.Second, 5*time.Hour+5*time.Second), clock(5 * time.Hour)},
	"the clock is 5 h behind":            {lives(time.Hour, -4*time.Hour), clock(-5 * time.Hour)},

	"one token, then InvalidSession":     {opens(1, "401InvalidSession")},
	"one token, then AccessDenied":       {opens(1, "403AccessDenied")},
	"one token, then RateLimitExceeded":  {opens(1, "429RateLimitExceeded")},
	"five tokens, then InvalidSession":   {opens(5, "401InvalidSession")},
	"five tokens, then AccessDenied":     {opens(5, "403AccessDenied")},
	"five tokens, then 429":              {opens(5, "429RateLimitExceeded")},
	"one token of 12 s":                  {opens(1, "401InvalidSession"), lives(12*time.Second, 12*time.Second)},
	"one token of 12 s, then 429":        {opens(1, "429RateLimitExceeded"), lives(12*time.Second, 12*time.Second)},
	"tokens and sessions share a table":  {oneTable},
	"no lock-out":                        {locks(false)},
	"a refused login is InvalidSession":  {refuses("401InvalidSession")},
	"a refused login is invalid":         {refuses("400InvalidParameter")},
	"a refused login is denied":          {refuses("403AccessDenied")},
	"a refused login is not found":       {refuses("404ObjectNotFound")},
	"only email is read":                 {reads("email")},
	"login or email is read":             {reads("login", "email")},
	"a refresh needs a credential":       {refreshes(401, 200)},
	"a refresh may have no credential":   {refreshes(200, 200)},
	"pages are cut to 25":                {listed(1, 200, 25), listed(2, 200, visible-25)},
	"pages are cut to 3":                 {listed(1, 200, 3)},
	"pages above 25 are refused":         {listed(1, 400, 0)},
	"pages above 100 are refused":        {listed(1, 200, visible), asked(101, 1, 400, 0)},
	"past the end: the last page":        {listed(2, 200, visible)},
	"past the end: the last of 3":        {listed(99, 200, 3)},
	"past the end: not found":            {listed(2, 404, 0)},
	"past the end of 3: not found":       {listed(99, 404, 0)},
	"empty pages are null":               {listed(2, 200, -1)},
	"a key changes no password: 401":     {byKey("401InvalidSession")},
	"a key changes no password: 403":     {byKey("403AccessDenied")},
	"a wrong password is InvalidSession": {wrongPassword("401InvalidSession")},
	"a wrong password is InvalidAPIKey":  {wrongPassword("401InvalidAPIKey")},
	"a wrong password is denied":         {wrongPassword("403AccessDenied")},
	"a success has null data":            {done(nil, true)},
	"a success has no data":              {done(nil, false)},
	"no key is null":                     {keyless("200", nil, true)},
	"no key is no data":                  {keyless("200", nil, false)},
	"no key is not found":                {keyless("404ObjectNotFound", nil, true)},
	"no access is AccessDenied":          {hidden("403AccessDenied")},
	"no codes on success":                {codes(nil, false)},
	"null codes on success":              {codes(nil, true)},
	"no network is null":                 {mailbox(nil)},
	"enums are numbers":                  {level(4.0, 1.0)},
	"unknown fields":                     {looks(10, func(a restAnswer) bool { return strings.Contains(a.raw, `"requestId"`) })},
	"fields in any order":                {looks(1, func(a restAnswer) bool { return !startsWithSuccess(a) })},
	"indented":                           {looks(10, func(a restAnswer) bool { return strings.Contains(a.raw, "\n") })},
	"no charset":                         {looks(10, func(a restAnswer) bool { return a.header.Get("Content-Type") == "application/json" })},
	"a charset": {looks(10, func(a restAnswer) bool {
		return strings.Contains(strings.ToLower(a.header.Get("Content-Type")), "utf-8")
	})},
	"chunked": {looks(10, func(a restAnswer) bool { return a.chunked })},
	"plain": {looks(10, func(a restAnswer) bool {
		return startsWithSuccess(a) && !a.chunked && !strings.ContainsAny(a.raw, "\n") && !strings.Contains(a.raw, "requestId")
	})},
	"Retry-After of 2 s": {waits("2")},

	"all small":  {expiry(`\.\d{7}$`), opens(1, "429RateLimitExceeded"), reads("email"), listed(1, 200, 3), keyless("200", nil, false), byKey("403AccessDenied")},
	"all strict": {expiry(`^<nil>$`), refuses("403AccessDenied"), listed(2, 400, 0), keyless("404ObjectNotFound", nil, true), hidden("403AccessDenied"), refreshes(401, 200)},
}

func TestRESTReadings(t *testing.T) {
	t.Parallel()
	for name := range readingChecks {
		if _, known := RESTReadings[name]; !known {
			t.Errorf("no reading %q", name)
		}
	}
	for name, reading := range RESTReadings {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if len(readingChecks[name]) == 0 {
				t.Error("not checked")
			}
			for _, check := range readingChecks[name] {
				s, c := startREST(t, reading)
				check(t, s, c)
				if v := s.Violations(); len(v) > 0 {
					t.Error(v)
				}
			}
		})
	}
}

// loginBody names the login in both fields, so that each reading accepts it.
func loginBody(password string) string {
	return fmt.Sprintf(`{"login":%q,"email":%[1]q,"password":%q,"remember":[true]}`, rootLogin, password)
}

func (c restClient) anyLogin(t *testing.T, password string) restAnswer {
	t.Helper()
	return c.call(t, "", "POST /auth/login", loginBody(password))
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v instead of %v", what, got, want)
	}
}

func expiry(form string) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		login := c.anyLogin(t, firstPassword)
		session := c.call(t, login.token(), "POST /auth/session", "")
		for _, a := range []restAnswer{login, session} {
			if at := fmt.Sprint(a.at("expiresAt")); !regexp.MustCompile(form).MatchString(at) {
				t.Errorf("%s is not %s", at, form)
			}
		}
		expect(t, "of a key", c.call(t, c.key, "POST /auth/session", "").at("expiresAt"), nil)
	}
}

// lives compares the life of a token with what expiresAt says of it.
func lives(life, said time.Duration) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		a := c.anyLogin(t, firstPassword)
		at, err := time.Parse(time.RFC3339, fmt.Sprint(a.at("expiresAt")))
		if off := time.Until(at) - said; err != nil || off.Abs() > 2*time.Second {
			t.Error("expiresAt is off by", off, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if off := time.Until(s.token(a.token()).expires) - life; off.Abs() > 2*time.Second {
			t.Error("the life is off by", off)
		}
	}
}

func clock(ahead time.Duration) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		date, err := http.ParseTime(c.call(t, "", "GET /auth/version", "").header.Get("Date"))
		if off := time.Until(date) - ahead; err != nil || off.Abs() > 2*time.Second {
			t.Error("Date is off by", off, err)
		}
	}
}

// opens has n tokens, and then code, or one more if code is "".
func opens(n int, code string) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		for range n {
			expect(t, "a token", c.anyLogin(t, firstPassword).status, 200)
		}
		if code == "" {
			return
		}
		a := c.anyLogin(t, firstPassword)
		expect(t, "one more", a.code(), code)
		expect(t, "Retry-After", a.header.Get("Retry-After") != "", a.status == 429)
		var reasons []Reason
		for _, r := range s.Refusals() {
			reasons = append(reasons, r.Reason)
		}
		want := []Reason{TableFull}
		if a.status == http.StatusTooManyRequests { // no refusal
			want = nil
		}
		expect(t, "the refusals", fmt.Sprint(reasons), fmt.Sprint(want))
	}
}

func oneTable(t *testing.T, _ *Server, c restClient) {
	for range 3 {
		c.anyLogin(t, firstPassword)
	}
	for i := range 3 {
		id, err := c.client.call("Login", rootLogin, firstPassword)
		if (id != "") != (i < 2) || err != nil {
			t.Error("session", i+1, err)
		}
	}
	expect(t, "a sixth", c.anyLogin(t, firstPassword).status, 401)
}

func locks(locked bool) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		for i := range limits.LockAfter {
			c.anyLogin(t, fmt.Sprint("wrong", i))
		}
		expect(t, "locked out", c.anyLogin(t, firstPassword).status != 200, locked)
		expect(t, "refusals", len(s.Refusals()) > limits.LockAfter, locked)
	}
}

func refuses(code string) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) { expect(t, "refused", c.anyLogin(t, "wrong").code(), code) }
}

// reads logs in with each field alone.
func reads(fields ...string) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		for _, field := range []string{"login", "email"} {
			a := c.call(t, "", "POST /auth/login", fmt.Sprintf(`{%q:%q,"password":%q}`, field, rootLogin, firstPassword))
			want := "400InvalidParameter"
			for _, f := range fields {
				if f == field {
					want = "200" + strings.TrimPrefix(a.code(), "200")
				}
			}
			expect(t, field, a.code(), want)
			if a.token() != "" {
				c.call(t, a.token(), "POST /auth/logout", "")
			}
		}
		expect(t, "refusals", len(s.Refusals()), 0)
	}
}

// refreshes tries without a credential and with the old token.
func refreshes(without, with int) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		token := c.anyLogin(t, firstPassword).token()
		body := `{"token":"` + token + `"}`
		if a := c.call(t, "", "POST /auth/refresh", body); a.status != 200 {
			expect(t, "without", a.status, without)
		} else {
			expect(t, "without", a.status, without)
			token = a.token()
		}
		expect(t, "with", c.call(t, token, "POST /auth/refresh", `{"token":"`+token+`"}`).status, with)
	}
}

func listed(page, status, n int) readingCheck { return asked(50, page, status, n) }

// asked wants n users, or null if n is -1.
func asked(size, page, status, n int) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		a := c.call(t, c.key, "POST /users/list", fmt.Sprintf(`{"recordsPerPage":%d,"pageNo":%d}`, size, page))
		all, isArray := a.fields["data"].([]any)
		expect(t, "page", a.status, status)
		expect(t, "users", len(all), max(0, n))
		expect(t, "an array", isArray, status == 200 && n >= 0)
	}
}

func changeBody(current string) string {
	return fmt.Sprintf(`{"currentPassword":%q,"newPassword":%q}`, current, nextPassword)
}

func wrongPassword(code string) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		token := c.anyLogin(t, firstPassword).token()
		expect(t, "wrong", c.call(t, token, "PUT /auth/password", changeBody("wrong")).code(), code)
	}
}

func byKey(code string) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		a := c.call(t, c.key, "PUT /auth/password", changeBody(firstPassword))
		expect(t, "by a key", a.code(), code)
		expect(t, "changed", len(s.Passwords(rootLogin)) == 2, code == "200")
	}
}

// done changes a password, uses the token that stays valid, and ends it.
func done(data any, there bool) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		token := c.anyLogin(t, firstPassword).token()
		changed := c.call(t, token, "PUT /auth/password", changeBody(firstPassword))
		for _, a := range []restAnswer{changed, c.call(t, token, "POST /auth/logout", "")} {
			got, found := a.fields["data"]
			expect(t, "status", a.status, 200)
			expect(t, "data", got, data)
			expect(t, "data is there", found, there)
		}
	}
}

func keyless(code string, data any, there bool) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		a := c.call(t, c.key, "GET /users/key/4", "")
		got, found := a.fields["data"]
		expect(t, "code", a.code(), code)
		expect(t, "data", got, data)
		expect(t, "data is there", found, there)
		expect(t, "keys", len(s.Keys(4)), 0)
		made := c.call(t, c.key, "POST /users/key-generate/4", "").fields["data"]
		expect(t, "the first key", c.call(t, c.key, "GET /users/key/4", "").fields["data"], made)
	}
}

func hidden(code string) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		expect(t, "of another network", c.call(t, c.key, "GET /users/key/3", "").code(), code)
		expect(t, "unknown", c.call(t, c.key, "GET /users/key/99", "").code(), "404ObjectNotFound")
	}
}

func codes(value any, there bool) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		a := c.call(t, c.key, "GET /users/me", "")
		for _, name := range []string{"errorCode", "message"} {
			got, found := a.fields[name]
			expect(t, name, got, value)
			expect(t, name+" is there", found, there)
		}
	}
}

func networks(id any) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		a := c.call(t, c.key, "GET /users/me", "")
		expect(t, "networkId", a.at("networkId"), id)
		mailbox(0.0)(t, s, c)
	}
}

func mailbox(id any) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		expect(t, "mailboxId", c.call(t, c.key, "GET /users/me", "").at("mailboxId"), id)
		expect(t, "mailboxId", c.call(t, c.key, "GET /users/2", "").at("mailboxId"), 3.0)
	}
}

func level(authLevel, status any) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		a := c.call(t, c.key, "GET /users/me", "")
		expect(t, "authLevel", a.at("authLevel"), authLevel)
		expect(t, "status", a.at("status"), status)
	}
}

// looks wants so many of ten answers to look so.
func looks(least int, so func(restAnswer) bool) readingCheck {
	return func(t *testing.T, _ *Server, c restClient) {
		n := 0
		for range 10 {
			if so(c.call(t, c.key, "GET /users/me", "")) {
				n++
			}
		}
		expect(t, "seen often enough", n >= least, true)
	}
}

func startsWithSuccess(a restAnswer) bool {
	return strings.HasPrefix(strings.TrimLeft(a.raw, "{ \t\r\n"), `"success"`)
}

// waits wants each form of Retry-After once.
func waits(seconds string) readingCheck {
	return func(t *testing.T, s *Server, c restClient) {
		s.SetRates(Rates{Limited: 1})
		dates, numbers := 0, 0
		for i := range 20 {
			after := c.call(t, fmt.Sprint("key", i), "GET /users/me", "").header.Get("Retry-After")
			if _, err := http.ParseTime(after); err == nil {
				dates++
			} else if after == seconds {
				numbers++
			}
		}
		expect(t, "each form", dates > 0 && numbers > 0 && dates+numbers == 20, true)
	}
}
