// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/clienttest"
)

// Shared with the other clients.
const (
	canaryToken    = clienttest.CanarySession
	canaryPassword = clienttest.CanaryPassword
	canaryUpstream = clienttest.CanaryUpstream
)

var wantFailure = clienttest.WantFailure

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
	c.Sleep = clienttest.NoSleep
	t.Cleanup(c.Close)
	return c
}

// respondWith returns a handler that always sends the same response.
func respondWith(status int, body string) http.HandlerFunc {
	return clienttest.RespondWith("application/json; charset=utf-8", status, body)
}

// success wraps data as ECGrid does.
func success(data string) string {
	return `{"success":true,"data":` + data + `,"errorCode":"","message":""}`
}

// refusal is the body of an error.
func refusal(code string) string {
	return `{"success":false,"data":null,"errorCode":"` + code + `","message":"` + canaryUpstream + `"}`
}
