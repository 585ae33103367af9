package backend

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// faultsAndLands answers each change of the password at once, with a fault, and makes
// it later all the same, where the old password is still the current one by then.
type faultsAndLands struct {
	*fakeECGrid
	fault error

	mu   sync.Mutex
	late []time.Duration // of each change in turn; one that is missing never lands
}

func (f *faultsAndLands) ChangePassword(ctx context.Context, id, old, new string) error {
	if err := f.call(ctx, "ChangePassword"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.late) == 0 {
		return opError("ChangePassword", f.fault)
	}
	late := f.late[0]
	f.late = f.late[1:]
	go func() {
		time.Sleep(late)
		f.set(func() {
			if f.password == old {
				f.password = new
			}
		})
	}()
	return opError("ChangePassword", f.fault)
}

func (f *faultsAndLands) engine(raw logical.Storage) *Engine {
	return testEngineAt(f.fakeECGrid, raw, func(ecgrid.Endpoint) (ecgrid.Client, error) { return f, nil })
}

// faulting is a configured engine at an ECGrid that answers the first change with a fault
// and makes it all the same, so much later.
func faulting(t *testing.T, later time.Duration) (*faultsAndLands, *Engine, logical.Storage) {
	t.Helper()
	f := &faultsAndLands{fakeECGrid: newFake(), fault: ecgrid.ErrFault, late: []time.Duration{later}}
	_, raw := configured(t, f.fakeECGrid)
	return f, f.engine(raw), raw
}

// holdsPasswordOfNow checks that storage has the password that ECGrid has, in use or kept.
func holdsPasswordOfNow(t *testing.T, f *fakeECGrid, raw logical.Storage) {
	t.Helper()
	if !storesPasswordOfNow(t, f, raw) {
		t.Errorf("the password that ECGrid has is stored nowhere (%d kept)", len(storedConfig(t, raw).Pending))
	}
}

func storesPasswordOfNow(t *testing.T, f *fakeECGrid, raw logical.Storage) bool {
	c, now := storedConfig(t, raw), f.passwordOfNow()
	return c.Password == now || slices.ContainsFunc(c.Pending, func(p Pending) bool { return p.Password == now })
}

// A change that ECGrid answers with a fault may still be made: no number of further
// tries within its 24 h may push it out.
func TestAttackFurtherTriesForgetNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, e, raw := faulting(t, 5*time.Minute)
		for range 4 {
			if _, err := e.RotateRoot(t.Context()); err == nil {
				t.Fatal("it was refused")
			}
			time.Sleep(time.Second)
		}
		e.Close()
		time.Sleep(10 * time.Minute) // the first lands
		next := f.engine(raw)        // and the node has changed
		defer next.Close()
		holdsPasswordOfNow(t, f.fakeECGrid, raw)
		for range 120 {
			_, _ = next.IssueKey(t.Context(), 5001, 0)
			time.Sleep(time.Minute)
		}
		settled(t, f.fakeECGrid, next, raw)
	})
}

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
		if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("got %v", err)
		}
		err := e.DeleteConfig(t.Context(), noManager{})
		time.Sleep(10 * time.Minute)
		if err == nil && f.passwordOfNow() != "right" {
			t.Error("the password that ECGrid has now was deleted after a 409 that said it may come")
		}
	})
}

// While an earlier order may land once more, the password that it sets stays a
// candidate, whoever replaces it: rotate-root or an operator.
func TestAttackOperatorsWriteWhileAnOrderMayLandAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.early = true
		f.late = []time.Duration{2 * time.Hour}
		e, raw := configured(t, f)
		defer e.Close()
		if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Minute)
		settled(t, f, e, raw) // by the second order
		if c := storedConfig(t, raw); c.RepeatUntil.IsZero() {
			t.Fatal("the first order is forgotten")
		}
		time.Sleep(time.Hour)
		f.set(func() { f.password = "by support" })
		if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("by support")}, noManager{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour) // the first order lands
		holdsPasswordOfNow(t, f, raw)
		for range 60 {
			_, _ = e.IssueKey(t.Context(), 5001, 0)
			time.Sleep(time.Minute)
		}
		settled(t, f, e, raw)
	})
}

// Passwords that storage does not keep any more must not be tried either: after a
// minute in which logins are refused (a full session table) reads work again within
// the quarter of an hour that the pace takes.
func TestAttackDroppedPasswordsAreNotTried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, raw := configured(t, f)
		defer e.Close()
		f.failWith("ChangePassword", ecgrid.ErrAccessDenied)
		for range 24 {
			_, _ = e.RotateRoot(t.Context())
			ticks(t, e, raw, time.Hour)
		}
		t.Logf("storage keeps %d", len(storedConfig(t, raw).Pending))
		f.killSessions()
		f.failWith("Login", ecgrid.ErrAuthentication)
		began := time.Now()
		for f.count("Login") >= 0 {
			if time.Since(began) >= time.Minute {
				f.failWith("Login", nil)
			}
			if _, err := e.IssueKey(t.Context(), 5001, 0); err == nil {
				break
			}
			if time.Since(began) > 24*time.Hour {
				break
			}
			time.Sleep(10 * time.Second)
		}
		if took := time.Since(began); took > 31*time.Minute {
			t.Errorf("reads failed for %s after one minute of refusals", took)
		}
	})
}
