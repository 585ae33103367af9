// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// What each answer to a read of a key means, and how often the read is sent.
func TestAnswers(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := map[string]struct {
		status   int
		body     string
		kind     error // nil: the key
		attempts int32
	}{
		"a key":                              {200, success(`"key"`), nil, 1},
		"data first":                         {200, `{"data":"key","message":"","errorCode":"","success":true}`, nil, 1},
		"no errorCode and message":           {200, `{"success":true,"data":"key"}`, nil, 1},
		"null errorCode and message":         {200, `{"success":true,"data":"key","errorCode":null,"message":null}`, nil, 1},
		"indented":                           {200, "\r\n{ \"success\" : true,\n\t\"data\": \" key \" }\n", nil, 1},
		"more fields":                        {200, `{"success":true,"data":"key","traceId":{"a":[1,{"b":null}]}}`, nil, 1},
		"escaped":                            {200, `{"succes\u0073":true,"data":"k\u0065y"}`, nil, 1},
		"null":                               {200, success(`null`), ecgrid.ErrEmptyResult, 1},
		"empty":                              {200, success(`""`), ecgrid.ErrEmptyResult, 1},
		"blank":                              {200, success(`" \t"`), ecgrid.ErrEmptyResult, 1},
		"no data":                            {200, `{"success":true}`, ecgrid.ErrEmptyResult, 1},
		"in another field":                   {200, `{"success":true,"key":"key"}`, ecgrid.ErrBadAnswer, 1},
		"in another field, null data":        {200, `{"success":true,"data":null,"key":"key"}`, ecgrid.ErrBadAnswer, 1},
		"a number":                           {200, success(`1`), ecgrid.ErrBadAnswer, 1},
		"an object":                          {200, success(`{"apiKey":"key"}`), ecgrid.ErrBadAnswer, 1},
		"an array":                           {200, success(`["key"]`), ecgrid.ErrBadAnswer, 1},
		"false":                              {200, success(`false`), ecgrid.ErrBadAnswer, 1},
		"two words":                          {200, success(`"a key"`), ecgrid.ErrBadAnswer, 1},
		"a line break":                       {200, success(`"a\nkey"`), ecgrid.ErrBadAnswer, 1},
		"a control character":                {200, success(`"a\u0000key"`), ecgrid.ErrBadAnswer, 1},
		"half a character":                   {200, success(`"a\ud800key"`), ecgrid.ErrBadAnswer, 1},
		"not UTF-8":                          {200, success("\"a\xffkey\""), ecgrid.ErrBadAnswer, 1},
		"success twice":                      {200, `{"success":false,"success":true,"data":"key"}`, ecgrid.ErrBadAnswer, 1},
		"data twice":                         {200, `{"success":true,"data":"key","data":"key"}`, ecgrid.ErrBadAnswer, 1},
		"other field twice":                  {200, `{"success":true,"data":"key","a":1,"a":2}`, ecgrid.ErrBadAnswer, 1},
		"many fields":                        {200, `{"success":true,"data":"key"` + manyFields(100) + `}`, ecgrid.ErrBadAnswer, 1},
		"success is a string":                {200, `{"success":"true","data":"key"}`, ecgrid.ErrBadAnswer, 1},
		"success is null":                    {200, `{"success":null,"data":"key"}`, ecgrid.ErrBadAnswer, 1},
		"no success":                         {200, `{"data":"key","errorCode":"","message":""}`, ecgrid.ErrBadAnswer, 1},
		"other case":                         {200, `{"Success":true,"Data":"key"}`, ecgrid.ErrBadAnswer, 1},
		"errorCode is a number":              {200, `{"success":true,"data":"key","errorCode":0}`, ecgrid.ErrBadAnswer, 1},
		"a bare string":                      {200, `"key"`, ecgrid.ErrBadAnswer, 1},
		"a bare null":                        {200, `null`, ecgrid.ErrBadAnswer, 1},
		"an empty object":                    {200, `{}`, ecgrid.ErrBadAnswer, 1},
		"nothing":                            {200, ``, ecgrid.ErrBadAnswer, 1},
		"HTML":                               {200, `<html>` + canaryUpstream + `</html>`, ecgrid.ErrBadAnswer, 1},
		"truncated":                          {200, success(`"key"`)[:30], ecgrid.ErrBadAnswer, 1},
		"not JSON":                           {200, `{"success":true,"data":'key'}`, ecgrid.ErrBadAnswer, 1},
		"a comma too much":                   {200, `{"success":true,"data":"key",}`, ecgrid.ErrBadAnswer, 1},
		"twice":                              {200, success(`"key"`) + success(`"key"`), ecgrid.ErrBadAnswer, 1},
		"text behind":                        {200, success(`"key"`) + "x", ecgrid.ErrBadAnswer, 1},
		"huge":                               {200, success(`"` + strings.Repeat("k", httpclient.MaxSmallBody) + `"`), ecgrid.ErrBadAnswer, 1},
		"huge, behind":                       {200, success(`"key"`) + strings.Repeat(" ", httpclient.MaxSmallBody), ecgrid.ErrBadAnswer, 1},
		"deep":                               {200, `{"success":true,"data":"key","a":` + deep(5000) + `}`, ecgrid.ErrBadAnswer, 1},
		"deep data":                          {200, success(deep(5000)), ecgrid.ErrBadAnswer, 1},
		"success with an errorCode":          {200, `{"success":true,"data":"key","errorCode":"AccessDenied"}`, ecgrid.ErrFault, 1},
		"success with status 404":            {404, success(`"key"`), ecgrid.ErrFault, 1},
		"success with status 500":            {500, success(`"key"`), ecgrid.ErrFault, 3},
		"status 201":                         {201, success(`"key"`), ecgrid.ErrBadAnswer, 1},
		"status 204":                         {204, ``, ecgrid.ErrBadAnswer, 1},
		"refused with status 200":            {200, refusal("AccessDenied"), ecgrid.ErrFault, 1},
		"refused with status 200, no code":   {200, refusal(""), ecgrid.ErrFault, 1},
		"refused with status 200, some data": {200, `{"success":false,"data":{"a":[1]},"errorCode":"ObjectNotFound"}`, ecgrid.ErrFault, 1},
		"bad parameter":                      {400, refusal("InvalidParameter"), ecgrid.ErrFault, 1},
		"bad key":                            {401, refusal("InvalidAPIKey"), ecgrid.ErrAuthentication, 1},
		"dead session":                       {401, refusal("InvalidSession"), ecgrid.ErrSessionExpired, 1},
		"401 without a code":                 {401, refusal(""), ecgrid.ErrAuthentication, 1},
		"401, unknown code":                  {401, refusal(canaryUpstream), ecgrid.ErrFault, 1},
		"401, other code":                    {401, refusal("ObjectNotFound"), ecgrid.ErrFault, 1},
		"401 with problem details":           {401, `{"type":"about:blank","title":"Unauthorized","status":401}`, ecgrid.ErrBadAnswer, 1},
		"401 with HTML":                      {401, `<html>` + canaryUpstream + `</html>`, ecgrid.ErrBadAnswer, 1},
		"denied":                             {403, refusal("AccessDenied"), ecgrid.ErrAccessDenied, 1},
		"403 without a code":                 {403, refusal(""), ecgrid.ErrFault, 1},
		"403, other code":                    {403, refusal("InvalidSession"), ecgrid.ErrFault, 1},
		"404 without a code":                 {404, refusal(""), ecgrid.ErrFault, 1},
		"404 with HTML":                      {404, `<html></html>`, ecgrid.ErrBadAnswer, 1},
		"404, other code":                    {404, refusal("AccessDenied"), ecgrid.ErrFault, 1},
		"too many calls":                     {429, refusal("RateLimitExceeded"), ecgrid.ErrRateLimited, 3},
		"429 with HTML":                      {429, `<html></html>`, ecgrid.ErrUnreachable, 3},
		"429, other code":                    {429, refusal("AccessDenied"), ecgrid.ErrFault, 3},
		"server error":                       {500, refusal("InternalError"), ecgrid.ErrServerFault, 3},
		"500 without a code":                 {500, refusal(""), ecgrid.ErrServerFault, 3},
		"500, other code":                    {500, refusal("InvalidSession"), ecgrid.ErrFault, 3},
		"500 with HTML":                      {500, `<html></html>`, ecgrid.ErrBadAnswer, 3},
		"502 with HTML":                      {502, `<html></html>`, ecgrid.ErrBadAnswer, 3},
		"502, server error":                  {502, refusal("InternalError"), ecgrid.ErrFault, 3},
		"503":                                {503, ``, ecgrid.ErrUnreachable, 3},
		"503, server error":                  {503, refusal("InternalError"), ecgrid.ErrUnreachable, 3},
		"503 without a code":                 {503, refusal(""), ecgrid.ErrUnreachable, 3},
		"error with broken data":             {403, `{"success":false,"data":{"a":[1,{}]},"errorCode":"AccessDenied"}`, ecgrid.ErrAccessDenied, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var attempts atomic.Int32
			c := connect(t, func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				respondWith(test.status, test.body)(w, r)
			})
			key, err := c.UserGetAPIKey(t.Context(), byToken, 5001)
			switch {
			case test.kind != nil:
				if failed := wantFailure(t, err, test.kind); !failed.Sent {
					t.Error("it counts as not sent")
				}
			case err != nil || key != "key":
				t.Errorf("got %v", err)
			}
			if attempts.Load() != test.attempts {
				t.Errorf("sent %d times, want %d", attempts.Load(), test.attempts)
			}
		})
	}
}

func manyFields(n int) string {
	var s strings.Builder
	for i := range n {
		s.WriteString(`,"a` + strings.Repeat("x", i) + `":1`)
	}
	return s.String()
}

// An API key has no session that could be dead.
func TestInvalidSessionOfAnAPIKey(t *testing.T) {
	t.Parallel()
	c := connect(t, respondWith(401, refusal("InvalidSession")))
	_, err := c.WhoAmI(t.Context(), byKey)
	wantFailure(t, err, ecgrid.ErrAuthentication)
}

// Whatever arrives, the parser neither panics nor returns a key from an answer that other
// readers of JSON would read differently.
func FuzzAnswer(f *testing.F) {
	for _, body := range []string{
		success(`"key"`), success("null"), refusal("AccessDenied"), `{"success":true,"data":{"a":[1,2,{"b":null}]},"x":"y"}`,
		`{"data":"\ud83d\ude00","success":true}`, `{"success":true,"data":"key"`, `[1]`, `{"success":1}`,
	} {
		f.Add(200, body)
		f.Add(401, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		var key string
		_, failed := parseResponse(strings.NewReader(body), status, call{operation: opUserGetAPIKey}, func(p *parser) (err error) {
			key, err = p.word()
			return err
		})
		if failed != nil || key == "" {
			return
		}
		var other map[string]any
		err := json.Unmarshal([]byte(body), &other)
		data, _ := other["data"].(string)
		if err != nil || other["success"] != true || strings.Trim(data, ecgrid.Space) != key {
			t.Errorf("accepted %q, which encoding/json reads as %+v, %v", body, other, err)
		}
	})
}

// The scanner for plain responses accepts nothing that the parser reads differently.
func FuzzPlainData(f *testing.F) {
	for _, body := range []string{
		success(`"key"`), `{"success":true,"data":"key"}`, `{"data":"k-1.2_3~/+=","success":true,"errorCode":null,"message":null}` + "\r\n",
		`{"success":true,"data":"key","data":"other"}`, `{"success":true,"success":true,"data":"key"}`, `{"success":true,"data":""}`,
		`{"success":true,"data":"a\u0041"}`, `{"success":true,"data":"key",}`, `{"success":true,"data":"key"}}`, `{"success":false,"data":"key"}`,
		`{"data":"key"}`, `{"success":true,"data":"a key"}`, `{"success":true"data":"key"}`, `{"success":true,"data":"key"`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		plain, ok := plainData([]byte(body))
		if !ok {
			return
		}
		var word string
		found, failed := parseResponse(strings.NewReader(body), http.StatusOK, call{operation: opUserGetAPIKey}, func(p *parser) (err error) {
			word, err = p.word()
			return err
		})
		if failed != nil || !found || word != string(plain) {
			t.Errorf("%q: the scanner reads %q, the parser %q, %v", body, plain, word, failed)
		}
	})
}

// What ECGrid usually writes is plain.
func TestPlainData(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		success(`"key"`): true, `{"success":true,"data":"key"}` + "\n": true, `{"data":"key","success":true,"message":null}`: true,
		success(`"k\u0065y"`): false, `{ "success":true,"data":"key"}`: false, `{"success":true,"data":"key","traceId":"x"}`: false,
		refusal("AccessDenied"): false, success(`null`): false, success(`""`): false, "": false, "{": false, "{}": false,
	} {
		if word, ok := plainData([]byte(body)); ok != want || ok && string(word) != "key" {
			t.Errorf("%s: got %q, %t", body, word, ok)
		}
	}
}

// A body that ends too early is incomplete, however much of it came.
func TestIncompleteKey(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{"", success(`"key"`), success(`"key"`) + strings.Repeat(" ", 3000)} {
		c := connect(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "60000")
			io.WriteString(w, sent)
		})
		_, err := c.UserGetAPIKey(t.Context(), byToken, 5001)
		wantFailure(t, err, ecgrid.ErrBadAnswer)
	}
}

// Nothing of a failed attempt gets into the result of the next one.
func TestResultOfAFailedAttempt(t *testing.T) {
	t.Parallel()
	cutOff := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "9999")
			io.WriteString(w, body)
		}
	}
	for name, test := range map[string]struct {
		first string
		call  func(*Client) (any, error)
	}{
		"key":     {`{"success":true,"data":"first-key",`, func(c *Client) (any, error) { return c.UserGetAPIKey(t.Context(), byToken, 5001) }},
		"user":    {`{"success":true,"data":{"userId":7},`, func(c *Client) (any, error) { return c.WhoAmI(t.Context(), byToken) }},
		"version": {`{"success":true,"data":{"version":"2"},`, func(c *Client) (any, error) { return c.Version(t.Context()) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := connect(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					cutOff(test.first)(w, r)
					return
				}
				respondWith(200, `{"success":true}`)(w, r)
			})
			_, err := test.call(c)
			wantFailure(t, err, ecgrid.ErrEmptyResult)
		})
	}
	t.Run("list", func(t *testing.T) {
		t.Parallel()
		var calls atomic.Int32
		c := connect(t, func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				cutOff(`{"success":true,"data":[{"userId":7}],`)(w, r)
				return
			}
			respondWith(200, `{"success":true}`)(w, r)
		})
		if users, err := c.UserList(t.Context(), byToken); err != nil || len(users) > 0 {
			t.Errorf("%d users, %v", len(users), err)
		}
	})
}

// A late copy of another response is not taken for that of a UserGetAPIKey or a WhoAmI, since
// REST does not name the operation in a response.
func TestLateCopies(t *testing.T) {
	t.Parallel()
	const me, other = `{"userId":1}`, `{"userId":5002}`
	tests := map[string]struct {
		first func(*Client) error // leaves a copy of its response behind
		copy  string
		want  string // the right answer to the read of the key that follows
	}{
		"of a Logout, null":  {func(c *Client) error { return c.Logout(t.Context(), byToken) }, "null", "key"},
		"of a Logout, empty": {func(c *Client) error { return c.Logout(t.Context(), byToken) }, `""`, "key"},
		"of a Logout, true":  {func(c *Client) error { return c.Logout(t.Context(), byToken) }, "true", "key"},
		"without a key":      {func(c *Client) error { _, err := c.WhoAmI(t.Context(), byToken); return err }, "null", "key"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, copying(map[string]string{"/v2/users/me": me, "/v2/auth/logout": test.copy, "/v2/users/key/5001": `"key"`}, test.copy))
			if err := test.first(c); err != nil {
				t.Fatal(err)
			}
			if key, err := c.UserGetAPIKey(t.Context(), byToken, 5001); key != test.want {
				t.Errorf("got %q, %v", key, err)
			}
		})
	}
	t.Run("of a UserInfo", func(t *testing.T) {
		t.Parallel()
		c := connect(t, copying(map[string]string{"/v2/users/me": me, "/v2/users/5002": other}, other))
		_, err := c.UserGetAPIKey(t.Context(), byToken, 5002)
		wantFailure(t, err, ecgrid.ErrEmptyResult)
		if session, err := c.WhoAmI(t.Context(), byToken); session.UserID != 1 {
			t.Errorf("got user %d, %v", session.UserID, err)
		}
	})
}

// copying answers the first request of each connection with the data for its path, or with
// 404, and any other with a copy.
func copying(data map[string]string, copy string) http.HandlerFunc {
	var used sync.Map
	return func(w http.ResponseWriter, r *http.Request) {
		result, ok := data[r.URL.Path]
		if _, again := used.LoadOrStore(r.RemoteAddr, true); again {
			result, ok = copy, true
		}
		if !ok {
			respondWith(404, refusal("ObjectNotFound"))(w, r)
			return
		}
		respondWith(200, success(result))(w, r)
	}
}

func TestLateCopyOfAPage(t *testing.T) {
	t.Parallel()
	var pages atomic.Int32
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		body := map[int32]string{1: `[{"userId":1}]`, 2: `[{"userId":1}]`, 3: `[{"userId":2}]`}[pages.Add(1)]
		respondWith(200, success(cmp.Or(body, "[]")))(w, r)
	})
	if users, err := c.UserList(t.Context(), byToken); len(users) != 2 {
		t.Errorf("got %d users, %v", len(users), err)
	}
}
