// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestConcurrentReadsShareOneLogin(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(fields{"verify_connection": false})
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := m.do(logical.ReadOperation, "keys/5001", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if state := m.sim.State(); m.sim.Count("Login") != 1 || state.MaxOpenSessions != 1 {
		t.Errorf("%d logins, %d sessions at once", m.sim.Count("Login"), state.MaxOpenSessions)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
}

// Config writes, rotations, reads, renewals and revocations run at the same time. In
// the end, the stored password is ECGrid's.
func TestRotateConcurrently(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", fields{"rotate_on_revoke": true})
	m.role("plain", fields{"rotation_period": "1h"})
	var wg sync.WaitGroup
	repeat := func(workers, times int, work func(i int)) {
		for range workers {
			wg.Go(func() {
				for i := range times {
					work(i)
				}
			})
		}
	}
	one := func(op logical.Operation, path string, data fields) *logical.Response {
		resp, err := m.do(op, path, data)
		status := statusOf(resp, err)
		if status != http.StatusOK && status != http.StatusServiceUnavailable { // 503 if the config was replaced twice during one read
			t.Errorf("%s %s: %d %v", op, path, status, err)
		}
		return resp
	}
	repeat(1, 8, func(i int) { one(logical.UpdateOperation, "config", fields{"ttl": i + 60}) })
	repeat(1, 4, func(i int) {
		one(logical.PatchOperation, "config", fields{"key_cache_ttl": i, "verify_connection": true})
	})
	repeat(2, 5, func(int) { one(logical.UpdateOperation, "rotate-root", nil) })
	repeat(2, 5, func(int) { one(logical.UpdateOperation, "rotate-key/5001", nil) })
	repeat(1, 5, func(int) { one(logical.UpdateOperation, "rotate-role/plain", nil) })
	repeat(3, 10, func(int) { one(logical.ReadOperation, "keys/5002", nil) })
	repeat(3, 6, func(int) {
		if resp := one(logical.ReadOperation, "creds/team", nil); resp != nil && resp.Secret != nil {
			_, _ = m.lease(logical.RenewOperation, resp.Secret)
			m.revoke(resp.Secret)
		}
	})
	wg.Wait()
	m.expectResolved()
	state := m.sim.State()
	if state.RefusedLogins != 0 || state.MaxOpenSessions > simulator.DefaultSessionCap {
		t.Errorf("%d refused logins, %d sessions at once", state.RefusedLogins, state.MaxOpenSessions)
	}
	if n := m.counted(); n != 0 {
		t.Errorf("%d leases are still counted", n)
	}
}

// The framework asks Vault for the replication state and the kind of the mount in every
// request. Each is a call back to Vault, so they are asked once.
func TestReadsDoNotCallVault(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	known := m.vault.ReplicationStateVal
	m.vault.ReplicationStateVal = consts.ReplicationUnknown
	m.backend = m.serve()
	m.configure(nil) // what could not be asked is not cached
	m.vault.ReplicationStateVal = known
	m.must(logical.ReadOperation, "keys/5001", nil)
	before := m.vault.asked.Load()
	for range 20 {
		m.must(logical.ReadOperation, "keys/5001", nil)
	}
	if n := m.vault.asked.Load() - before; n != 0 || before == 0 {
		t.Errorf("%d calls back to Vault by 20 reads, %d before", n, before)
	}
}
