// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"reflect"
	"testing"
	"time"
)

// taint taints the mount, as while it is being removed or moved. Then no call but Logout
// is expected.
func taint(t *testing.T, f *fakeECGrid) {
	f.tainted.Store(true)
	f.set(func() {
		f.onAny = func(op string) {
			if op != "Logout" {
				t.Errorf("%s was called on a tainted mount", op)
			}
		}
	})
}

// Vault calls PeriodicFunc and revokes leases on a tainted mount. Nothing rotates then.
func TestTaintedMountRotatesNothing(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(e *Engine) error{
		"Tick":        func(e *Engine) error { e.Tick(context.Background()); return ErrTainted },
		"rotate-key":  func(e *Engine) error { return errOf(e.RotateKey(context.Background(), 5001)) },
		"rotate-role": func(e *Engine) error { return errOf(e.RotateRole(context.Background(), "a")) },
		"rotate-root": func(e *Engine) error { return errOf(e.RotateRoot(context.Background())) },
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			hourly := SchedulePatch{Period: ptr(time.Hour)}
			writeConfig(t, e, ConfigPatch{Schedule: hourly})
			writeRole(t, e, "a", RolePatch{Schedule: hourly, RotateOnRevoke: ptr(true)})
			l := issueCreds(t, e, "a")
			time.Sleep(3 * time.Hour) // both rotations are due
			before := storedConfig(t, e)
			taint(t, f)
			wantErr(t, do(e), ErrTainted)
			if r := readRole(t, e, "a"); !reflect.DeepEqual(storedConfig(t, e), before) || r.Rotation.LastError != "" {
				t.Errorf("the config was changed, or the role recorded %q", r.Rotation.LastError)
			}
			revokeLeases(t, e, l)
			time.Sleep(time.Hour)
			checkChanges(t, f, 0)
		})
	}
}

// An unresolved rotate-root is not resolved while the mount is tainted, but afterwards.
func TestTaintedMountResolvesNothing(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.applyAfter = []time.Duration{time.Hour}
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
		f.tainted.Store(true)
		e.Tick(t.Context())
		time.Sleep(30 * time.Minute)
		checkChanges(t, f, 0)
		checkCalls(t, f, "ChangePassword", 1)
		f.tainted.Store(false)
		tickFor(t, e, 2*time.Hour)
		checkHealthy(t, f, e)
	})
}

// `vault secrets move` revokes the leases while the mount is tainted. The keys that had
// their last lease are replaced after the move, by the same process or the next.
func TestMovedMountReplacesKeys(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := withCountedRoles(t)
			l1, l2, l3 := issueCreds(t, e, "a"), issueCreds(t, e, "b"), issueCreds(t, e, "other")
			taint(t, f)
			revokeLeases(t, e, l1, l2, l3, l3)
			e.Tick(t.Context())
			if restart {
				e.Close()
				e = testEngine(t, f, storage)
			}
			time.Sleep(time.Minute)
			f.set(func() { f.onAny = nil })
			f.tainted.Store(false)
			e.Tick(t.Context())
			checkChanges(t, f, 2)
			checkHolders(t, e, 0)
			if keys := f.now().keys; keys[5001] == l1.APIKey || keys[5002] == l3.APIKey {
				t.Error("a key is valid after its last lease")
			}
		})
	}
}
