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
	m.validated(logical.ReadOperation, "creds/team", resp)
	if len(resp.Data) != 3 || resp.Data[fieldAPIKey] != m.user(5001).APIKey || resp.Data[fieldUserID] != 5001.0 || resp.Data[fieldRole] != "team" {
		t.Errorf("wrong data: %d fields", len(resp.Data))
	}
	if !resp.Secret.Renewable {
		t.Error("the lease is not renewable")
	}
	for name, value := range resp.Secret.InternalData {
		if text, isText := value.(string); !isText || m.holdsSecret(text) {
			t.Errorf("the lease remembers %s as no string, or as a secret", name)
		}
	}
	if m.holdsSecret(m.log.String()) {
		t.Error("the log holds a secret")
	}
}

// Request before role before config before mount, never above the maximum, and
// never beyond the next rotation. 0 is what Vault fills in with the mount's.
func TestCredsTerms(t *testing.T) {
	t.Parallel()
	type fields = map[string]any
	for name, tt := range map[string]struct {
		config, role, read fields
		later              time.Duration
		ttl, maxTTL        time.Duration
		warnings           int
	}{
		"the mount's":               {},
		"the config's":              {config: fields{fieldTTL: "1h", fieldMaxTTL: "2h"}, ttl: time.Hour, maxTTL: 2 * time.Hour},
		"the role's":                {config: fields{fieldTTL: "1h", fieldMaxTTL: "2h"}, role: fields{fieldTTL: "10m", fieldMaxTTL: "3h"}, ttl: 10 * time.Minute, maxTTL: 3 * time.Hour},
		"the role's ttl alone":      {config: fields{fieldTTL: "1h", fieldMaxTTL: "2h"}, role: fields{fieldTTL: "10m"}, ttl: 10 * time.Minute, maxTTL: 2 * time.Hour},
		"the role's maximum alone":  {config: fields{fieldTTL: "1h", fieldMaxTTL: "2h"}, role: fields{fieldMaxTTL: "30m"}, ttl: 30 * time.Minute, maxTTL: 30 * time.Minute, warnings: 1},
		"the role's above config's": {config: fields{fieldMaxTTL: "2h"}, role: fields{fieldTTL: "3h"}, ttl: 2 * time.Hour, maxTTL: 2 * time.Hour, warnings: 1},
		"the request's":             {config: fields{fieldTTL: "1h"}, role: fields{fieldTTL: "10m"}, read: fields{fieldTTL: "5m"}, ttl: 5 * time.Minute},
		"the request's, too long":   {role: fields{fieldMaxTTL: "10m"}, read: fields{fieldTTL: "1h"}, ttl: 10 * time.Minute, maxTTL: 10 * time.Minute, warnings: 1},
		"to the rotation":           {role: fields{fieldTTL: "2h", fieldRotationPeriod: "1h"}, later: 20 * time.Minute, ttl: 40 * time.Minute, maxTTL: 40 * time.Minute, warnings: 1},
		"before the rotation":       {role: fields{fieldTTL: "10m", fieldRotationPeriod: "1h"}, ttl: 10 * time.Minute, maxTTL: time.Hour},
		"the request beyond it":     {role: fields{fieldRotationPeriod: "1h"}, read: fields{fieldTTL: "2h"}, ttl: time.Hour, maxTTL: time.Hour, warnings: 1},
		"to a scheduled rotation":   {role: fields{fieldTTL: "2h", fieldRotationSchedule: "0 4 * * *", fieldRotationWindow: "1h"}, ttl: 56 * time.Minute, maxTTL: 56 * time.Minute, warnings: 1},
		"overdue":                   {role: fields{fieldTTL: "30m", fieldRotationPeriod: "1h"}, later: 3 * time.Hour, ttl: time.Minute, maxTTL: time.Minute, warnings: 1},
		"just due":                  {role: fields{fieldTTL: "30m", fieldRotationPeriod: "1h"}, later: time.Hour, ttl: time.Minute, maxTTL: time.Minute, warnings: 1},
		"overdue, a short lease":    {role: fields{fieldTTL: "5s", fieldRotationPeriod: "1h"}, later: 3 * time.Hour, ttl: 5 * time.Second, maxTTL: time.Minute},
		"a second before":           {role: fields{fieldTTL: "30m", fieldRotationPeriod: "1h"}, later: time.Hour - 500*time.Millisecond, ttl: time.Second, maxTTL: time.Second, warnings: 1},
		// The mount's own ttl may well be shorter than that: only the end is told.
		"the mount's, to the rotation": {role: fields{fieldRotationPeriod: "1000h"}, maxTTL: 1000 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			clock := m.freeze()
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
		m.role(name, map[string]any{fieldUserID: user})
	}
	for path, status := range map[string]int{
		"creds/gone":    http.StatusNotFound,
		"creds/keyless": http.StatusNotFound,
		"creds/foreign": http.StatusForbidden,
		"creds/none":    http.StatusNotFound,
		"creds/":        http.StatusNotFound,
	} {
		m.refused(status, logical.ReadOperation, path, nil)
	}
	for _, data := range []map[string]any{
		{"tttl": "1h"}, {fieldTTL: "soon"}, {fieldTTL: "-1"}, {fieldTTL: []any{"1h"}}, {fieldTTL: "1500ms"}, {fieldUserID: "5002"},
	} {
		m.refused(http.StatusBadRequest, logical.ReadOperation, "creds/team", data)
	}
	m.storage.FailGet(true)
	m.refused(http.StatusInternalServerError, logical.ReadOperation, "creds/team", nil)
	m.storage.FailGet(false)
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "creds/team", nil)
}

// What becomes of a lease when its role changes.
func TestRenewCreds(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		role, read  map[string]any
		change      func(m *testMount, clock *frozenClock)
		renewed     bool
		ttl, maxTTL time.Duration
		warnings    int
	}{
		"nothing": {change: func(*testMount, *frozenClock) {}, renewed: true, ttl: time.Hour, maxTTL: 2 * time.Hour},
		"the request's ttl stays": {
			read:   map[string]any{fieldTTL: "5m"},
			change: func(*testMount, *frozenClock) {}, renewed: true, ttl: 5 * time.Minute, maxTTL: 2 * time.Hour,
		},
		"the role is shorter now": {change: func(m *testMount, _ *frozenClock) {
			m.must(logical.UpdateOperation, "roles/team", map[string]any{fieldTTL: "10m", fieldMaxTTL: "20m"})
		}, renewed: true, ttl: 10 * time.Minute, maxTTL: 20 * time.Minute},
		"the role is gone": {change: func(m *testMount, _ *frozenClock) {
			m.must(logical.DeleteOperation, "roles/team", nil)
		}},
		"the role has another user": {change: func(m *testMount, _ *frozenClock) {
			m.must(logical.UpdateOperation, "roles/team", map[string]any{fieldUserID: 5002})
		}},
		"the key was replaced outside": {change: func(m *testMount, _ *frozenClock) { m.sim.ReplaceKey(5001) }},
		"the key was replaced by rotate-key": {change: func(m *testMount, _ *frozenClock) {
			m.must(logical.UpdateOperation, "rotate-key/5001", nil)
		}},
		"the key was replaced by rotate-role": {change: func(m *testMount, _ *frozenClock) {
			m.must(logical.UpdateOperation, "rotate-role/team", nil)
		}},
		"the user is gone": {change: func(m *testMount, _ *frozenClock) { m.sim.Delete(5001) }},
		"a rotation comes": {
			role:    map[string]any{fieldRotationPeriod: "100m"},
			change:  func(_ *testMount, clock *frozenClock) { clock.advance(70 * time.Minute) },
			renewed: true, ttl: 30 * time.Minute, maxTTL: 100 * time.Minute, warnings: 1,
		},
		"a rotation is overdue": {
			role:    map[string]any{fieldRotationPeriod: "100m"},
			change:  func(_ *testMount, clock *frozenClock) { clock.advance(110 * time.Minute) },
			renewed: true, ttl: time.Minute, maxTTL: 111 * time.Minute, warnings: 1,
		},
		"ECGrid is down": {
			change:  func(m *testMount, _ *frozenClock) { _ = m.sim.Close() },
			renewed: true, ttl: time.Hour, maxTTL: 2 * time.Hour, warnings: 1,
		},
	} {
		for _, counted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				clock := m.freeze()
				m.configure(map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h"})
				m.role("team", tt.role)
				m.must(logical.UpdateOperation, "roles/team", map[string]any{fieldRotateOnRevoke: counted})
				secret := m.must(logical.ReadOperation, "creds/team", tt.read).Secret
				secret.IssueTime = begin
				tt.change(m, clock)
				resp, err := m.renew(secret)
				m.noSecrets(resp, err)
				if (err == nil && !resp.IsError()) != tt.renewed {
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

// What a role without rotate_on_revoke hands out outlives its leases.
func TestRevokeCreds(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	key := m.user(5001).APIKey
	first := m.must(logical.ReadOperation, "creds/team", nil).Secret
	second := m.must(logical.ReadOperation, "creds/team", nil).Secret
	m.revoke(first)
	m.must(logical.UpdateOperation, "roles/team", map[string]any{fieldRotateOnRevoke: true}) // too late for these
	m.must(logical.DeleteOperation, "roles/team", nil)
	m.must(logical.DeleteOperation, "config", nil)
	m.revoke(second)
	m.revoke(second)
	if m.user(5001).APIKey != key {
		t.Error("a revoke replaced the key")
	}
}
