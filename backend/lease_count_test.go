package backend

import (
	"context"
	"errors"
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
	issued, err := e.IssueCreds(t.Context(), storage, role, 0)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

func revoke(t *testing.T, e *Engine, storage logical.Storage, leases ...Issued) {
	t.Helper()
	for _, l := range leases {
		if err := e.RevokeLease(t.Context(), storage, l.Lease); err != nil {
			t.Errorf("revoke: %v", err)
		}
	}
}

// counted is how many leases are in storage.
func counted(t *testing.T, storage logical.Storage) int {
	t.Helper()
	paths, err := logical.CollectKeysWithPrefix(t.Context(), storage, leaseStoragePrefix)
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
			l3, err := e.IssueKey(t.Context(), storage, 5001, 0)
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
			if _, err := e.RotateKey(t.Context(), storage, 5001); err != nil {
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
			if err := e.DeleteRole(t.Context(), storage, "a"); err != nil {
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
			if err := e.DeleteConfig(t.Context(), storage, noManager{}); err != nil {
				t.Fatal(err)
			}
			revoke(t, e, storage, l)
			return 0
		},
		"the config's own user by now": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(100))})
			f.setKey(100, "api-key")
			l := creds(t, e, storage, "a")
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{APIKey: ptr("api-key")}, noManager{}); err != nil {
				t.Fatal(err)
			}
			if _, err := e.IssueCreds(t.Context(), storage, "a", 0); !errors.Is(err, ErrOwnKey) {
				t.Errorf("issued: %v", err)
			}
			revoke(t, e, storage, l)
			return 0
		},
		"mount being removed": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l1, l2 := creds(t, e, storage, "a"), creds(t, e, storage, "other")
			f.tainted.Store(true)
			e.Close()
			f.whenever(func(op string) { t.Errorf("%s was called", op) })
			revoke(t, e, storage, l1, l2)
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
				if err := e.RevokeLease(t.Context(), storage, l.Lease); err == nil {
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
				if err := e.RevokeLease(t.Context(), storage, l2.Lease); !errors.Is(err, ecgrid.ErrUnreachable) {
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
			if err := e.RevokeLease(t.Context(), storage, l.Lease); !errors.Is(err, ecgrid.ErrAccessDenied) {
				t.Errorf("got %v", err)
			}
			f.failWith("GenerateAPIKey", nil)
			revoke(t, e, storage, l)
			return 1
		},
		"all at once": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			leases := make([]Issued, 100)
			salted(t, e, storage)
			atOnce(len(leases), func(i int) { leases[i] = creds(t, e, storage, []string{"a", "b"}[i%2]) })
			atOnce(len(leases), func(i int) { revoke(t, e, storage, leases[i]) })
			return 1
		},
		"client of the revoke hangs up": func(t *testing.T, f *fakeECGrid, e *Engine, storage *logical.InmemStorage) int {
			l := creds(t, e, storage, "a")
			ctx, hangUp := context.WithCancel(t.Context())
			f.whenever(func(string) { hangUp() })
			if err := e.RevokeLease(ctx, storage, l.Lease); err != nil {
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
				old, raw := onRevoke(t, f)
				salted(t, old, raw)
				ctx, hangUp := context.WithCancel(t.Context())
				e, storage := start(f, raw, func(s step) error {
					if s == at {
						hangUp()
					}
					return nil
				})
				if _, err := e.IssueCreds(ctx, storage, "a", 0); !errors.Is(err, context.Canceled) {
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
	e, storage := start(f, raw, b.at)
	ctx := context.Background()
	var l2 Issued
	out := false // l2 was handed out
	ended := make(chan struct{})
	b.run(func() {
		defer close(ended)
		issued, err := e.IssueCreds(ctx, storage, "b", 0)
		if err == nil {
			l2, out = issued, true
		}
		_ = e.RevokeLease(ctx, storage, l1.Lease)
		if out && f.changed() != 0 && !b.isDead() {
			t.Errorf("step %d: rotated with a lease out", b.nth)
		}
		if out {
			_ = e.RevokeLease(ctx, storage, l2.Lease)
		}
	})
	over = b.over()
	if b.kill && !over {
		dead := e
		defer func() { close(b.buried); <-ended; dead.Close() }()
		time.Sleep(time.Second)
	} else {
		e.Close()
	}
	e = testEngine(f)
	revoke(t, e, raw, l1)
	if out {
		revoke(t, e, raw, l2)
	}
	// What nobody got ends by itself.
	time.Sleep(e.MaxLeaseTTL() + reapGrace)
	e.Tick(t.Context(), raw)
	if f.changed() != 1 || f.key(5001) == l1.APIKey || counted(t, raw) != 0 {
		t.Errorf("broken at step %d, %+v: %d changes, %d leases counted", b.nth, b.broken, f.changed(), counted(t, raw))
	}
	e.Close()
	return over
}

// A lease that Vault has forgotten ends an hour after its very last moment.
func TestReap(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := onRevoke(t, f)
		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(2 * time.Hour)})
		l1 := creds(t, e, storage, "a")
		l2 := creds(t, e, storage, "other") // the mount's maximum
		ticks(t, e, storage, 3*time.Hour-time.Minute)
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
		ticks(t, e, storage, time.Hour)
		if f.changed() != 1 || f.key(5001) == l1.APIKey || counted(t, storage) != 1 {
			t.Errorf("%d changes, %d counted", f.changed(), counted(t, storage))
		}
		revoke(t, e, storage, l1) // Vault has it after all
		e.Close()

		time.Sleep(e.MaxLeaseTTL())
		e = testEngine(f) // the first round of a process looks
		e.Tick(t.Context(), storage)
		if f.changed() != 2 || f.key(5002) == l2.APIKey || counted(t, storage) != 0 {
			t.Errorf("after a restart: %d changes, %d counted", f.changed(), counted(t, storage))
		}
		e.Close()
	})
}

// A lease whose maximum has grown since is not reaped at the old one; and a
// renewal counts nothing that was revoked.
func TestRecount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := onRevoke(t, f)
		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(2 * time.Hour)})
		at := time.Now()
		l := creds(t, e, storage, "a")
		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(6 * time.Hour)})
		time.Sleep(time.Hour)
		storage.FailPut(true)
		if _, err := e.RenewLease(t.Context(), storage, l.Lease, at, l.Terms); err == nil {
			t.Error("renewed beyond what is counted")
		}
		storage.FailPut(false)
		if _, err := e.RenewLease(t.Context(), storage, l.Lease, at, l.Terms); err != nil {
			t.Error(err)
		}
		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(2 * time.Hour)}) // a shorter one takes nothing back
		if _, err := e.RenewLease(t.Context(), storage, l.Lease, at, l.Terms); err != nil {
			t.Error(err)
		}
		ticks(t, e, storage, 6*time.Hour-time.Minute)
		if counted(t, storage) != 1 || f.changed() != 0 {
			t.Error("reaped at the old maximum")
		}
		ticks(t, e, storage, time.Hour)
		if counted(t, storage) != 0 || f.changed() != 1 {
			t.Error("not reaped at the new one")
		}

		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(2 * time.Hour)})
		l = creds(t, e, storage, "a")
		writeRole(t, e, storage, "a", RolePatch{MaxTTL: ptr(6 * time.Hour)})
		f.whenever(func(op string) {
			if op == "UserGetAPIKey" { // of the renewal
				f.whenever(nil)
				if err := storage.Delete(t.Context(), holdersPrefix(l.Lease)+l.Lease.ID); err != nil {
					t.Error(err)
				}
			}
		})
		if _, err := e.RenewLease(t.Context(), storage, l.Lease, time.Now(), l.Terms); err != nil {
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
		ticks(t, e, storage, 22*time.Hour) // the rotation, then the reaper
		if f.changed() != 1 || counted(t, storage) != 0 {
			t.Errorf("%d changes, %d counted", f.changed(), counted(t, storage))
		}
		e.Close()
	})
}
