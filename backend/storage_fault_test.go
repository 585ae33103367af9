package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

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

// Vault's storage is gone from some write on (a step-down), before or after that write
// took effect; the process goes on for a while, then the next one takes over.
func TestAttackStorageGoneDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 20 * time.Second, 2 * time.Minute} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %v", late, done), func(t *testing.T) {
				t.Parallel()
				for nth := int32(1); nth < 14; nth++ {
					synctest.Test(t, func(t *testing.T) {
						f := newFake()
						f.late = []time.Duration{late}
						_, raw := configured(t, f)
						var puts atomic.Int32
						e, _ := start(f, raw, func(s step) error {
							if (s.op != "Put" && s.op != "Delete") || s.done != done {
								return nil
							}
							if puts.Add(1) >= nth {
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
						next := testEngine(f, raw)
						next.Start()
						defer next.Close()
						ticks(t, next, raw, 30*time.Minute)
						settled(t, f, next, raw)
						if n := f.refusedIn(15 * time.Minute); n > 3 {
							t.Errorf("%d refused", n)
						}
						if n := f.openSessions(); n > 1 {
							t.Errorf("%d sessions", n)
						}
					})
					if t.Failed() {
						t.Fatalf("from write %d on", nth)
					}
				}
			})
		}
	}
}

// A delete that was carried out and answered as failed (a client that hangs up) leaves
// no login in use that is not stored.
func TestAttackDeletedAndAnsweredAsFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		_, raw := configured(t, f)
		var armed atomic.Bool
		e, _ := start(f, raw, func(s step) error {
			if s.op == "Delete" && s.done && armed.CompareAndSwap(true, false) {
				return errAny
			}
			return nil
		})
		defer e.Close()
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		if err := e.DeleteConfig(t.Context(), noManager{}); err == nil {
			t.Fatal("storage did not fail")
		}
		time.Sleep(time.Hour)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ErrNotConfigured) {
			t.Errorf("keys are handed out an hour after the config was deleted: %v", err)
		}
	})
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
