// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"net/http"
	"testing"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// Every sentinel has a status and a message.
func TestDescribe(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]int{
		Invalid("x"):             http.StatusBadRequest,
		ErrNotConfigured:         http.StatusBadRequest,
		session.ErrRefused:       http.StatusBadRequest,
		session.ErrPaused:        http.StatusServiceUnavailable,
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
