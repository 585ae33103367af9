// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestReadCreds(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	resp := m.must(logical.ReadOperation, "creds/team", nil)
	if len(resp.Data) != 3 || resp.Data["api_key"] != m.user(5001).APIKey || resp.Data["user_id"] != 5001.0 || resp.Data["role"] != "team" {
		t.Errorf("wrong data: %d fields", len(resp.Data))
	}
	if !resp.Secret.Renewable {
		t.Error("the lease is not renewable")
	}
}

// The TTL is the request's, else the role's, the config's or the mount's. It is never
// above the maximum, and never goes beyond the next rotation. Vault replaces a 0 with the
// mount's value.
func TestCredsTerms(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		config, role, read fields
		later              time.Duration
		ttl, maxTTL        time.Duration
		warnings           int
	}{
		"the mount's":               {},
		"the config's":              {config: fields{"ttl": "1h", "max_ttl": "2h"}, ttl: time.Hour, maxTTL: 2 * time.Hour},
		"the role's":                {config: fields{"ttl": "1h", "max_ttl": "2h"}, role: fields{"ttl": "10m", "max_ttl": "3h"}, ttl: 10 * time.Minute, maxTTL: 3 * time.Hour},
		"the role's ttl alone":      {config: fields{"ttl": "1h", "max_ttl": "2h"}, role: fields{"ttl": "10m"}, ttl: 10 * time.Minute, maxTTL: 2 * time.Hour},
		"the role's maximum alone":  {config: fields{"ttl": "1h", "max_ttl": "2h"}, role: fields{"max_ttl": "30m"}, ttl: 30 * time.Minute, maxTTL: 30 * time.Minute, warnings: 1},
		"the role's above config's": {config: fields{"max_ttl": "2h"}, role: fields{"ttl": "3h"}, ttl: 2 * time.Hour, maxTTL: 2 * time.Hour, warnings: 1},
		"the request's":             {config: fields{"ttl": "1h"}, role: fields{"ttl": "10m"}, read: fields{"ttl": "5m"}, ttl: 5 * time.Minute},
		"the request's, too long":   {role: fields{"max_ttl": "10m"}, read: fields{"ttl": "1h"}, ttl: 10 * time.Minute, maxTTL: 10 * time.Minute, warnings: 1},
		"to the rotation":           {role: fields{"ttl": "2h", "rotation_period": "1h"}, later: 20 * time.Minute, ttl: 40 * time.Minute, maxTTL: 40 * time.Minute, warnings: 1},
		"before the rotation":       {role: fields{"ttl": "10m", "rotation_period": "1h"}, ttl: 10 * time.Minute, maxTTL: time.Hour},
		"the request beyond it":     {role: fields{"rotation_period": "1h"}, read: fields{"ttl": "2h"}, ttl: time.Hour, maxTTL: time.Hour, warnings: 1},
		"to a scheduled rotation":   {role: fields{"ttl": "2h", "rotation_schedule": "0 4 * * *", "rotation_window": "1h"}, ttl: 56 * time.Minute, maxTTL: 56 * time.Minute, warnings: 1},
		"overdue":                   {role: fields{"ttl": "30m", "rotation_period": "1h"}, later: 3 * time.Hour, ttl: time.Minute, maxTTL: time.Minute, warnings: 1},
		"just due":                  {role: fields{"ttl": "30m", "rotation_period": "1h"}, later: time.Hour, ttl: time.Minute, maxTTL: time.Minute, warnings: 1},
		"overdue, a short lease":    {role: fields{"ttl": "5s", "rotation_period": "1h"}, later: 3 * time.Hour, ttl: 5 * time.Second, maxTTL: time.Minute},
		"a second before":           {role: fields{"ttl": "30m", "rotation_period": "1h"}, later: time.Hour - 500*time.Millisecond, ttl: time.Second, maxTTL: time.Second, warnings: 1},
		// The mount's ttl may be shorter than that, so only the maximum is set.
		"the mount's, to the rotation": {role: fields{"rotation_period": "1000h"}, maxTTL: 1000 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			clock := m.freezeClock()
			m.configure(tt.config)
			m.role("team", tt.role)
			clock.advance(tt.later)
			resp := m.must(logical.ReadOperation, "creds/team", tt.read)
			if resp.Secret.TTL != tt.ttl || resp.Secret.MaxTTL != tt.maxTTL || len(resp.Warnings) != tt.warnings {
				t.Errorf("leased for %s of %s with %q", resp.Secret.TTL, resp.Secret.MaxTTL, resp.Warnings)
			}
		})
	}
}

func TestReadCredsRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("team", nil)
	m.refused(http.StatusBadRequest, logical.ReadOperation, "creds/team", nil)
	m.configure(nil)
	for name, user := range map[string]int{"gone": 4999, "keyless": 5003, "foreign": 6001} {
		m.role(name, fields{"user_id": user})
	}
	for path, status := range map[string]int{
		"creds/gone":    http.StatusNotFound,
		"creds/keyless": http.StatusNotFound,
		"creds/foreign": foreignStatus(),
		"creds/none":    http.StatusNotFound,
		"creds/":        http.StatusNotFound,
	} {
		m.refused(status, logical.ReadOperation, path, nil)
	}
	for _, data := range []fields{
		{"tttl": "1h"}, {"ttl": "soon"}, {"ttl": "-1"}, {"ttl": []any{"1h"}}, {"ttl": "1500ms"}, {"user_id": "5002"},
	} {
		m.refused(http.StatusBadRequest, logical.ReadOperation, "creds/team", data)
	}
	m.storage.FailGet(true)
	m.refused(http.StatusInternalServerError, logical.ReadOperation, "creds/team", nil)
	m.storage.FailGet(false)
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "creds/team", nil)
}

func TestRenewCreds(t *testing.T) {
	t.Parallel()
	type change = func(*testMount, *frozenClock)
	update := func(path string, data fields) change {
		return func(m *testMount, _ *frozenClock) { m.must(logical.UpdateOperation, path, data) }
	}
	wait := func(d time.Duration) change { return func(_ *testMount, clock *frozenClock) { clock.advance(d) } }
	for name, tt := range map[string]struct {
		role, read  fields
		change      change
		renewed     bool
		ttl, maxTTL time.Duration
		warnings    int
	}{
		"nothing":                      {change: wait(0), renewed: true, ttl: time.Hour, maxTTL: 2 * time.Hour},
		"the request's ttl stays":      {read: fields{"ttl": "5m"}, change: wait(0), renewed: true, ttl: 5 * time.Minute, maxTTL: 2 * time.Hour},
		"shorter ttl of the role":      {change: update("roles/team", fields{"ttl": "10m", "max_ttl": "20m"}), renewed: true, ttl: 10 * time.Minute, maxTTL: 20 * time.Minute},
		"the role is gone":             {change: func(m *testMount, _ *frozenClock) { m.must(logical.DeleteOperation, "roles/team", nil) }},
		"the role has another user":    {change: update("roles/team", fields{"user_id": 5002})},
		"the key was replaced outside": {change: func(m *testMount, _ *frozenClock) { m.sim.ReplaceKey(5001) }},
		"rotate-key":                   {change: update("rotate-key/5001", nil)},
		"rotate-role":                  {change: update("rotate-role/team", nil)},
		"the user is gone":             {change: func(m *testMount, _ *frozenClock) { m.sim.Delete(5001) }},
		"a rotation comes":             {role: fields{"rotation_period": "100m"}, change: wait(70 * time.Minute), renewed: true, ttl: 30 * time.Minute, maxTTL: 100 * time.Minute, warnings: 1},
		"a rotation is overdue":        {role: fields{"rotation_period": "100m"}, change: wait(110 * time.Minute), renewed: true, ttl: time.Minute, maxTTL: 111 * time.Minute, warnings: 1},
		"ECGrid is down":               {change: func(m *testMount, _ *frozenClock) { _ = m.sim.Close() }, renewed: true, ttl: time.Hour, maxTTL: 2 * time.Hour, warnings: 1},
	} {
		for _, counted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				clock := m.freezeClock()
				m.configure(fields{"ttl": "1h", "max_ttl": "2h"})
				m.role("team", tt.role)
				m.must(logical.UpdateOperation, "roles/team", fields{"rotate_on_revoke": counted})
				secret := m.must(logical.ReadOperation, "creds/team", tt.read).Secret
				secret.IssueTime = startTime
				tt.change(m, clock)
				resp, err := m.lease(logical.RenewOperation, secret)
				if (err == nil) != tt.renewed {
					t.Fatalf("renewed: %v", err)
				}
				if !tt.renewed {
					return
				}
				if resp.Secret.TTL != tt.ttl || resp.Secret.MaxTTL != tt.maxTTL || len(resp.Warnings) != tt.warnings || len(resp.Data) != 0 {
					t.Errorf("renewed for %s of %s with %q", resp.Secret.TTL, resp.Secret.MaxTTL, resp.Warnings)
				}
			})
		}
	}
}

// Without rotate_on_revoke, a revocation does not replace the key.
func TestRevokeCreds(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	key := m.user(5001).APIKey
	first := m.must(logical.ReadOperation, "creds/team", nil).Secret
	second := m.must(logical.ReadOperation, "creds/team", nil).Secret
	m.revoke(first)
	m.must(logical.UpdateOperation, "roles/team", fields{"rotate_on_revoke": true}) // does not change existing leases
	m.must(logical.DeleteOperation, "roles/team", nil)
	m.must(logical.DeleteOperation, "config", nil)
	m.revoke(second)
	m.revoke(second)
	if m.user(5001).APIKey != key {
		t.Error("a revoke replaced the key")
	}
}
