// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// What the rotation of a key says when it is not confirmed is about keys, and that of
// rotate-root about passwords.
func TestDescribeUnconfirmed(t *testing.T) {
	t.Parallel()
	for err, tt := range map[error]struct {
		has   []string
		hasNo []string
	}{
		ErrKeyUnconfirmed: {[]string{ErrUnconfirmed.Error() + ": ", "renew a lease", "the key was replaced"}, []string{"password", "rotate-root", "config"}},
		ErrUnconfirmed:    {[]string{"both passwords are kept", "last_root_rotation_error"}, []string{"key", "lease"}},
	} {
		status, message, _ := Describe(err)
		for _, text := range tt.has {
			if !strings.Contains(message, text) {
				t.Errorf("%q is not in %q", text, message)
			}
		}
		for _, text := range tt.hasNo {
			if strings.Contains(message, text) {
				t.Errorf("%q is in %q", text, message)
			}
		}
		if status != http.StatusConflict || !errors.Is(err, ErrUnconfirmed) {
			t.Errorf("status %d for %v", status, err)
		}
	}
}

// Every sentinel has a status and a message.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		Invalid("x"):             http.StatusBadRequest,
		ErrNotConfigured:         http.StatusBadRequest,
		session.ErrRefused:       http.StatusBadRequest,
		session.ErrPaused:        http.StatusServiceUnavailable,
		ErrPasswordKept:          http.StatusConflict,
		ErrUnresolved:            http.StatusConflict,
		ErrKeyReplaced:           http.StatusBadRequest,
		ErrNoKey:                 http.StatusNotFound,
		ErrClosed:                http.StatusServiceUnavailable,
		ecgrid.ErrAccessDenied:   http.StatusForbidden,
		ecgrid.ErrAuthentication: http.StatusForbidden,
		ecgrid.ErrNotFound:       http.StatusNotFound,
		ecgrid.ErrTimeout:        http.StatusGatewayTimeout,
		ecgrid.ErrUnreachable:    http.StatusServiceUnavailable,
		ecgrid.ErrProxy:          http.StatusServiceUnavailable,
		ecgrid.ErrBadAnswer:      http.StatusBadGateway,
		ecgrid.ErrServerFault:    http.StatusBadGateway,
		ecgrid.ErrFault:          http.StatusBadGateway,
		ecgrid.ErrEmptyResult:    http.StatusBadGateway,
		ecgrid.ErrSessionExpired: http.StatusBadGateway,
	} {
		wrapped := opError("UserGetAPIKey", err)
		if status, message, ok := Describe(wrapped); status != want || !ok || message == "" {
			t.Errorf("%v: status %d, message %q, ok %t; want status %d", err, status, message, ok, want)
		}
	}
	if _, _, ok := Describe(errAny); ok {
		t.Error("a failure without a sentinel has a meaning")
	}
}
