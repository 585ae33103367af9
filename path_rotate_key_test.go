// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestRotateKey(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"rotate-key/5001", "rotate-role/team"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(fields{"key_cache_ttl": "1h"})
			m.role("team", fields{"rotation_period": "1h"})
			old := m.user(5001).APIKey
			leases := map[string]*logical.Secret{}
			for _, from := range []string{"keys/5001", "creds/team"} {
				leases[from] = m.must(logical.ReadOperation, from, nil).Secret
			}

			resp := m.must(logical.UpdateOperation, path, nil)
			at, _ := resp.Data["rotated_at"].(string)
			if _, err := time.Parse(time.RFC3339, at); err != nil || resp.Data["user_id"] != 5001.0 || len(resp.Data) != 2 || resp.Secret != nil || len(resp.Warnings) != 0 {
				t.Errorf("answered %v, %q", resp.Data, resp.Warnings)
			}
			if m.user(5001).APIKey == old || m.sim.Count("GenerateAPIKey") != 1 {
				t.Error("the key was not replaced exactly once")
			}
			for from, lease := range leases {
				if _, err := m.lease(logical.RenewOperation, lease); err == nil {
					t.Errorf("%s: a lease of the old key was renewed", from)
				}
				resp := m.must(logical.ReadOperation, from, nil)
				if resp.Data["api_key"] != m.user(5001).APIKey {
					t.Errorf("%s: not the new key", from)
				}
				if _, err := m.lease(logical.RenewOperation, resp.Secret); err != nil {
					t.Errorf("%s: a lease of the new key was not renewed: %v", from, err)
				}
			}
		})
	}
}

// The schedule of a role counts from rotate-role, and not from rotate-key.
func TestRotateRoleSchedule(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(nil)
	m.role("team", fields{"rotation_period": "24h"})
	clock.advance(time.Hour)
	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.expect("roles/team", fields{"last_rotation": nil, "next_rotation": "2030-01-03T03:04:00Z"})
	resp := m.must(logical.UpdateOperation, "rotate-role/team", nil)
	if at := resp.Data["rotated_at"]; at != "2030-01-02T04:04:00Z" {
		t.Errorf("rotated at %v", at)
	}
	m.expect("roles/team", fields{"last_rotation": "2030-01-02T04:04:00Z", "next_rotation": "2030-01-03T04:04:00Z", "last_rotation_error": ""})
}

func TestRotateKeyOfUserWithoutKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.refused(http.StatusNotFound, logical.ReadOperation, "keys/5003", nil)
	m.must(logical.UpdateOperation, "rotate-key/5003", nil)
	if key := m.must(logical.ReadOperation, "keys/5003", nil).Data["api_key"]; key != m.user(5003).APIKey {
		t.Error("not the new key")
	}
}

func TestRotateKeyRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("foreign", fields{"user_id": 6001})
	m.role("gone", fields{"user_id": 4999})
	m.role("team", nil)
	paths := []string{"rotate-key/5001", "rotate-role/team", "rotate-root"}
	for _, path := range paths {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, nil) // not configured
	}
	m.configure(nil)
	for path, status := range map[string]int{
		"rotate-key/05001":      http.StatusBadRequest,
		"rotate-key/+5001":      http.StatusBadRequest,
		"rotate-key/0x1389":     http.StatusBadRequest,
		"rotate-key/5001/":      http.StatusBadRequest,
		"rotate-key/0":          http.StatusBadRequest,
		"rotate-key/2147483648": http.StatusBadRequest,
		"rotate-key/4999":       http.StatusNotFound,
		"rotate-key/6001":       foreignStatus(),
		"rotate-role/none":      http.StatusNotFound,
		"rotate-role/gone":      http.StatusNotFound,
		"rotate-role/foreign":   foreignStatus(),
	} {
		m.refused(status, logical.UpdateOperation, path, nil)
	}
	for _, path := range paths {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, fields{"force": true})
		m.refused(http.StatusMethodNotAllowed, logical.ReadOperation, path, nil)
	}
	m.expectRotated(0, 0)
	_ = m.sim.Close()
	for _, path := range paths {
		m.refused(http.StatusServiceUnavailable, logical.UpdateOperation, path, nil)
	}
	m.expect("roles/team", fields{"last_rotation": nil})
}

// A config with an api_key has no password, and the plugin must not replace its own key.
func TestRotateWithAPIKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	config := m.apiKeyLogin()
	config["rotation_period"] = "1h"
	m.must(logical.CreateOperation, "config", config)
	m.expect("config", fields{"rotation_period": 3600.0, "next_root_rotation": nil})
	m.role("own", fields{"user_id": simulator.AdminUserID})
	for _, path := range []string{"rotate-root", "rotate-key/1001", "rotate-role/own"} {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, nil)
	}
	m.expectRotated(0, 0)
	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// If a rotation cannot be recorded before it is sent, it is not sent. If it cannot be
// recorded afterwards, it has still succeeded.
func TestRotateRoleNotStored(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	m.must(logical.ReadOperation, "creds/team", nil) // the mount's salt is stored
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "rotate-role/team", nil)
	if m.sim.Count("GenerateAPIKey") != 0 {
		t.Error("the key was replaced")
	}
	m.storage.FailPut(false)
	m.sim.Inject(simulator.Fault{Op: "GenerateAPIKey", After: func(*simulator.Simulator) { m.storage.FailPut(true) }})
	resp := m.must(logical.UpdateOperation, "rotate-role/team", nil)
	if len(resp.Warnings) != 1 || m.sim.Count("GenerateAPIKey") != 1 {
		t.Errorf("warnings %q", resp.Warnings)
	}
}
