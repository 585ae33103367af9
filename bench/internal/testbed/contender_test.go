// SPDX-License-Identifier: MPL-2.0

package testbed

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// An older build, which does not know max_concurrent_calls, is configured without it.
// This build is not.
func TestConfigureOlderBuild(t *testing.T) {
	var stored map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var fields map[string]any
		_ = json.NewDecoder(r.Body).Decode(&fields)
		if _, sent := fields[maxCallsField]; sent {
			http.Error(w, "unknown field", http.StatusBadRequest)
			return
		}
		stored = fields
	}))
	defer server.Close()
	v := &Vault{Addr: strings.TrimPrefix(server.URL, "http://"), api: vaulttest.Client{HTTP: server.Client(), Addr: server.URL}}
	a := upstream.Access{Addr: "a:1", Login: "l"}
	if err := v.Configure(t.Context(), MustFind(ECGrid), a, nil); Status(err) != http.StatusBadRequest {
		t.Errorf("this build: %v", err)
	}
	if err := v.Configure(t.Context(), MustFind("ecgrid-other"), a, map[string]any{"ttl": "1h"}); err != nil || stored["username"] != "l" || stored["ttl"] != "1h" {
		t.Errorf("older build: %v, stored %v", err, stored)
	}
}

func TestMeasuredIn(t *testing.T) {
	const latency = 50 * time.Millisecond
	for name, want := range map[string][3]bool{
		ECGrid: {true, true, true}, ECGridDefault: {false, false, true}, ECGridCached: {true, false, false}, Direct: {true, true, true},
	} {
		c := MustFind(name)
		if got := [3]bool{c.MeasuredIn(0, 128), c.MeasuredIn(latency, 32), c.MeasuredIn(latency, 128)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
