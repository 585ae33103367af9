package backend

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// within fails unless do ends in that time.
func within(t *testing.T, most time.Duration, what string, do func() error) {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if took := time.Since(began); took > most {
		t.Errorf("%s took %s, more than %s", what, took, most)
	}
}

// 300 counted reads of one user at once need the time of one, at any latency.
func TestCountedReadsAtOnce(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{0, 20 * time.Millisecond, 300 * time.Millisecond} {
		t.Run(latency.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := onRevoke(t, f)
				f.latency = latency
				issued := make([]Issued, 300)
				atOnce(300, func(i int) {
					within(t, 3*latency+time.Second, "a read", func() (err error) {
						issued[i], err = e.IssueCreds(t.Context(), "a", 0)
						return err
					})
				})
				if n := counted(t, storage); n != 300 {
					t.Errorf("%d are counted", n)
				}
				atOnce(300, func(i int) { revoke(t, e, storage, issued[i]) })
				if f.changed() != 1 || counted(t, storage) != 0 {
					t.Errorf("%d changes, %d still counted", f.changed(), counted(t, storage))
				}
				e.Close()
			})
		})
	}
}

// hanging is an ECGrid in which the calls of one operation about one user hang.
type hanging struct {
	*fakeECGrid
	op string
	of int32
}

func (h hanging) hang(ctx context.Context, op string, userID int32) error {
	if op != h.op || userID != h.of {
		return nil
	}
	<-ctx.Done()
	return opError(op, ecgrid.ErrTimeout)
}

func (h hanging) UserGetAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	if err := h.hang(ctx, "UserGetAPIKey", userID); err != nil {
		return "", err
	}
	return h.fakeECGrid.UserGetAPIKey(ctx, id, userID)
}

func (h hanging) GenerateAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	if err := h.hang(ctx, "GenerateAPIKey", userID); err != nil {
		return "", err
	}
	return h.fakeECGrid.GenerateAPIKey(ctx, id, userID)
}

// One user's call hangs, under a read, a renewal, a rotation or the end of a lease.
// Nobody who is not about that user waits for it.
func TestNobodyWaitsForAnotherUser(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op string
		do func(e *Engine, l Issued) error
	}{
		"read": {"UserGetAPIKey", func(e *Engine, _ Issued) error { _, err := e.IssueCreds(context.Background(), "a", 0); return err }},
		"renewal": {"UserGetAPIKey", func(e *Engine, l Issued) error {
			_, err := e.RenewLease(context.Background(), l.Lease, Renewal{Issued: time.Now(), Was: l.Terms})
			return err
		}},
		"rotation":   {"GenerateAPIKey", func(e *Engine, _ Issued) error { _, err := e.RotateKey(context.Background(), 5001); return err }},
		"last lease": {"GenerateAPIKey", func(e *Engine, l Issued) error { return e.RevokeLease(context.Background(), l.Lease) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				first, raw := onRevoke(t, f)
				f.setKey(5065, "key-5065") // 64 away from 5001
				writeRole(t, first, raw, "sixtyfour", RolePatch{UserID: ptr(int32(5065)), RotateOnRevoke: ptr(true)})
				l1, l2, l3 := creds(t, first, raw, "a"), creds(t, first, raw, "other"), creds(t, first, raw, "sixtyfour")
				first.Close()
				e := testEngineAt(f, raw, func(ecgrid.Endpoint) (ecgrid.Client, error) { return hanging{f, tt.op, 5001}, nil })
				if _, err := e.IssueKey(t.Context(), 5002, 0); err != nil {
					t.Fatal(err)
				}
				hung := make(chan struct{})
				go func() {
					defer close(hung)
					_ = tt.do(e, l1)
				}()
				time.Sleep(100 * time.Millisecond)
				for _, other := range []struct {
					what string
					do   func() error
				}{
					{"a counted read of another", func() error { _, err := e.IssueCreds(t.Context(), "other", 0); return err }},
					{"a counted read of a third", func() error { _, err := e.IssueCreds(t.Context(), "sixtyfour", 0); return err }},
					{"a renewal of another", func() error {
						_, err := e.RenewLease(t.Context(), l3.Lease, Renewal{Issued: time.Now(), Was: l3.Terms})
						return err
					}},
					{"the end of another's last lease", func() error { return e.RevokeLease(t.Context(), l2.Lease) }},
					{"a rotation of another", func() error { _, err := e.RotateKey(t.Context(), 5065); return err }},
					{"a role write", func() error { return e.WriteRole(t.Context(), "a", RolePatch{TTL: ptr(time.Hour)}) }},
					{"a role read", func() error { _, err := e.ReadRole(t.Context(), "a"); return err }},
					{"a list", func() error { _, err := e.ListUsers(t.Context()); return err }},
					{"a config read", func() error { _, err := e.ReadConfig(t.Context()); return err }},
					{"a config write", func() error { return e.WriteConfig(t.Context(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{}) }},
				} {
					within(t, time.Second, other.what, other.do)
				}
				<-hung
				e.Close()
			})
		})
	}
}

// A role write that has to ask who the api_key is of holds up no other, and no role
// read.
func TestRoleWritesAskSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f, withAPIKey)
		f.latency = 5 * time.Second
		asking := make(chan error)
		go func() {
			asking <- e.WriteRole(t.Context(), "asks", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
		}()
		time.Sleep(time.Second)
		within(t, 0, "a role write that asks nothing", func() error {
			return e.WriteRole(t.Context(), "plain", RolePatch{UserID: ptr(int32(5001))})
		})
		within(t, 0, "a role read", func() error { _, err := e.ReadRole(t.Context(), "plain"); return err })
		if err := <-asking; err != nil {
			t.Error(err)
		}
		atOnce(10, func(i int) {
			within(t, 6*time.Second, "a role write", func() error {
				return e.WriteRole(t.Context(), fmt.Sprintf("r%d", i), RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
			})
		})
		if names, _ := e.ListRoles(t.Context()); len(names) != 12 {
			t.Errorf("%d roles", len(names))
		}
		e.Close()
	})
}

// A rotate-root, or a config write, that hangs at ECGrid holds up no read.
func TestReadsDoNotWaitForTheConfigLock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.late = []time.Duration{30 * time.Second}
		first, raw := configured(t, f)
		go func() { _, _ = first.RotateRoot(context.Background()) }()
		time.Sleep(time.Second)
		within(t, time.Second, "a read", func() error { _, err := first.IssueKey(t.Context(), 5001, 0); return err })
		first.Invalidate(configKey) // nothing is in use now
		time.Sleep(4 * time.Second)
		within(t, 2*time.Second, "a first read", func() error { _, err := first.IssueKey(t.Context(), 5001, 0); return err })
		time.Sleep(2 * time.Minute)
		settled(t, f, first, raw)
		first.Close()
	})
}

// A call that nobody waits for any more is given up; the next read makes its own.
func TestHungReadIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f)
		if _, err := e.IssueKey(t.Context(), 5002, 0); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.latency = time.Hour })
		atOnce(10, func(int) {
			ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			if _, err := e.IssueKey(ctx, 5001, 0); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		f.set(func() { f.latency = 10 * time.Millisecond })
		within(t, time.Second, "the next read", func() error { _, err := e.IssueKey(t.Context(), 5001, 0); return err })
		if n := f.count("UserGetAPIKey"); n != 3 {
			t.Errorf("%d calls, want one for all that gave up and one after", n)
		}
		e.Close()
	})
}

// A read that joins a call late does not fail with it for the time that passed before.
func TestLateJoinerHasItsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f)
		if _, err := e.IssueKey(t.Context(), 5002, 0); err != nil {
			t.Fatal(err)
		}
		deadline := stored().requestDeadline()
		f.set(func() { f.latency = time.Hour })
		early := make(chan error)
		go func() {
			_, err := e.IssueKey(t.Context(), 5001, 0)
			early <- err
		}()
		time.Sleep(deadline - time.Second)
		late := make(chan error)
		go func() {
			_, err := e.IssueKey(t.Context(), 5001, 0)
			late <- err
		}()
		time.Sleep(500 * time.Millisecond)
		f.set(func() { f.latency = 10 * time.Millisecond })
		if err := <-early; err == nil {
			t.Error("the first read got an answer from a call that hangs")
		}
		if err := <-late; err != nil {
			t.Errorf("the late one: %v", err)
		}
		e.Close()
	})
}

// twentyRoles writes them, each for a user of its own, to be rotated with that period.
func twentyRoles(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage, period time.Duration) {
	t.Helper()
	for i := range 20 {
		userID := int32(6000 + i)
		f.setKey(userID, fmt.Sprintf("key-%d", userID))
		writeRole(t, e, storage, fmt.Sprintf("r%d", i), RolePatch{UserID: &userID, Schedule: SchedulePatch{Period: &period}})
	}
}

// A round that has much to do goes on when Vault waits no more.
func TestLongRound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		twentyRoles(t, f, e, storage, 4*time.Hour)
		time.Sleep(5 * time.Hour)
		f.set(func() { f.latency = 3 * time.Second })
		for range 10 {
			within(t, 20*time.Second, "a round", func() error { e.Tick(t.Context()); return nil })
			time.Sleep(time.Minute)
		}
		if f.changed() != 20 {
			t.Errorf("%d changes", f.changed())
		}
		e.Close()
	})
}

// Vault's take-over waits for Start, and its seal for a round.
func TestVaultDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.late = []time.Duration{time.Hour}
		first, raw := configured(t, f)
		if err := first.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}}, noManager{}); err != nil {
			t.Fatal(err)
		}
		twentyRoles(t, f, first, raw, time.Hour)
		if _, err := first.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
			t.Fatal(err)
		}
		first.Close()
		time.Sleep(2 * time.Hour)
		f.set(func() { f.latency = time.Hour })
		e := testEngine(f, raw)
		within(t, 0, "Start", func() error { e.Start(); return nil })
		for range 3 {
			within(t, 20*time.Second, "a round", func() error { e.Tick(t.Context()); return nil })
		}
		within(t, 3*time.Second, "Close", func() error { e.Close(); return nil })
		time.Sleep(10 * time.Minute)
	})
}

// counting counts the reads of storage.
type counting struct {
	logical.Storage
	reads int
}

func (c *counting) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	c.reads++
	return c.Storage.Get(ctx, key)
}

func (c *counting) List(ctx context.Context, prefix string) ([]string, error) {
	c.reads++
	return c.Storage.List(ctx, prefix)
}

// 5,000 roles and 5,000 counted leases cost an idle minute next to nothing, and what
// comes due among them is not missed.
func TestIdleMinuteReadsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		first, raw := onRevoke(t, f)
		for i := range 5000 {
			writeRole(t, first, raw, fmt.Sprintf("r%d", i), RolePatch{UserID: ptr(int32(5002))})
		}
		for range 5000 {
			creds(t, first, raw, "a")
		}
		first.Close()
		storage := &counting{Storage: raw}
		e := testEngine(f, storage)
		e.Tick(t.Context()) // the first round of a process looks at all
		storage.reads = 0
		ticks(t, e, storage, 10*time.Minute)
		if storage.reads > 10*3 {
			t.Errorf("%d reads in 10 idle minutes", storage.reads)
		}
		writeRole(t, e, storage, "r7", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		e.Invalidate(rolePrefix + "r8") // another node has written that
		ticks(t, e, storage, 80*time.Minute)
		if f.changed() != 1 {
			t.Errorf("%d changes", f.changed())
		}
		e.Close()
	})
}

// Rounds that overlap rotate what is due once.
func TestOverlappingRounds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		hourly := SchedulePatch{Period: ptr(time.Hour)}
		writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(5001)), Schedule: hourly})
		if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: hourly}, noManager{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Minute)
		f.set(func() { f.latency = 2 * time.Second })
		atOnce(6, func(i int) { // whoever calls it
			if i%2 == 0 {
				_ = e.roles.rotateDue(t.Context(), "a")
			} else {
				_ = e.rootRotator.rotateDue(t.Context())
			}
		})
		atOnce(3, func(i int) {
			time.Sleep(time.Duration(i) * 1500 * time.Millisecond)
			e.Tick(t.Context())
		})
		time.Sleep(5 * time.Minute)
		if f.changed() != 2 {
			t.Errorf("%d changes of one key and one password", f.changed())
		}
		settled(t, f, e, storage)
		e.Close()
	})
}
