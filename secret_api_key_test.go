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
	resp, err := m.backend.HandleRequest(m.t.Context(), &logical.Request{
		Operation: logical.RevokeOperation, Secret: secret, Storage: m.storage,
	})
	if err != nil || resp.IsError() {
		m.t.Errorf("revoke: %v", err)
	}
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
