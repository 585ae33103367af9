package ecgrid

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func (m *testMount) renew(secret *logical.Secret) (*logical.Response, error) {
	return m.backend.HandleRequest(m.t.Context(), &logical.Request{
		Operation: logical.RenewOperation, Secret: secret, Storage: m.storage,
	})
}

func (m *testMount) revoke(secret *logical.Secret) {
	m.t.Helper()
	if err := m.tryRevoke(secret); err != nil {
		m.t.Errorf("revoke: %v", err)
	}
}

func (m *testMount) tryRevoke(secret *logical.Secret) error {
	m.t.Helper()
	resp, err := m.backend.HandleRequest(m.t.Context(), &logical.Request{
		Operation: logical.RevokeOperation, Secret: secret, Storage: m.storage,
	})
	m.noSecrets(resp, err)
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return err
}

// counted is how many leases are counted.
func (m *testMount) counted() int {
	m.t.Helper()
	leases, err := logical.CollectKeys(m.t.Context(), logical.NewStorageView(m.storage, "lease/"))
	if err != nil {
		m.t.Fatal(err)
	}
	return len(leases)
}

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
		"replaced over a restart": {func(m *testMount) {
			m.sim.ReplaceKey(5001)
			m.backend = m.serve()
		}, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h"})
			secret := m.must(logical.ReadOperation, "keys/5001", nil).Secret
			tt.change(m)
			resp, err := m.renew(secret)
			m.noSecrets(resp, err)
			if (err == nil && !resp.IsError()) != tt.renewed {
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

// counting gives a mount with leases of a role with rotate_on_revoke.
func counting(t *testing.T, leases int) (*testMount, []*logical.Secret) {
	t.Helper()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", map[string]any{fieldRotateOnRevoke: true})
	var secrets []*logical.Secret
	for range leases {
		secrets = append(secrets, m.must(logical.ReadOperation, "creds/team", nil).Secret)
	}
	return m, secrets
}

// The last lease of a key ends it, once; whatever else holds it.
func TestRotateOnRevoke(t *testing.T) {
	t.Parallel()
	m, leases := counting(t, 2)
	m.role("other", map[string]any{fieldRotateOnRevoke: true})
	m.role("plain", nil)
	leases = append(leases, m.must(logical.ReadOperation, "creds/other", nil).Secret)
	uncounted := []*logical.Secret{
		m.must(logical.ReadOperation, "creds/plain", nil).Secret,
		m.must(logical.ReadOperation, "keys/5001", nil).Secret,
	}
	key := m.user(5001).APIKey
	m.revoke(uncounted[0])
	m.must(logical.DeleteOperation, "roles/team", nil) // it was decided when they were issued
	m.must(logical.UpdateOperation, "roles/other", map[string]any{fieldRotateOnRevoke: false})
	for _, lease := range leases[:2] {
		m.revoke(lease)
		if m.user(5001).APIKey != key {
			t.Fatal("the key was replaced while another lease of it was out")
		}
	}
	m.restart()
	m.revoke(leases[2])
	if m.user(5001).APIKey == key || m.counted() != 0 {
		t.Error("the last lease did not end the key")
	}
	for _, lease := range leases {
		m.revoke(lease)
	}
	m.revoke(uncounted[1])
	if n := m.sim.Count("GenerateAPIKey"); n != 1 {
		t.Errorf("the key was replaced %d times", n)
	}
	if m.holdsSecret(m.log.String()) {
		t.Error("the log holds a secret")
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
			m.must(logical.UpdateOperation, "config", map[string]any{fieldAPIKey: m.user(5001).APIKey})
		}, true, 0},
		"ECGrid is down":            {fault(simulator.Fault{Answer: simulator.AnswerReset}), false, 1},
		"ECGrid is down for that":   {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset}), false, 2},
		"ECGrid does not say":       {fault(simulator.Fault{Op: "UserGetAPIKey", Cause: simulator.SystemError}), false, 1},
		"denied":                    {fault(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied}), false, 2},
		"the answer is lost":        {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter}), true, 1},
		"lost, and then silence":    {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerResetAfter, After: silence}), false, 1},
		"replaced in the same call": {fault(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset, Before: func(s *simulator.Simulator) { s.ReplaceKey(5001) }}), true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, leases := counting(t, 1)
			key := m.user(5001).APIKey
			tt.change(m)
			if err := m.tryRevoke(leases[0]); (err == nil) != tt.revoked {
				t.Errorf("revoked: %v", err)
			}
			if (m.counted() == 0) != tt.revoked {
				t.Errorf("%d leases are counted", m.counted())
			}
			m.sim.ClearFaults()
			m.revoke(leases[0]) // Vault tries again, and may do so after a success too
			if m.counted() != 0 {
				t.Error("the lease is counted for good")
			}
			if n := m.sim.Count("GenerateAPIKey"); n != tt.replaced {
				t.Errorf("GenerateAPIKey was called %d times", n)
			}
			if u, exists := m.sim.User(5001); tt.replaced > 0 && exists && u.APIKey == key {
				t.Error("the leased key lives on")
			}
			if m.holdsSecret(m.log.String()) {
				t.Error("the log holds a secret")
			}
		})
	}
}

// While a mount is being removed no key is replaced, and leases that are left behind
// hold nothing up. Where it is moved, what they should have ended is ended after that.
func TestRevokeOfATaintedMount(t *testing.T) {
	t.Parallel()
	for name, down := range map[string]bool{"ECGrid is up": false, "ECGrid is down": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, leases := counting(t, 3)
			key := m.user(5001).APIKey
			if down {
				silence(m.sim.Simulator)
			}
			m.vault.taint(true)
			for _, lease := range append(leases, leases[0]) {
				m.revoke(lease)
			}
			m.tick()
			if m.sim.Count("GenerateAPIKey") != 0 || m.user(5001).APIKey != key {
				t.Error("the end of the mount replaced a key")
			}
			m.sim.ClearFaults()
			m.vault.taint(false)
			m.restart()
			m.tick()
			if m.user(5001).APIKey == key || m.counted() != 0 {
				t.Error("the key lives on after the move")
			}
		})
	}
}

// A counted lease holds its key until its own end, which a renewal moves by what the
// client asks for.
func TestRenewalExtendsTheCount(t *testing.T) {
	t.Parallel()
	const grace = 3 * time.Minute
	for name, tt := range map[string]struct {
		increment, end time.Duration
	}{
		"nothing":       {0, time.Hour},
		"more":          {3 * time.Hour, 3 * time.Hour},
		"too much":      {100 * time.Hour, 10 * time.Hour},
		"a little less": {50 * time.Minute, time.Hour}, // what was promised stays
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			clock := m.freeze()
			m.configure(nil)
			m.role("team", map[string]any{fieldRotateOnRevoke: true, fieldTTL: "1h", fieldMaxTTL: "10h"})
			key := m.user(5001).APIKey
			secret := m.must(logical.ReadOperation, "creds/team", nil).Secret
			secret.IssueTime, secret.Increment = begin, tt.increment
			if _, err := m.renew(secret); err != nil {
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
				t.Error("the key lives on after the lease's end")
			}
		})
	}
}

// A lease of an engine that remembered less.
func TestLeaseWithoutAUser(t *testing.T) {
	t.Parallel()
	m, leases := counting(t, 1)
	for _, data := range []map[string]any{nil, {}, {internalUserID: 5001.0}, {internalUserID: "05001"}} {
		strange := *leases[0]
		strange.InternalData = map[string]any{"secret_type": apiKeySecretType}
		for name, value := range data {
			strange.InternalData[name] = value
		}
		if resp, err := m.renew(&strange); err == nil && !resp.IsError() {
			t.Error("renewed")
		}
		if err := m.tryRevoke(&strange); err == nil {
			t.Error("revoked")
		}
	}
	m.revoke(leases[0])
}
