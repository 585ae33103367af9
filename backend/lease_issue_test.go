// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"strings"
	"testing"
	"time"
)

// A fingerprint identifies a key without showing it. It is the same after a restart and
// another one on another mount.
func TestFingerprint(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		first, err := e.IssueKey(t.Context(), 5001, 0)
		check(t, err)
		e.Close()
		second, err := testEngine(t, f, storage).IssueKey(t.Context(), 5001, 0)
		check(t, err)
		if first.Lease.Fingerprint != second.Lease.Fingerprint {
			t.Error("two leases of one key have different fingerprints")
		}
		if strings.Contains(first.Lease.Fingerprint, first.APIKey) {
			t.Error("the fingerprint contains the key")
		}
		_, other, _ := configured(t)
		third, err := other.IssueKey(t.Context(), 5001, 0)
		check(t, err)
		if third.Lease.Fingerprint == first.Lease.Fingerprint {
			t.Error("two mounts have the same fingerprint for one key")
		}
	})
}

// A lease is not recorded if the client hangs up before it is issued.
func TestCanceledReadIsNotCounted(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]step{
		"while the key is read":     {op: "UserGetAPIKey"},
		"before the lease is saved": {op: "Put", key: holderPrefix},
		"after the lease is saved":  {op: "Put", key: holderPrefix, done: true},
	} {
		runCase(t, name, func(t *testing.T) {
			f, _, storage := withCountedRoles(t)
			ctx, hangUp := context.WithCancel(t.Context())
			e, _ := startProcess(t, f, storage, func(s step) error {
				if s.op == at.op && s.done == at.done && strings.HasPrefix(s.key, at.key) {
					hangUp()
				}
				return nil
			})
			wantErr(t, errOf(e.IssueCreds(ctx, "a", 0)), context.Canceled)
			checkHolders(t, e, 0)
			time.Sleep(time.Second)
		})
	}
}
