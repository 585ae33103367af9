// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// failAfterEffect is configured with a storage in which an operation on the config fails
// after it took effect, while armed. A client that hangs up is enough for that.
func failAfterEffect(t *testing.T, op string) (f *fakeECGrid, e *Engine, armed *atomic.Bool) {
	t.Helper()
	f, _, storage := configured(t)
	armed = new(atomic.Bool)
	e, _ = startProcess(t, f, storage, func(s step) error {
		if s == (step{op: op, key: configKey, done: true}) && armed.Load() {
			return errAny
		}
		return nil
	})
	return f, e, armed
}

// A config write whose Put took effect and then failed leaves the stored config in use.
func TestConfigPutFailsAfterEffect(t *testing.T) {
	t.Parallel()
	failedWrite := func(t *testing.T, e *Engine, armed *atomic.Bool, patch ConfigPatch) {
		t.Helper()
		armed.Store(true)
		wantErr(t, e.WriteConfig(t.Context(), patch, noManager{}), errAny)
		armed.Store(false)
	}
	runCase(t, "new password", func(t *testing.T) {
		f, e, armed := failAfterEffect(t, "Put")
		readKey(t, e, 5001)
		f.set(func() { f.password = "by support" })
		failedWrite(t, e, armed, ConfigPatch{Password: ptr("by support")})
		time.Sleep(time.Hour)
		checkHealthy(t, f, e)
		checkRefused(t, f, 0)
	})
	runCase(t, "new password during an unresolved rotate-root", func(t *testing.T) {
		f, e, armed := failAfterEffect(t, "Put")
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
		f.set(func() { f.password = "by support" })
		f.failWith("ChangePassword", nil)
		failedWrite(t, e, armed, ConfigPatch{Password: ptr("by support")})
		checkPasswordStored(t, f, e)
		time.Sleep(time.Hour)
		checkPasswordStored(t, f, e)
	})
	runCase(t, "rotate-root after it", func(t *testing.T) {
		f, e, armed := failAfterEffect(t, "Put")
		readKey(t, e, 5001)
		failedWrite(t, e, armed, ConfigPatch{Password: ptr("typo"), VerifyConnection: ptr(false)})
		at, err := e.RotateRoot(t.Context())
		if err == nil && (at.IsZero() || f.now().calls["ChangePassword"] == 0) {
			t.Errorf("rotate-root returned %s after %d calls of ChangePassword", at, f.now().calls["ChangePassword"])
		}
	})
}

// A delete that took effect and then failed leaves no login in use.
func TestConfigDeleteFailsAfterEffect(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, armed := failAfterEffect(t, "Delete")
		readKey(t, e, 5001)
		armed.Store(true)
		wantErr(t, e.DeleteConfig(t.Context(), noManager{}), errAny)
		time.Sleep(time.Hour)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ErrNotConfigured)
	})
}

// If the result of a change that was sent cannot be stored, rotate-root returns 409.
// Clients repeat a 5xx.
func TestRotateRootResultNotStored(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{ecgrid.ErrAccessDenied, ecgrid.ErrFault} {
		runCase(t, kind.Error(), func(t *testing.T) {
			f, e, armed := failAfterEffect(t, "Put")
			f.on("ChangePassword", func() { armed.Store(true) })
			f.failWith("ChangePassword", kind)
			wantStatus(t, errOf(e.RotateRoot(t.Context())), http.StatusConflict)
		})
	}
}

// From some write on nothing can be written to storage any more, as after a step-down. The
// process goes on for a while. Then the next one completes the rotate-root.
func TestStorageGoneDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{0, 20 * time.Second, 2 * time.Minute} {
		for _, done := range []bool{false, true} {
			for nth := int32(1); nth < 14; nth++ {
				runCase(t, fmt.Sprintf("applied after %s, from write %d on, done: %t", delay, nth, done), func(t *testing.T) {
					f, _, storage := configured(t)
					f.applyAfter = []time.Duration{delay}
					var writes atomic.Int32
					e, _ := startProcess(t, f, storage, func(s step) error {
						if (s.op == "Put" || s.op == "Delete") && s.done == done && writes.Add(1) >= nth {
							return errAny
						}
						return nil
					})
					_, _ = e.RotateRoot(t.Context())
					for range 3 {
						_, _ = e.IssueKey(t.Context(), 5001, 0)
						time.Sleep(10 * time.Second)
					}
					e.Close()
					next := testEngine(t, f, storage)
					next.Start()
					tickFor(t, next, 30*time.Minute)
					checkHealthy(t, f, next)
					checkRefused(t, f, 3)
					checkSessions(t, f, 1)
				})
			}
		}
	}
}
