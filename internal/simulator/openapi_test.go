// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// documented are the calls of the REST API v2.6 documentation.
var documented = []string{
	"GET /auth/version", "POST /auth/login", "POST /auth/refresh", "POST /auth/session", "POST /auth/logout", "PUT /auth/password",
	"GET /users/me", "GET /users/{id}", "GET /users/key/{id}", "POST /users/key-generate/{id}", "POST /users/list", "POST /users/reset/{id}",
}

// The document has the documented calls and no other, and each of them is served. That the
// answers match their schemas is checked in tools/rest, by another hand.
func TestOpenAPIHasTheRoutes(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	a := send(s, httptest.NewRequest("GET", simulator.RESTPath+simulator.OpenAPIPath, nil))
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Servers []struct{ URL string }                `json:"servers"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("HTTP %d, %v", a.status, err)
	}
	if doc.OpenAPI != "3.0.3" || len(doc.Servers) != 1 || doc.Servers[0].URL != "http://example.com/v2" {
		t.Errorf("OpenAPI %s at %v", doc.OpenAPI, doc.Servers)
	}
	var calls []string
	for path, item := range doc.Paths {
		for method := range item {
			calls = append(calls, strings.ToUpper(method)+" "+path)
		}
	}
	want := slices.Sorted(slices.Values(documented))
	if slices.Sort(calls); !slices.Equal(calls, want) {
		t.Errorf("the document has\n%q, want\n%q", calls, want)
	}
	for _, call := range documented {
		method, path, _ := strings.Cut(call, " ")
		before := s.State().BadRequests
		rest(t, s, "", method, strings.Replace(path, "{id}", "5001", 1), `{"login":"x","password":"x","token":"x","currentPassword":"x","newPassword":"x"}`)
		if s.State().BadRequests != before {
			t.Errorf("%s is not served", call)
		}
	}
	if s.Count("") != len(documented) {
		t.Errorf("%d calls, want %d", s.Count(""), len(documented))
	}
}
