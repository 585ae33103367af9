// SPDX-License-Identifier: MPL-2.0

// Package clienttest is what the tests of the ECGrid clients share.
package clienttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The tests send these texts, and must never find them in an error. They are not real
// credentials.
const (
	CanarySession  = "canary-session-1"
	CanaryPassword = "canary-password-2"
	CanaryUpstream = "canary-upstream-3"
	CanaryKey      = "canary-key-4"
)

// NoSleep is a Sleep of httpclient.Client that does not wait.
func NoSleep(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }

// Int16 returns a pointer to n, as new(n) does from Go 1.26 on.
func Int16(n int16) *int16 { return &n }

// RespondWith returns a handler that always sends the same response.
func RespondWith(contentType string, status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

var kinds = []error{
	ecgrid.ErrSessionExpired, ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound,
	ecgrid.ErrFault, ecgrid.ErrServerFault, ecgrid.ErrEmptyResult, ecgrid.ErrBadAnswer,
	ecgrid.ErrRateLimited, ecgrid.ErrUnreachable, ecgrid.ErrProxy, ecgrid.ErrTimeout,
}

// WantFailure checks the kind of a failed call, and what holds for all of them.
func WantFailure(t testing.TB, err error, kind error) *ecgrid.Error {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	failed, ok := err.(*ecgrid.Error)
	if !ok {
		t.Fatalf("%T is not an *ecgrid.Error", err)
	}
	n := 0
	for _, k := range kinds {
		if errors.Is(err, k) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%v wraps %d sentinels, want 1", err, n)
	}
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "canary") || strings.Contains(text, "127.0.0.1") {
		t.Error("the error holds a secret, text from upstream or an address")
	}
	return failed
}
