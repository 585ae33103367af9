// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// The response has no lease. Its fields are those of Vault's own static roles, with the types
// that Vault Agent and the operators parse: whole seconds, and RFC 3339.
func TestReadStaticCreds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		role, want fields
	}{
		"no rotation": {
			role: fields{"ttl": "5m"},
			want: fields{"rotation_period": 300.0, "ttl": 300.0},
		},
		"a period": {
			role: fields{"rotation_period": "24h"},
			want: fields{"rotation_period": 86400.0, "ttl": 3600.0},
		},
		"a schedule": {
			role: fields{"rotation_schedule": "0 4 * * *", "ttl": "5m"},
			want: fields{"rotation_schedule": "0 4 * * *", "ttl": 3420.0},
		},
		"a schedule with a window": {
			role: fields{"rotation_schedule": "0 4 * * *", "rotation_window": "1h"},
			want: fields{"rotation_schedule": "0 4 * * *", "rotation_window": 3600.0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.freezeClock()
			m.configure(nil)
			m.role("team", tt.role)
			resp := m.must(logical.ReadOperation, "static-creds/team", nil)
			if resp.Secret != nil {
				t.Error("there is a lease")
			}
			want := fields{"api_key": m.user(5001).APIKey, "user_id": 5001.0, "role": "team", "last_vault_rotation": startTime.Format(time.RFC3339)}
			maps.Copy(want, tt.want)
			if _, exact := want["ttl"]; !exact { // jitter spreads the rotation over a twentieth of the window
				ttl, _ := resp.Data["ttl"].(float64)
				if ttl < 3420 || ttl > 3600 {
					t.Errorf("ttl is %v, want 3420 to 3600", ttl)
				}
				want["ttl"] = ttl
			}
			if !maps.Equal(resp.Data, want) {
				t.Errorf("fields %v", slices.Sorted(maps.Keys(resp.Data)))
				for field, value := range tt.want {
					if resp.Data[field] != value {
						t.Errorf("%s is %v, want %v", field, resp.Data[field], value)
					}
				}
			}
		})
	}
}

// last_vault_rotation and the key change with a rotation of the role, and then only.
func TestStaticCredsAfterRotation(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(fields{"key_cache_ttl": "1h"})
	m.role("team", nil)
	read := func() (key, rotated any) {
		data := m.must(logical.ReadOperation, "static-creds/team", nil).Data
		return data["api_key"], data["last_vault_rotation"]
	}
	first, since := read()
	clock.advance(time.Minute)
	if key, rotated := read(); key != first || rotated != since {
		t.Error("the key has changed without a rotation")
	}
	m.must(logical.UpdateOperation, "rotate-role/team", nil)
	key, rotated := read()
	if key == first || key != m.user(5001).APIKey {
		t.Error("the key is not the new one after rotate-role")
	}
	if want := startTime.Add(time.Minute).Format(time.RFC3339); rotated != want {
		t.Errorf("last_vault_rotation is %v, want %s", rotated, want)
	}
	clock.advance(time.Minute)
	m.role("team", fields{"user_id": 5002})
	if _, rotated := read(); rotated != startTime.Add(2*time.Minute).Format(time.RFC3339) {
		t.Errorf("last_vault_rotation is %v after a change of the user", rotated)
	}
}

func TestReadStaticCredsRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("team", nil)
	m.refused(http.StatusBadRequest, logical.ReadOperation, "static-creds/team", nil)
	m.configure(nil)
	for name, user := range map[string]int{"gone": 4999, "keyless": 5003, "foreign": 6001} {
		m.role(name, fields{"user_id": user})
	}
	m.role("counted", fields{"rotate_on_revoke": true})
	for path, status := range map[string]int{
		"static-creds/gone":    http.StatusNotFound,
		"static-creds/keyless": http.StatusNotFound,
		"static-creds/foreign": foreignStatus(),
		"static-creds/none":    http.StatusNotFound,
		"static-creds/":        http.StatusNotFound,
		"static-creds/counted": http.StatusBadRequest,
	} {
		m.refused(status, logical.ReadOperation, path, nil)
	}
	m.refused(http.StatusBadRequest, logical.ReadOperation, "static-creds/team", fields{"ttl": "1h"})
	m.storage.FailGet(true)
	m.refused(http.StatusInternalServerError, logical.ReadOperation, "static-creds/team", nil)
	m.storage.FailGet(false)
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "static-creds/team", nil)
}
