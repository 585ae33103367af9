// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// Each step of an issue and two revokes is broken. Then Vault tries the revokes again. No
// key is replaced while it has another lease. In the end the key was replaced once.
func TestCountedLeasesEachStepBroken(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	breakEachStep(t, 25, func(t *testing.T, b *breakage) {
		f, e, storage := withCountedRoles(t)
		first := issueCreds(t, e, "a")
		e.Close()
		var second atomic.Pointer[Issued] // nil if Vault did not get it
		e, killed := b.run(t, f, storage, func(e *Engine) {
			issued, err := e.IssueCreds(ctx, "b", 0)
			if err == nil && !b.process.isDead() {
				second.Store(&issued)
			}
			_ = e.RevokeLease(ctx, first.Lease)
			if err != nil {
				return
			}
			if len(f.now().changes) != 0 && !b.process.isDead() {
				t.Errorf("%s: the key was replaced, but it still has a lease", b)
			}
			_ = e.RevokeLease(ctx, issued.Lease)
		})
		if !killed {
			e.Close()
		}
		e = testEngine(t, f, storage)
		time.Sleep(2 * time.Minute) // a refused login pauses the next
		revokeLeases(t, e, first)
		if second := second.Load(); second != nil {
			revokeLeases(t, e, *second)
		}
		// A lease that Vault did not get ends by itself.
		time.Sleep(e.MaxLeaseTTL() + holderGrace)
		e.Tick(t.Context())
		if len(f.now().changes) != 1 || f.now().keys[5001] == first.APIKey || countHolders(t, e) != 0 {
			t.Errorf("%s: %d changes, %d leases recorded", b, len(f.now().changes), countHolders(t, e))
		}
	})
}

// Each step of an issue and a revoke is broken, and Vault does not try again. In the end
// the key was replaced and no lease is recorded.
func TestLastCountedLeaseEachStepBroken(t *testing.T) {
	t.Parallel()
	breakEachStep(t, 0, func(t *testing.T, b *breakage) {
		f, e, storage := configured(t)
		writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(true)})
		var leased atomic.Pointer[Issued] // nil if Vault did not get it
		e, killed := b.run(t, f, storage, func(e *Engine) {
			issued, err := e.IssueCreds(context.Background(), "a", time.Hour)
			if err != nil {
				return
			}
			leased.Store(&issued)
			_ = e.RevokeLease(context.Background(), issued.Lease)
		})
		if killed {
			e = testEngine(t, f, storage)
		}
		tickFor(t, e, 2*time.Hour)
		if l := leased.Load(); l != nil && f.now().keys[5001] == l.APIKey {
			t.Errorf("%s: the key was not replaced", b)
		}
		if n := countHolders(t, e); n != 0 {
			t.Errorf("%s: %d leases are recorded", b, n)
		}
	})
}
