// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"maps"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestRenew(t *testing.T) {
	t.Parallel()
	denied := simulator.Fault{Op: "UserGetAPIKey", Cause: simulator.AccessDenied, Echo: true}
	for name, tt := range map[string]struct {
		change   func(m *testMount)
		renewed  bool
		warnings int
	}{
		"same key":     {func(*testMount) {}, true, 0},
		"key replaced": {func(m *testMount) { m.sim.ReplaceKey(5001) }, false, 0},
		"user gone":    {func(m *testMount) { m.sim.Delete(5001) }, false, 0},
		"denied":       {func(m *testMount) { m.sim.Inject(denied) }, false, 0},
		"ECGrid down":  {func(m *testMount) { _ = m.sim.Close() }, true, 1},
		"no config":    {func(m *testMount) { m.must(logical.DeleteOperation, "config", nil) }, true, 1},
		"restart":      {func(m *testMount) { m.backend = m.serve() }, true, 0},
		"replaced before a restart": {func(m *testMount) {
			m.sim.ReplaceKey(5001)
			m.backend = m.serve()
		}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(fields{"ttl": "1h", "max_ttl": "2h"})
			secret := m.must(logical.ReadOperation, "keys/5001", nil).Secret
			tt.change(m)
			resp, err := m.lease(logical.RenewOperation, secret)
			if (err == nil) != tt.renewed {
				t.Fatalf("renewed: %v", err)
			}
			if tt.renewed {
				if len(resp.Warnings) != tt.warnings || len(resp.Data) != 0 {
					t.Errorf("warnings %v, %d fields", resp.Warnings, len(resp.Data))
				}
				if name != "no config" && (resp.Secret.TTL != time.Hour || resp.Secret.MaxTTL != 2*time.Hour) {
					t.Errorf("renewed for %s of %s", resp.Secret.TTL, resp.Secret.MaxTTL)
				}
			}
			m.revoke(secret)
			if n := m.sim.Count("GenerateAPIKey"); n != 0 {
				t.Error("a revoke replaced the key")
			}
		})
	}
}

// newCountedMount makes a mount with leases of a role with rotate_on_revoke.
func newCountedMount(t *testing.T, leases int) (*testMount, []*logical.Secret) {
	t.Helper()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", fields{"rotate_on_revoke": true})
	var secrets []*logical.Secret
	for range leases {
		secrets = append(secrets, m.must(logical.ReadOperation, "creds/team", nil).Secret)
	}
	return m, secrets
}

// The last lease with rotate_on_revoke replaces the key once. Other leases of the key do
// not count.
func TestRotateOnRevoke(t *testing.T) {
	t.Parallel()
	m, leases := newCountedMount(t, 2)
	m.role("other", fields{"rotate_on_revoke": true})
	m.role("plain", nil)
	leases = append(leases, m.must(logical.ReadOperation, "creds/other", nil).Secret)
	uncounted := []*logical.Secret{
		m.must(logical.ReadOperation, "creds/plain", nil).Secret,
		m.must(logical.ReadOperation, "keys/5001", nil).Secret,
	}
	key := m.user(5001).APIKey
	m.revoke(uncounted[0])
	m.must(logical.DeleteOperation, "roles/team", nil) // the leases keep the option
	m.must(logical.UpdateOperation, "roles/other", fields{"rotate_on_revoke": false})
	for _, lease := range leases[:2] {
		m.revoke(lease)
		if m.user(5001).APIKey != key {
			t.Fatal("the key was replaced before the last revocation")
		}
	}
	m.restart()
	m.revoke(leases[2])
	if m.user(5001).APIKey == key || m.counted() != 0 {
		t.Error("the last revocation did not replace the key")
	}
	for _, lease := range leases {
		m.revoke(lease)
	}
	m.revoke(uncounted[1])
	if n := m.sim.Count("GenerateAPIKey"); n != 1 {
		t.Errorf("the key was replaced %d times", n)
	}
}

func TestRotateOnRevokeConverges(t *testing.T) {
	t.Parallel()
	fault := func(f simulator.Fault) func(m *testMount) {
		return func(m *testMount) { m.sim.Inject(f) }
	}
	for name, tt := range map[string]struct {
		change   func(m *testMount)
		revoked  bool // by the first try
		replaced int
	}{
		"the key was replaced outside": {func(m *testMount) { m.sim.ReplaceKey(5001) }, true, 0},
		"the user is gone":             {func(m *testMount) { m.sim.Delete(5001) }, true, 0},
		"the key is gone":              {func(m *testMount) { m.sim.Update(5001, func(u *simulator.User) { u.APIKey = "" }) }, true, 0},
		"the config is gone":           {func(m *testMount) { m.must(logical.DeleteOperation, "config", nil) }, true, 0},
		"the config uses that key": {func(m *testMount) {
			m.must(logical.UpdateOperation, "config", fields{"api_key": m.user(5001).APIKey})
		}, true, 0},
		"ECGrid is down":                {fault(simulator.Fault{Answer: simulator.AnswerReset}), false, 1},
		"GenerateAPIKey is cut":         {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset}), false, 2},
		"ECGrid fails":                  {fault(simulator.Fault{Op: "UserGetAPIKey", Cause: simulator.SystemError}), false, 1},
		"denied":                        {fault(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied}), false, 2},
		"the answer is lost":            {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter}), true, 1},
		"the answer is lost, then down": {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter, After: cutConnections}), false, 1},
		"replaced in the same call":     {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset, Before: func(s *simulator.Simulator) { s.ReplaceKey(5001) }}), true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, leases := newCountedMount(t, 1)
			key := m.user(5001).APIKey
			tt.change(m)
			if _, err := m.lease(logical.RevokeOperation, leases[0]); (err == nil) != tt.revoked {
				t.Errorf("revoked: %v", err)
			}
			if (m.counted() == 0) != tt.revoked {
				t.Errorf("%d leases are counted", m.counted())
			}
			m.sim.ClearFaults()
			m.revoke(leases[0]) // Vault tries again, sometimes even after a success
			if m.counted() != 0 {
				t.Error("the lease is still counted")
			}
			if n := m.sim.Count("GenerateAPIKey"); n != tt.replaced {
				t.Errorf("GenerateAPIKey was called %d times", n)
			}
			if u, exists := m.sim.User(5001); tt.replaced > 0 && exists && u.APIKey == key {
				t.Error("the leased key is still valid")
			}
		})
	}
}

// While a mount is being removed or moved, revocations succeed and replace no key. After
// a move, the next tick replaces it.
func TestRevokeOnTaintedMount(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"ECGrid is up": false, "ECGrid is down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, leases := newCountedMount(t, 3)
			key := m.user(5001).APIKey
			if down {
				cutConnections(m.sim.Simulator)
			}
			m.vault.taint(true)
			for _, lease := range append(leases, leases[0]) {
				m.revoke(lease)
			}
			m.tick()
			if m.sim.Count("GenerateAPIKey") != 0 || m.user(5001).APIKey != key {
				t.Error("a key was replaced on a tainted mount")
			}
			m.sim.ClearFaults()
			m.vault.taint(false)
			m.restart()
			m.tick()
			if m.user(5001).APIKey == key || m.counted() != 0 {
				t.Error("the key is still valid after the move")
			}
		})
	}
}

// A counted lease keeps its key until it ends. A renewal extends it by the increment.
func TestRenewalExtendsCountedLease(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Minute
	for name, tt := range map[string]struct {
		increment, end time.Duration
	}{
		"nothing":       {0, time.Hour},
		"more":          {3 * time.Hour, 3 * time.Hour},
		"too much":      {100 * time.Hour, 10 * time.Hour},
		"a little less": {50 * time.Minute, time.Hour}, // the lease is never shortened
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			clock := m.freezeClock()
			m.configure(nil)
			m.role("team", fields{"rotate_on_revoke": true, "ttl": "1h", "max_ttl": "10h"})
			key := m.user(5001).APIKey
			secret := m.must(logical.ReadOperation, "creds/team", nil).Secret
			secret.IssueTime, secret.Increment = startTime, tt.increment
			if _, err := m.lease(logical.RenewOperation, secret); err != nil {
				t.Fatal(err)
			}
			clock.advance(tt.end)
			m.tick()
			if m.user(5001).APIKey != key {
				t.Error("the key was replaced before the lease's end")
			}
			clock.advance(grace)
			m.tick()
			if m.user(5001).APIKey == key || m.counted() != 0 {
				t.Error("the key is still valid after the lease's end")
			}
		})
	}
}

// A lease without a valid user ID can be neither renewed nor revoked.
func TestLeaseWithoutUserID(t *testing.T) {
	t.Parallel()
	m, leases := newCountedMount(t, 1)
	for _, data := range []fields{nil, {}, {internalUserID: 5001.0}, {internalUserID: "05001"}} {
		malformed := *leases[0]
		malformed.InternalData = fields{"secret_type": apiKeySecretType}
		maps.Copy(malformed.InternalData, data)
		for _, op := range []logical.Operation{logical.RenewOperation, logical.RevokeOperation} {
			if _, err := m.lease(op, &malformed); err == nil {
				t.Errorf("%s succeeded with %v", op, data)
			}
		}
	}
	m.revoke(leases[0])
}
