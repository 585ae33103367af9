// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Each operation sends what the documentation says, and reads what it returns.
func TestOperations(t *testing.T) {
	t.Parallel()
	const user = `{"userId":5001,"login":"jo","email":"jo@example.com","firstName":"J","lastName":"O","networkId":100,"mailboxId":null,"authLevel":"NetworkAdmin","status":"Active","created":"2020-01-01T00:00:00Z"}`
	tests := []struct {
		name          string
		request       string // method and path
		body          string
		anonymous     bool
		data          string
		call          func(context.Context, *Client, ecgrid.Credential) (any, error)
		want          any
		nothingIsFine bool // data may be null
	}{
		{"Version", "GET /v2/auth/version", "", true, `{"version":"2.6"}`,
			func(ctx context.Context, c *Client, _ ecgrid.Credential) (any, error) { return c.Version(ctx) }, "2.6", false},
		{"Login", "POST /v2/auth/login", `{"login":"jo","email":"jo","password":"` + canaryPassword + `\u0026\"ä"}`, true, `{"token":"a.b.c","expiresAt":null,"userId":1}`,
			func(ctx context.Context, c *Client, _ ecgrid.Credential) (any, error) {
				return c.Login(ctx, "jo", canaryPassword+`&"ä`)
			}, ecgrid.LoginResult{SessionID: "a.b.c"}, false},
		{"Logout", "POST /v2/auth/logout", "", false, `true`,
			func(ctx context.Context, c *Client, by ecgrid.Credential) (any, error) { return nil, c.Logout(ctx, by) }, nil, true},
		{"WhoAmI", "GET /v2/users/me", "", false, user,
			func(ctx context.Context, c *Client, by ecgrid.Credential) (any, error) { return c.WhoAmI(ctx, by) },
			ecgrid.Session{UserID: 5001, LoginName: "jo", AuthLevel: "NetworkAdmin", NetworkID: 100}, false},
		{"UserGetAPIKey", "GET /v2/users/key/5001", "", false, `"key"`,
			func(ctx context.Context, c *Client, by ecgrid.Credential) (any, error) {
				return c.UserGetAPIKey(ctx, by, 5001)
			}, "key", false},
		{"GenerateAPIKey", "POST /v2/users/key-generate/5001", "", false, `"key"`,
			func(ctx context.Context, c *Client, by ecgrid.Credential) (any, error) {
				return c.GenerateAPIKey(ctx, by, 5001)
			}, "key", false},
		{"ChangePassword", "PUT /v2/auth/password", `{"currentPassword":"old","newPassword":"new"}`, false, `true`,
			func(ctx context.Context, c *Client, by ecgrid.Credential) (any, error) {
				return nil, c.ChangePassword(ctx, by, "old", "new")
			}, nil, true},
	}
	credentials := map[string]struct {
		by     ecgrid.Credential
		header http.Header
	}{
		"token": {byToken, http.Header{"Authorization": {"Bearer " + canaryToken}}},
		"key":   {byKey, http.Header{"X-Api-Key": {canaryToken}}},
	}
	for _, test := range tests {
		for name, credential := range credentials {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				data := test.data
				c := connect(t, func(w http.ResponseWriter, r *http.Request) {
					checkRequest(t, r, test.request, test.body)
					for _, name := range []string{"Authorization", "X-Api-Key"} {
						want := credential.header[name]
						if test.anonymous {
							want = nil
						}
						if !reflect.DeepEqual(r.Header[name], want) {
							t.Errorf("%s is sent or missing", name)
						}
					}
					respondWith(200, success(data))(w, r)
				})
				got, err := test.call(t.Context(), c, credential.by)
				if err != nil || !reflect.DeepEqual(got, test.want) {
					t.Errorf("got %v, %v", got, err)
				}
				data = "null"
				_, err = test.call(t.Context(), c, credential.by)
				if failed := (*ecgrid.Error)(nil); !test.nothingIsFine && (!errors.As(err, &failed) || failed.Kind != ecgrid.ErrEmptyResult || failed.Op != test.name) {
					t.Errorf("null: got %v", err)
				}
			})
		}
	}
}

func checkRequest(t *testing.T, r *http.Request, request, body string) {
	t.Helper()
	sent, _ := io.ReadAll(r.Body)
	if got := r.Method + " " + r.RequestURI; got != request || string(sent) != body {
		t.Errorf("got %s, want %s, or the body differs", got, request)
	}
	contentType := ""
	if body != "" {
		contentType = "application/json"
	}
	if r.Header.Get("Content-Type") != contentType || r.Header.Get("Accept") != "application/json" || r.Host == "" {
		t.Errorf("headers %q and %q", r.Header["Content-Type"], r.Header["Accept"])
	}
	if len(r.TransferEncoding) > 0 || r.ContentLength != int64(len(body)) {
		t.Errorf("transfer encoding %v, length %d", r.TransferEncoding, r.ContentLength)
	}
}

// How long a token lives is the difference of two times of the server.
func TestLifetime(t *testing.T) {
	t.Parallel()
	date := time.Date(2020, 3, 1, 12, 0, 0, 0, time.UTC) // not the time here
	tests := map[string]struct {
		expiresAt string
		lifetime  time.Duration
	}{
		"UTC":              {`"2020-03-01T13:00:00Z"`, time.Hour},
		"offset":           {`"2020-03-01T14:00:00+01:00"`, time.Hour},
		"no offset":        {`"2020-03-01T13:00:00"`, time.Hour},
		"fraction":         {`"2020-03-01T13:00:00.5000000Z"`, time.Hour + 500*time.Millisecond},
		"fraction of .NET": {`"2020-03-01T13:00:00.2500000"`, time.Hour + 250*time.Millisecond},
		"past":             {`"2020-03-01T11:00:00Z"`, 0},
		"far":              {`"9999-12-31T23:59:59Z"`, 1<<63 - 1},
		"null":             {`null`, 0},
		"empty":            {`""`, 0},
		"number":           {`1583067600`, 0},
		"text":             {`"` + canaryUpstream + `"`, 0},
	}
	for name, test := range tests {
		c := connect(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", date.Format(http.TimeFormat))
			respondWith(200, success(`{"token":"`+canaryToken+`","expiresAt":`+test.expiresAt+`,"userId":1}`))(w, r)
		})
		got, err := c.Login(t.Context(), "jo", canaryPassword)
		if err != nil || got.SessionID != canaryToken || got.Lifetime != test.lifetime {
			t.Errorf("%s: lifetime %v, %v, want %v", name, got.Lifetime, err, test.lifetime)
		}
	}
}

// Answers to a Login that open no session.
func TestLoginWithoutToken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		data string
		kind error
	}{
		"no token":      {`{"expiresAt":"2020-03-01T13:00:00Z"}`, ecgrid.ErrEmptyResult},
		"null token":    {`{"token":null}`, ecgrid.ErrEmptyResult},
		"empty token":   {`{"token":""}`, ecgrid.ErrEmptyResult},
		"two words":     {`{"token":"a b"}`, ecgrid.ErrBadAnswer},
		"a number":      {`{"token":1}`, ecgrid.ErrBadAnswer},
		"an object":     {`{"token":{"token":"x"}}`, ecgrid.ErrBadAnswer},
		"twice":         {`{"token":"x","token":"y"}`, ecgrid.ErrBadAnswer},
		"a bare string": {`"x"`, ecgrid.ErrBadAnswer},
		"an array":      {`[{"token":"x"}]`, ecgrid.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var requests atomic.Int32
			c := connect(t, func(w http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				respondWith(200, success(test.data))(w, r)
			})
			_, err := c.Login(t.Context(), "jo", canaryPassword)
			wantFailure(t, err, test.kind)
			if requests.Load() != 1 {
				t.Errorf("sent %d times", requests.Load())
			}
		})
	}
}

// ECGrid may say "not found" of the key of a user who has none.
func TestUserWithoutKey(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		kind   error
	}{
		"the user exists":     {200, success(`{"userId":5001}`), ecgrid.ErrEmptyResult},
		"no such user":        {404, refusal("ObjectNotFound"), ecgrid.ErrNotFound},
		"not visible":         {403, refusal("AccessDenied"), ecgrid.ErrNotFound},
		"ECGrid fails":        {500, refusal("InternalError"), ecgrid.ErrNotFound},
		"something else here": {200, `<html></html>`, ecgrid.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := connect(t, func(w http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.Path, "/key/") {
					respondWith(404, refusal("ObjectNotFound"))(w, r)
					return
				}
				checkRequest(t, r, "GET /v2/users/5001", "")
				respondWith(test.status, test.body)(w, r)
			})
			_, err := c.UserGetAPIKey(t.Context(), byToken, 5001)
			wantFailure(t, err, test.kind)
		})
	}
}

// What ECGrid returns after a change of the password is not documented.
func TestChangedPassword(t *testing.T) {
	t.Parallel()
	for body, kind := range map[string]error{
		success(`true`): nil, success(`null`): nil, `{"success":true}`: nil, success(`""`): nil,
		success(`"a-key"`): ecgrid.ErrBadAnswer, success(`{"a":[1]}`): ecgrid.ErrBadAnswer, success(`[true]`): ecgrid.ErrBadAnswer, success(`1`): ecgrid.ErrBadAnswer,
		success(`false`): ecgrid.ErrFault, `{"success":false,"data":true}`: ecgrid.ErrFault, `{}`: ecgrid.ErrBadAnswer,
		`{"success":true,"traceId":"x"}`: nil,
	} {
		c := connect(t, respondWith(200, body))
		if err := c.ChangePassword(t.Context(), byToken, "old", "new"); !errors.Is(err, kind) {
			t.Errorf("%s: got %v, want %v", body, err, kind)
		}
	}
}

// A base path may end with a slash or be that of a proxy.
func TestBasePath(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"/v2": "/v2/users/key/5001", "/v2/": "/v2/users/key/5001", "": "/users/key/5001", "/a%2Fb/v2": "/a%2Fb/v2/users/key/5001",
	} {
		var got string
		c := connect(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.RequestURI
			respondWith(200, success(`"key"`))(w, r)
		})
		url := fmt.Sprintf("http://%s%s", c.URL.Host, base)
		own, err := Connect(ecgrid.Endpoint{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := own.UserGetAPIKey(t.Context(), byToken, 5001); err != nil || got != want {
			t.Errorf("%q: got %q, %v", base, got, err)
		}
		own.Close()
	}
}
