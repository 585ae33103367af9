// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// faultThenApply is configured with an ECGrid that answers each change of the password
// with a fault. It applies the first one all the same after a delay.
func faultThenApply(t *testing.T, delay time.Duration) (*fakeECGrid, *Engine, *logical.InmemStorage) {
	t.Helper()
	f, e, storage := configured(t)
	f.fault, f.applyAfter = ecgrid.ErrFault, []time.Duration{delay}
	return f, e, storage
}

// readFor reads a key once a minute.
func readFor(e *Engine, d time.Duration) {
	for range d / time.Minute {
		_, _ = e.IssueKey(context.Background(), 5001, 0)
		time.Sleep(time.Minute)
	}
}

// readUntilItWorks reads a key again and again, and returns after how long it works.
func readUntilItWorks(e *Engine, pause time.Duration) (took time.Duration) {
	began := time.Now()
	for time.Since(began) < 24*time.Hour {
		if _, err := e.IssueKey(context.Background(), 5001, 0); err == nil {
			break
		}
		time.Sleep(pause)
	}
	return time.Since(began)
}

// ECGrid may still apply a change that it answered with a fault. More tries within its
// 24 hours do not displace its password.
func TestMoreTriesKeepRefusedPassword(t *testing.T) {
	t.Parallel()
	runCase(t, "by request", func(t *testing.T) {
		f, e, storage := faultThenApply(t, 5*time.Minute)
		for range 4 {
			if _, err := e.RotateRoot(t.Context()); err == nil {
				t.Fatal("rotate-root succeeded, but ECGrid answered with a fault")
			}
			time.Sleep(time.Second)
		}
		e.Close()
		time.Sleep(10 * time.Minute) // the first change is applied
		e = testEngine(t, f, storage)
		checkPasswordStored(t, f, e)
		readFor(e, 2*time.Hour)
		checkHealthy(t, f, e)
	})
	runCase(t, "by schedule", func(t *testing.T) {
		f, e, _ := faultThenApply(t, 20*time.Minute)
		writeConfig(t, e, ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		tickFor(t, e, 90*time.Minute)
		e.Close()
		checkPasswordStored(t, f, e)
	})
}

// With four candidates the pacing allows three tries in 15 minutes. A restart does not
// begin again with the first, or the fourth would never be tried.
func TestRestartsReachEveryCandidate(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := faultThenApply(t, 5*time.Minute)
		for range 3 {
			_, _ = e.RotateRoot(t.Context())
		}
		e.Close()
		time.Sleep(10 * time.Minute) // the first change is applied; its password is the last candidate
		for range 36 {
			e = testEngine(t, f, storage)
			for range 10 {
				if _, err := e.IssueKey(t.Context(), 5001, 0); err == nil {
					return
				}
				time.Sleep(time.Minute)
			}
			e.Close()
		}
		checkPasswordStored(t, f, e)
		t.Errorf("no read worked in 6 hours with a restart every 10 minutes; %d logins were refused", len(f.now().refused))
	})
}

// After a moment in which logins are refused, as with a full session table, reads soon
// work again. Kept passwords do not prolong that.
func TestReadsAfterRefusedLogins(t *testing.T) {
	t.Parallel()
	for name, rotations := range map[string]int{"nothing kept": 0, "one password kept": 1} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
			for range rotations {
				_, _ = e.RotateRoot(t.Context())
			}
			time.Sleep(time.Hour)
			f.failWith("Login", ecgrid.ErrAuthentication)
			_, _ = e.IssueKey(t.Context(), 5001, 0)
			f.failWith("Login", nil)
			if took := readUntilItWorks(e, time.Second); took > 2*time.Minute {
				t.Errorf("reads failed for %s", took)
			}
		})
	}
	runCase(t, "passwords that are not kept any more", func(t *testing.T) {
		f, e, _ := configured(t)
		f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
		for range 24 {
			_, _ = e.RotateRoot(t.Context())
			tickFor(t, e, time.Hour)
		}
		f.set(func() { clear(f.sessions) })
		f.failWith("Login", ecgrid.ErrAuthentication)
		time.AfterFunc(time.Minute, func() { f.failWith("Login", nil) })
		if took := readUntilItWorks(e, 10*time.Second); took > 31*time.Minute {
			t.Errorf("reads failed for %s, with %d passwords kept", took, len(storedConfig(t, e).Pending))
		}
	})
}

// The config is not deleted while it has the only copy of a password that ECGrid may
// still apply.
func TestDeleteConfigWhileChangeMayBeApplied(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := faultThenApply(t, 5*time.Minute)
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
		err := e.DeleteConfig(t.Context(), noManager{})
		time.Sleep(10 * time.Minute)
		if err == nil && f.now().password != "right" {
			t.Error("the config was deleted with the only copy of the password that ECGrid has now")
		}
	})
}

// While ECGrid may apply an earlier change again, its password stays pending, even if an
// operator writes another one.
func TestOperatorWriteWhileAppliedTwice(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.comparesEarly = true
		f.applyAfter = []time.Duration{2 * time.Hour}
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
		time.Sleep(time.Minute)
		checkHealthy(t, f, e) // the second copy of the change was applied
		if c := storedConfig(t, e); c.RepeatUntil.IsZero() {
			t.Fatal("the config does not know that the change may be applied again")
		}
		time.Sleep(time.Hour)
		f.set(func() { f.password = "by support" })
		writeConfig(t, e, ConfigPatch{Password: ptr("by support")})
		time.Sleep(2 * time.Hour) // the first copy is applied
		checkPasswordStored(t, f, e)
		readFor(e, time.Hour)
		checkHealthy(t, f, e)
	})
}

// ECGrid applies a change after its day is over. If the session still knows the password,
// it is stored again, and rotate-root rotates.
func TestPasswordAppliedAfterItsDay(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := faultThenApply(t, 26*time.Hour)
		_, _ = e.RotateRoot(t.Context())
		tickFor(t, e, 27*time.Hour)
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Skip("the session does not know the password: ", err)
		}
		time.Sleep(time.Hour)
		checkPasswordStored(t, f, e)
		f.set(func() { f.applyAfter = []time.Duration{0} })
		if at, err := e.RotateRoot(t.Context()); err == nil && at.IsZero() {
			t.Error("rotate-root succeeded, but did not rotate")
		}
	})
}
