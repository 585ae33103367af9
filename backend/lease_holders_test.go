package backend

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// onRevoke is an engine with roles a and b of user 5001, and other of user 5002,
// that replace a key when its last lease ends.
func onRevoke(t *testing.T, f *fakeECGrid, change ...func(*Config)) (*Engine, *logical.InmemStorage) {
	t.Helper()
	e, storage := configured(t, f, change...)
	for name, userID := range map[string]int32{"a": 5001, "b": 5001, "other": 5002} {
		writeRole(t, e, storage, name, RolePatch{UserID: &userID, RotateOnRevoke: ptr(true)})
	}
	return e, storage
}

func creds(t *testing.T, e *Engine, storage logical.Storage, role string) Issued {
	t.Helper()
	issued, err := e.IssueCreds(t.Context(), role, 0)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func revoke(t *testing.T, e *Engine, storage logical.Storage, leases ...Issued) {
	t.Helper()
	for _, l := range leases {
		if err := e.RevokeLease(t.Context(), l.Lease); err != nil {
			t.Errorf("revoke: %v", err)
		}
	}
}

// counted is how many leases are in storage.
func counted(t *testing.T, storage logical.Storage) int {
	t.Helper()
	paths, err := logical.CollectKeysWithPrefix(t.Context(), storage, holderPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return len(paths)
}

func TestLastOneOutRotates(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) (changes int){
		"one lease": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			revoke(t, e, storage, creds(t, e, storage, "a"))
			return 1
		},
		"revoked again": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			revoke(t, e, storage, l, l, l)
			return 1
		},
		"over two roles": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1, l2, l3 := creds(t, e, storage, "a"), creds(t, e, storage, "b"), creds(t, e, storage, "a")
			revoke(t, e, storage, l2, l1)
			if f.changed() != 0 {
				t.Error("rotated under the last lease")
			}
			revoke(t, e, storage, l3)
			return 1
		},
		"users apart": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1, l2 := creds(t, e, storage, "a"), creds(t, e, storage, "other")
			revoke(t, e, storage, l1)
			if f.key(5002) != "key-5002" {
				t.Error("the other user's key was replaced")
			}
			revoke(t, e, storage, l2)
			return 2
		},
		"leases that are not counted": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			writeRole(t, e, storage, "plain", RolePatch{})
			l1, l2 := creds(t, e, storage, "a"), creds(t, e, storage, "plain")
			l3, err := e.IssueKey(t.Context(), 5001, 0)
			if err != nil {
				t.Fatal(err)
			}
			revoke(t, e, storage, l2, l3)
			if counted(t, storage) != 1 {
				t.Error("they count")
			}
			revoke(t, e, storage, l1)
			return 1
		},
		"replaced by rotate-key": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1, l2 := creds(t, e, storage, "a"), creds(t, e, storage, "a")
			if _, err := e.RotateKey(t.Context(), 5001); err != nil {
				t.Fatal(err)
			}
			revoke(t, e, storage, l1, l2)
			return 1
		},
		"leases of an old and a new key": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1 := creds(t, e, storage, "a")
			f.setKey(5001, "from outside")
			l2 := creds(t, e, storage, "a")
			revoke(t, e, storage, l1)
			if f.key(5001) != "from outside" {
				t.Error("the new key was replaced with a lease of it out")
			}
			revoke(t, e, storage, l2)
			return 1
		},
		"role deleted": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			if err := e.DeleteRole(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			revoke(t, e, storage, l)
			return 1
		},
		"role without rotate_on_revoke now": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			writeRole(t, e, storage, "a", RolePatch{RotateOnRevoke: ptr(false)})
			revoke(t, e, storage, l, creds(t, e, storage, "a"))
			return 1
		},
		"role of another user now": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(5002))})
			revoke(t, e, storage, l)
			if f.key(5002) != "key-5002" {
				t.Error("the wrong key was replaced")
			}
			return 1
		},
		"rotate_on_revoke set after the issue": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			writeRole(t, e, storage, "plain", RolePatch{})
			l := creds(t, e, storage, "plain")
			writeRole(t, e, storage, "plain", RolePatch{RotateOnRevoke: ptr(true)})
			revoke(t, e, storage, l)
			return 0
		},
		"user gone": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			f.set(func() { delete(f.keys, 5001) })
			revoke(t, e, storage, l)
			return 0
		},
		"user's key taken away": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			f.setKey(5001, "")
			revoke(t, e, storage, l)
			return 0
		},
		"config deleted": func(t *testing.T, _ *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			if err := e.DeleteConfig(t.Context(), noManager{}); err != nil {
				t.Fatal(err)
			}
			revoke(t, e, storage, l)
			return 0
		},
		"the config's own user by now": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(100))})
			f.setKey(100, "api-key")
			l := creds(t, e, storage, "a")
			if err := e.WriteConfig(t.Context(), ConfigPatch{APIKey: ptr("api-key")}, noManager{}); err != nil {
				t.Fatal(err)
			}
			if _, err := e.IssueCreds(t.Context(), "a", 0); !errors.Is(err, ErrOwnKey) {
				t.Errorf("issued: %v", err)
			}
			revoke(t, e, storage, l)
			return 0
		},
		"answer lost": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			f.loses("GenerateAPIKey", ecgrid.ErrTimeout)
			revoke(t, e, storage, creds(t, e, storage, "a"))
			return 1
		},
		"answer lost, and the way to ask": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			f.loses("GenerateAPIKey", ecgrid.ErrTimeout)
			f.whenever(func(op string) {
				if op == "GenerateAPIKey" {
					f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
				}
			})
			for range 3 {
				if err := e.RevokeLease(t.Context(), l.Lease); err == nil {
					t.Error("revoked without knowing")
				}
			}
			f.failWith("UserGetAPIKey", nil)
			revoke(t, e, storage, l)
			return 1
		},
		"ECGrid down": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1, l2 := creds(t, e, storage, "a"), creds(t, e, storage, "b")
			f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
			revoke(t, e, storage, l1) // not the last: nothing to do
			for range 3 {
				if err := e.RevokeLease(t.Context(), l2.Lease); !errors.Is(err, ecgrid.ErrUnreachable) {
					t.Errorf("got %v", err)
				}
			}
			f.failWith("UserGetAPIKey", nil)
			revoke(t, e, storage, l2)
			return 1
		},
		"denied": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			if err := e.RevokeLease(t.Context(), l.Lease); !errors.Is(err, ecgrid.ErrAccessDenied) {
				t.Errorf("got %v", err)
			}
			f.failWith("GenerateAPIKey", nil)
			revoke(t, e, storage, l)
			return 1
		},
		"all at once": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			leases := make([]Issued, 100)
			atOnce(len(leases), func(i int) { leases[i] = creds(t, e, storage, []string{"a", "b"}[i%2]) })
			atOnce(len(leases), func(i int) { revoke(t, e, storage, leases[i]) })
			return 1
		},
		"client of the revoke hangs up": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			ctx, hangUp := context.WithCancel(t.Context())
			f.whenever(func(string) { hangUp() })
			if err := e.RevokeLease(ctx, l.Lease); err != nil {
				t.Error(err)
			}
			return 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := onRevoke(t, f, func(c *Config) { c.KeyCacheTTL = time.Hour })
				want := do(t, f, e, storage)
				if f.changed() != want {
					t.Errorf("%d keys were replaced, want %d", f.changed(), want)
				}
				if n := counted(t, storage); n != 0 {
					t.Errorf("%d leases are still counted", n)
				}
				e.Close()
			})
		})
	}
}

// A read that was given up gets no lease, so it is not counted.
func TestGivenUpReadIsNotCounted(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]step{
		"while the key is asked": {op: "UserGetAPIKey", ecgrid: true},
		"while it is counted":    {op: "Put"},
		"when it is counted":     {op: "Put", done: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := onRevoke(t, f)
				ctx, hangUp := context.WithCancel(t.Context())
				e, _ := start(f, raw, func(s step) error {
					if s == at {
						hangUp()
					}
					return nil
				})
				if _, err := e.IssueCreds(ctx, "a", 0); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				if n := counted(t, raw); n != 0 {
					t.Errorf("%d leases are counted", n)
				}
				time.Sleep(time.Second)
				e.Close()
			})
		})
	}
}

// Every step of an issue and two revokes breaks once; then Vault tries the revokes
// again. No key goes with a lease of it out, in the end it is dead, and it was
// replaced once.
func TestCountedLeaseBreaks(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for over := false; !over; steps++ {
				synctest.Test(t, func(t *testing.T) { over = breakCountedLease(t, broken(steps+1)) })
			}
			if steps < 25 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

func breakCountedLease(t *testing.T, b *trouble) (over bool) {
	f := newFake()
	first, raw := onRevoke(t, f)
	l1 := creds(t, first, raw, "a")
	first.Close()
	broken, _ := start(f, raw, b.at)
	ctx := context.Background()
	var l2 atomic.Pointer[Issued] // where it was handed out
	ended := make(chan struct{})
	b.run(func() {
		defer close(ended)
		issued, err := broken.IssueCreds(ctx, "b", 0)
		if err == nil && !b.isDead() {
			l2.Store(&issued)
		}
		_ = broken.RevokeLease(ctx, l1.Lease)
		out := err == nil
		if out && f.changed() != 0 && !b.isDead() {
			t.Errorf("step %d: rotated with a lease out", b.nth)
		}
		if out {
			_ = broken.RevokeLease(ctx, issued.Lease)
		}
	})
	over = b.over()
	if b.kill && !over {
		defer func() { close(b.buried); <-ended; broken.Close() }()
		time.Sleep(time.Second)
	} else {
		broken.Close()
	}
	e := testEngine(f, raw)
	time.Sleep(2 * time.Minute) // a refused login pauses the next
	revoke(t, e, raw, l1)
	if l2 := l2.Load(); l2 != nil {
		revoke(t, e, raw, *l2)
	}
	// What nobody got ends by itself.
	time.Sleep(e.MaxLeaseTTL() + holderGrace)
	e.Tick(t.Context())
	if f.changed() != 1 || f.key(5001) == l1.APIKey || counted(t, raw) != 0 {
		t.Errorf("broken at step %d, %+v: %d changes, %d leases counted", b.nth, b.broken, f.changed(), counted(t, raw))
	}
	e.Close()
	return over
}

// A lease that Vault never got, or has lost, counts until its own end and a grace.
func TestReap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := onRevoke(t, f)
		writeRole(t, e, storage, "a", RolePatch{TTL: ptr(time.Hour)})
		l1 := creds(t, e, storage, "a")
		l2 := creds(t, e, storage, "other") // the mount's own TTL
		ticks(t, e, storage, time.Hour+holderGrace-time.Minute)
		if f.changed() != 0 || counted(t, storage) != 2 {
			t.Fatalf("too early: %d changes", f.changed())
		}
		// While ECGrid is down it stays, for later.
		f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
		ticks(t, e, storage, 2*time.Hour)
		if counted(t, storage) != 2 {
			t.Fatal("it was given up")
		}
		f.failWith("UserGetAPIKey", nil)
		ticks(t, e, storage, tidyRetry+time.Minute)
		if f.changed() != 1 || f.key(5001) == l1.APIKey || counted(t, storage) != 1 {
			t.Errorf("%d changes, %d counted", f.changed(), counted(t, storage))
		}
		revoke(t, e, storage, l1) // Vault has it after all
		e.Close()

		time.Sleep(e.DefaultLeaseTTL())
		e = testEngine(f, storage) // the first round of a process looks
		e.Tick(t.Context())
		if f.changed() != 2 || f.key(5002) == l2.APIKey || counted(t, storage) != 0 {
			t.Errorf("after a restart: %d changes, %d counted", f.changed(), counted(t, storage))
		}
		e.Close()
	})
}

// When a lease stops to count.
func TestCountsUntil(t *testing.T) {
	t.Parallel()
	issued := clock(12, 0, 0)
	now := issued.Add(time.Hour)
	for name, tt := range map[string]struct {
		terms              Terms
		increment          time.Duration
		mountTTL, mountMax time.Duration
		want               time.Duration // from now
	}{
		"its own TTL":                          {terms: Terms{TTL: time.Minute}, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: time.Minute},
		"the mount's":                          {mountTTL: time.Hour, mountMax: 10 * time.Hour, want: time.Hour},
		"what the renewal asks for":            {terms: Terms{TTL: time.Minute}, increment: 2 * time.Hour, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: 2 * time.Hour},
		"its maximum":                          {terms: Terms{TTL: 5 * time.Hour, MaxTTL: 3 * time.Hour}, mountTTL: time.Hour, mountMax: 10 * time.Hour, want: 2 * time.Hour},
		"the mount's maximum":                  {terms: Terms{TTL: 9 * time.Hour}, mountTTL: time.Hour, mountMax: 4 * time.Hour, want: 3 * time.Hour},
		"a maximum that could not be asked":    {terms: Terms{TTL: 9 * time.Hour}, mountTTL: time.Hour, want: 9 * time.Hour},
		"its maximum, the mount's unknown":     {terms: Terms{TTL: 9 * time.Hour, MaxTTL: 3 * time.Hour}, want: 2 * time.Hour},
		"nothing could be asked":               {want: unknownTTL},
		"nothing but the maximum of the mount": {mountMax: 10 * time.Hour, want: 9 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := testEngine(newFake(), new(logical.InmemStorage))
			e.DefaultLeaseTTL = func() time.Duration { return tt.mountTTL }
			e.MaxLeaseTTL = func() time.Duration { return tt.mountMax }
			if got := e.leases.holders.until(now, issued, tt.increment, tt.terms); !got.Equal(now.Add(tt.want + holderGrace)) {
				t.Errorf("counts for %s, want %s and the grace", got.Sub(now), tt.want)
			}
		})
	}
}

// A renewal extends the count, never beyond what is stored, and counts nothing that
// was revoked.
func TestRecount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := onRevoke(t, f)
		writeRole(t, e, storage, "a", RolePatch{TTL: ptr(2 * time.Hour)})
		renew := func(l Issued, at time.Time) error {
			_, err := e.RenewLease(t.Context(), l.Lease, Renewal{Issued: at, Was: l.Terms})
			return err
		}
		at := time.Now()
		l := creds(t, e, storage, "a")
		time.Sleep(time.Hour)
		storage.FailPut(true)
		if renew(l, at) == nil {
			t.Error("renewed beyond what is counted")
		}
		storage.FailPut(false)
		if err := renew(l, at); err != nil {
			t.Error(err)
		}
		writeRole(t, e, storage, "a", RolePatch{TTL: ptr(time.Minute)}) // a shorter one takes nothing back
		if err := renew(l, at); err != nil {
			t.Error(err)
		}
		ticks(t, e, storage, 2*time.Hour)
		if counted(t, storage) != 1 || f.changed() != 0 {
			t.Error("reaped at its old end")
		}
		ticks(t, e, storage, holderGrace+time.Minute)
		if counted(t, storage) != 0 || f.changed() != 1 {
			t.Error("not reaped at its new end")
		}

		l = creds(t, e, storage, "a")
		time.Sleep(time.Minute)
		f.whenever(func(op string) {
			if op == "UserGetAPIKey" { // of the renewal
				f.whenever(nil)
				if err := storage.Delete(t.Context(), holderPrefix+holderPath(l.Lease)); err != nil {
					t.Error(err)
				}
			}
		})
		if err := renew(l, time.Now()); err != nil {
			t.Error(err)
		}
		if counted(t, storage) != 0 {
			t.Error("a revoked lease is counted again")
		}
		e.Close()
	})
}

// A lease ends with the next rotation of its role; so does its count.
func TestCountEndsWithTheRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := onRevoke(t, f)
		writeRole(t, e, storage, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		time.Sleep(4 * time.Hour)
		l := creds(t, e, storage, "a")
		if !about(l.Terms.MaxTTL, 20*time.Hour) {
			t.Errorf("%+v", l.Terms)
		}
		ticks(t, e, storage, 22*time.Hour) // the rotation, then the end of the count
		// Its end may come a little before the rotation, and then that one too.
		if f.key(5001) == l.APIKey || f.changed() > 2 || counted(t, storage) != 0 {
			t.Errorf("%d changes, %d counted", f.changed(), counted(t, storage))
		}
		e.Close()
	})
}

// A last counted lease of a key ends while Vault's storage or ECGrid fails at any step:
// in the end the key is dead, and nothing is left of the count.
func TestAttackLastLeaseEndsAtAnyCost(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := false
			for nth := 1; !over; nth++ {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					first, raw := configured(t, f)
					writeRole(t, first, raw, "a", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
					b := broken(nth)
					e, _ := start(f, raw, b.at)
					leased := make(chan string, 1)
					ended := make(chan struct{})
					b.run(func() {
						defer close(ended)
						issued, err := e.IssueCreds(context.Background(), "a", time.Hour)
						if err != nil {
							return // Vault has no lease
						}
						leased <- issued.APIKey
						_ = e.RevokeLease(context.Background(), issued.Lease)
					})
					over = b.over()
					if b.isDead() {
						defer func() { close(b.buried); <-ended; time.Sleep(2 * time.Minute); e.Close() }()
						e = testEngine(f, raw)
					}
					defer e.Close()
					ticks(t, e, raw, 2*time.Hour)
					select {
					case key := <-leased:
						if f.key(5001) == key {
							t.Errorf("step %d, %+v: the key lives", nth, b.broken)
						}
					default:
					}
					if left, err := e.store.holderPaths(t.Context()); err != nil || len(left) > 0 {
						t.Errorf("step %d, %+v: %d counts left: %v", nth, b.broken, len(left), err)
					}
				})
				if nth > 100 {
					t.Fatal("no end")
				}
			}
		})
	}
}
