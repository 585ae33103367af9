// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A counted lease that Vault has not revoked ends after its own end and a grace. If ECGrid
// is down, that is tried again.
func TestTidyHolders(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := withCountedRoles(t)
		writeRole(t, e, "a", RolePatch{TTL: ptr(time.Hour)})
		l1 := issueCreds(t, e, "a")
		l2 := issueCreds(t, e, "other") // has the mount's TTL
		wantState := func(changes, holders int) {
			t.Helper()
			checkChanges(t, f, changes)
			checkHolders(t, e, holders)
		}
		tickFor(t, e, time.Hour+holderGrace-time.Minute)
		wantState(0, 2)
		f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
		tickFor(t, e, 2*time.Hour)
		wantState(0, 2)
		f.failWith("UserGetAPIKey", nil)
		tickFor(t, e, tidyRetry+time.Minute)
		wantState(1, 1)
		revokeLeases(t, e, l1) // Vault revokes it after all
		e.Close()

		time.Sleep(e.DefaultLeaseTTL())
		e = testEngine(t, f, storage) // the first round of a process reads all records
		e.Tick(t.Context())
		wantState(2, 0)
		if keys := f.now().keys; keys[5001] == l1.APIKey || keys[5002] == l2.APIKey {
			t.Error("a key is valid after its last lease")
		}
	})
}
