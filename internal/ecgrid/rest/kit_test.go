package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The tests send these texts, and must never find them in an error. They are not real
// credentials.
const (
	canaryToken    = "canary-token-1"
	canaryPassword = "canary-password-2"
	canaryUpstream = "canary-upstream-3"
)

var (
	byToken = ecgrid.Credential{Value: canaryToken}
	byKey   = ecgrid.Credential{Value: canaryToken, IsAPIKey: true}
)

// connect returns a client that does not wait between attempts.
func connect(t testing.TB, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := Connect(ecgrid.Endpoint{URL: s.URL + "/v2"})
	if err != nil {
		t.Fatal(err)
	}
	c.Sleep = func(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }
	t.Cleanup(c.Close)
	return c
}

// respondWith returns a handler that always sends the same response.
func respondWith(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// success wraps data as ECGrid does.
func success(data string) string {
	return `{"success":true,"data":` + data + `,"errorCode":"","message":""}`
}

// refusal is the body of an error.
func refusal(code string) string {
	return `{"success":false,"data":null,"errorCode":"` + code + `","message":"` + canaryUpstream + `"}`
}

// wantFailure checks the kind of a failed call, and what holds for all of them.
func wantFailure(t testing.TB, err error, kind error) *ecgrid.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	failed, ok := err.(*ecgrid.Error)
	if !ok {
		t.Fatalf("%T is not an *ecgrid.Error", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "canary") || strings.Contains(text, "127.0.0.1") {
		t.Error("the error holds a secret, text from upstream or an address")
	}
	return failed
}
