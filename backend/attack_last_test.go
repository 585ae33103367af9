package backend

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The same as TestAttackFurtherTriesForgetNothing, by the schedule alone: its own
// retries are enough.
func TestAttackScheduledTriesForgetNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &faultsAndLands{fakeECGrid: newFake(), fault: ecgrid.ErrFault, late: []time.Duration{20 * time.Minute}}
		first, raw := configured(t, f.fakeECGrid)
		if err := first.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}}, noManager{}); err != nil {
			t.Fatal(err)
		}
		first.Close()
		e := f.engine(raw)
		ticks(t, e, raw, 90*time.Minute)
		e.Close()
		holdsPasswordOfNow(t, f.fakeECGrid, raw)
	})
}

// With four candidates the pace lets three be tried in a quarter of an hour. Where that
// goes on is not forgotten with the process: else the fourth is never tried.
func TestAttackRestartsReachEveryCandidate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, e, raw := faulting(t, 5*time.Minute)
		for range 3 {
			_, _ = e.RotateRoot(t.Context())
		}
		e.Close()
		time.Sleep(10 * time.Minute) // the first, which is the last candidate, lands
		for range 36 {
			e = f.engine(raw)
			for range 10 {
				if _, err := e.IssueKey(t.Context(), 5001, 0); err == nil {
					e.Close()
					return
				}
				time.Sleep(time.Minute)
			}
			e.Close()
		}
		holdsPasswordOfNow(t, f.fakeECGrid, raw)
		t.Errorf("no read worked in 6 hours of a process that restarts every 10 minutes; %d refused logins", f.refusedLogins())
	})
}

// What is kept in case it lands makes no quarter of an hour out of one moment in which
// logins are refused (a full session table).
func TestAttackKeptPasswordsAndAFullTable(t *testing.T) {
	t.Parallel()
	for name, rotations := range map[string]int{"nothing kept": 0, "one kept": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, _ := configured(t, f)
				defer e.Close()
				f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
				for range rotations {
					_, _ = e.RotateRoot(t.Context())
				}
				time.Sleep(time.Hour)
				f.failWith("Login", ecgrid.ErrAuthentication)
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				f.failWith("Login", nil)
				began := time.Now()
				for time.Since(began) < time.Hour {
					if _, err := e.IssueKey(t.Context(), 5001, 0); err == nil {
						break
					}
					time.Sleep(time.Second)
				}
				if took := time.Since(began); took > 2*time.Minute {
					t.Errorf("reads failed for %s after one moment", took)
				}
			})
		})
	}
}

// Rotate-root has answered that its order may still be made: the password of that order
// is the only copy, and no delete drops it.
func TestAttackDeleteWhileAnOrderMayLand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, e, _ := faulting(t, 5*time.Minute)
		defer e.Close()
		if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatalf("got %v", err)
		}
		err := e.DeleteConfig(t.Context(), noManager{})
		time.Sleep(10 * time.Minute)
		if err == nil && f.passwordOfNow() != "right" {
			t.Error("the password that ECGrid has now was deleted after a 409 that said it may come")
		}
	})
}
