package backend

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
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
	c := storedConfig(t, raw)
	if c.Password == f.passwordOfNow() {
		return
	}
	if !slices.ContainsFunc(c.Pending, func(p Pending) bool { return p.Password == f.passwordOfNow() }) {
		t.Errorf("the password that ECGrid has is stored nowhere (%d kept)", len(c.Pending))
	}
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

// rotatedOnce has the password "right", which an operator wrote, superseded.
func rotatedOnce(t *testing.T) (*Engine, *fakeECGrid, logical.Storage) {
	t.Helper()
	f := newFake()
	storage := new(logical.InmemStorage)
	e := testEngine(f, storage)
	if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e, f, storage
}

// An operator's password that was written without a try, and was seen to work by
// rotate-root, is superseded like any other: written again it must not take the place
// of the one that only Vault knows.
func TestAttackReappliedPasswordThatWasNotVerified(t *testing.T) {
	t.Parallel()
	for name, verify := range map[string]*bool{"written again without a try": ptr(false), "written again with one": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e, f, storage := rotatedOnce(t)
				defer e.Close()
				write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
				f.set(func() { f.password = "by support" }) // after a reset there
				if err := write(ConfigPatch{Password: ptr("by support"), VerifyConnection: ptr(false)}); err != nil {
					t.Fatal(err)
				}
				if _, err := e.RotateRoot(t.Context()); err != nil { // which shows that it works
					t.Fatal(err)
				}
				err := write(ConfigPatch{Password: ptr("by support"), VerifyConnection: verify})
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("a superseded password was taken or tried: %v", err)
				}
				holdsPasswordOfNow(t, f, storage)
				if n := f.refusedLogins(); n != 0 {
					t.Errorf("%d refused logins", n)
				}
			})
		})
	}
}

const theirREST = "https://rest.ecgrid.io/v4.1/prod/ECGridOS.asmx"

// The login is the same account at both of the vendor's endpoints: what is kept, and
// what is remembered of the operator's password, holds there too.
func TestAttackMoveBetweenVendorEndpointsForgetsNothing(t *testing.T) {
	t.Parallel()
	t.Run("a kept password lands", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f, e, raw := faulting(t, 5*time.Minute)
			defer e.Close()
			_, _ = e.RotateRoot(t.Context())
			if err := e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(theirREST)}, noManager{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Minute)
			for range 60 {
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				time.Sleep(time.Minute)
				e.Tick(t.Context())
			}
			settled(t, f.fakeECGrid, e, raw)
		})
	})
	t.Run("a superseded password is written again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e, f, storage := rotatedOnce(t)
			defer e.Close()
			write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
			if err := write(ConfigPatch{URL: ptr(theirREST)}); err != nil {
				t.Fatal(err)
			}
			if c := storedConfig(t, storage); c.Root.Last.IsZero() {
				t.Error("when the password was rotated is forgotten")
			}
			err := write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)})
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("got %v", err)
			}
			holdsPasswordOfNow(t, f, storage)
		})
	})
	t.Run("superseded password and move in one write", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e, f, _ := rotatedOnce(t)
			defer e.Close()
			write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
			_ = write(ConfigPatch{URL: ptr(theirREST), Password: ptr("right")})
			if n := f.refusedLogins(); n != 0 {
				t.Errorf("%d refused logins with a password that is known to be superseded", n)
			}
		})
	})
	t.Run("the pace", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, _ := configured(t, f, func(c *Config) { c.Password = "wrong" })
			defer e.Close()
			for _, to := range []string{theirREST, DefaultURL} {
				for range 10 {
					_, _ = e.IssueKey(t.Context(), 5001, 0)
					time.Sleep(30 * time.Second)
				}
				_ = e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(to), VerifyConnection: ptr(false)}, noManager{})
			}
			if n := f.refusedIn(15 * time.Minute); n > 3 {
				t.Errorf("%d refused logins of one account in 15 minutes", n)
			}
		})
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
		if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatalf("got %v", err)
		}
		time.Sleep(time.Minute)
		settled(t, f, e, raw) // by the second order
		if c := storedConfig(t, raw); c.Unsure.IsZero() {
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

// configPuts fails the Put of the config after it was carried out, while armed.
type configPuts struct {
	logical.Storage
	armed atomic.Bool
}

func (s *configPuts) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if err := s.Storage.Put(ctx, entry); err != nil {
		return err
	}
	if entry.Key == configKey && s.armed.Load() {
		return errAny
	}
	return nil
}

// A write of the config that was stored and answered as failed (a client that hangs up
// is enough) leaves either the old or the new config in use, and storage the same.
func TestAttackConfigStoredAndAnsweredAsFailed(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T, f *fakeECGrid) (*Engine, *configPuts) {
		_, raw := configured(t, f)
		s := &configPuts{Storage: raw}
		return testEngine(f, s), s
	}
	t.Run("a new password is used", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, s := prepare(t, f)
			defer e.Close()
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatal(err)
			}
			f.set(func() { f.password = "by support" })
			s.armed.Store(true)
			if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("by support")}, noManager{}); err == nil {
				t.Fatal("storage did not fail")
			}
			s.armed.Store(false)
			time.Sleep(time.Hour)
			settled(t, f, e, s)
			if n := f.refusedLogins(); n != 0 {
				t.Errorf("%d refused logins with a password that is not stored any more", n)
			}
		})
	})
	t.Run("one that works is not overwritten by one that did", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, s := prepare(t, f)
			defer e.Close()
			f.failWith("ChangePassword", ecgrid.ErrTimeout)
			if _, err := e.RotateRoot(t.Context()); err == nil {
				t.Fatal("it is in doubt")
			}
			f.set(func() { f.password = "by support" })
			f.failWith("ChangePassword", nil)
			s.armed.Store(true)
			if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("by support")}, noManager{}); err == nil {
				t.Fatal("storage did not fail")
			}
			s.armed.Store(false)
			holdsPasswordOfNow(t, f, s)
			time.Sleep(time.Hour)
			holdsPasswordOfNow(t, f, s)
		})
	})
	t.Run("rotate-root does not say that it rotated", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, s := prepare(t, f)
			defer e.Close()
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatal(err)
			}
			s.armed.Store(true)
			if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("typo"), VerifyConnection: ptr(false)}, noManager{}); err == nil {
				t.Fatal("storage did not fail")
			}
			s.armed.Store(false)
			at, err := e.RotateRoot(t.Context())
			if err == nil && (at.IsZero() || f.count("ChangePassword") == 0) {
				t.Errorf("answered as done at %v, after %d changes", at, f.count("ChangePassword"))
			}
		})
	})
}

// A password that was kept, dropped after its day and lands then: the session finds
// it; it has to be stored, and rotate-root has to rotate.
func TestAttackAPasswordThatTheSessionKnowsIsStored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, e, raw := faulting(t, 26*time.Hour)
		defer e.Close()
		_, _ = e.RotateRoot(t.Context())
		ticks(t, e, raw, 27*time.Hour)
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Skip("the session does not know it: ", err)
		}
		time.Sleep(time.Hour)
		holdsPasswordOfNow(t, f.fakeECGrid, raw)
		f.mu.Lock()
		f.late = []time.Duration{0}
		f.mu.Unlock()
		if at, err := e.RotateRoot(t.Context()); err == nil && at.IsZero() {
			t.Error("rotate-root answered as done, and did nothing")
		}
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

// Logouts that are owed are tried again, but not all of a day before each Login and
// all at once.
func TestAttackOwedLogoutsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.cap = 1 << 20
		e, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = 0 })
		defer e.Close()
		f.failWith("Logout", ecgrid.ErrServerFault)
		const reads = 200
		for range reads {
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		notes, err := raw.List(t.Context(), sessionPrefix)
		if err != nil || f.count("Logout") > 17*reads || len(notes) > reads {
			t.Errorf("%d reads made %d Logouts and %d notes: %v", reads, f.count("Logout"), len(notes), err)
		}
	})
}

// An order that was sent is never answered with a 5xx, which clients repeat.
func TestAttackSentAndStorageFails(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{ecgrid.ErrAccessDenied, ecgrid.ErrFault} {
		t.Run(kind.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := configured(t, f)
				storage := &configPuts{Storage: raw}
				e := testEngine(f, storage)
				defer e.Close()
				f.whenever(func(op string) {
					if op == "ChangePassword" {
						storage.armed.Store(true)
					}
				})
				f.failWith("ChangePassword", kind)
				_, err := e.RotateRoot(t.Context())
				if status, _, ok := Describe(err); !ok || status != http.StatusConflict {
					t.Errorf("answered %d (0 is Vault's 500): %v", status, err)
				}
			})
		})
	}
}

// A node that is told of a changed config in the midst of a rotate-root goes on
// without anybody's reads.
func TestAttackInvalidateDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]string{"before the change": "WhoAmI", "at the change": "ChangePassword"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, raw := configured(t, f)
				defer e.Close()
				var once sync.Once
				f.whenever(func(called string) {
					if called == op {
						once.Do(func() { e.Invalidate(configKey) })
					}
				})
				_, _ = e.RotateRoot(t.Context())
				ticks(t, e, raw, 30*time.Minute)
				if _, err := e.RotateRoot(t.Context()); err != nil {
					t.Errorf("half an hour later: %v", err)
				}
				if live := storedConfig(t, raw).livePending(); live != nil {
					t.Error("not settled")
				}
			})
		})
	}
}

// One entry that cannot be read does not keep the others from being done.
func TestAttackOneUnreadableEntry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		first, raw := configured(t, f)
		writeRole(t, first, raw, "b", RolePatch{UserID: ptr(int32(5001)), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		first.Close()
		if err := raw.Put(t.Context(), &logical.StorageEntry{Key: rolePrefix + "a", Value: []byte("no JSON")}); err != nil {
			t.Fatal(err)
		}
		e := testEngine(f, raw)
		defer e.Close()
		ticks(t, e, raw, 24*time.Hour)
		if n := f.count("GenerateAPIKey"); n < 20 {
			t.Errorf("%d rotations of role b in a day", n)
		}
	})
}

// What the calendar is told while it is filled is newer than what filling finds.
func TestAttackCalendarIsNotOverwritten(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(time.Hour)
	for i := range 200_000 {
		c := newCalendar()
		var told sync.WaitGroup
		list := func(context.Context) ([]string, error) { return []string{"a"}, nil }
		read := func(context.Context, string) (time.Time, error) {
			told.Go(func() { c.set("a", at) })
			return time.Time{}, nil
		}
		if err := c.fill(t.Context(), list, read); err != nil {
			t.Fatal(err)
		}
		told.Wait()
		if len(c.at) == 0 && len(c.todo) == 0 {
			t.Fatalf("try %d: a role that was just given a schedule is never looked at", i)
		}
	}
}

// An operator's working credential ends a rotate-root that is not settled; config does
// not go on to say that it is not.
func TestAttackLastErrorEndsWithItsCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, raw := configured(t, f)
		defer e.Close()
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
		_, _ = e.RotateRoot(t.Context())
		time.Sleep(time.Minute)
		f.set(func() { f.password = "by support" })
		f.failWith("ChangePassword", nil)
		if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("by support")}, noManager{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if c := storedConfig(t, raw); c.livePending() == nil && c.Root.LastError != "" {
			t.Error("settled an hour ago, and last_root_rotation_error still says that it is not")
		}
	})
}
