package backend

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
)

// Vault runs PeriodicFunc once more on a mount that is being removed, and revokes its
// leases: nothing rotates then, by any path.
func TestTaintedMountRotatesNothing(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(e *Engine) error{
		"a round with all due": func(e *Engine) error { e.Tick(context.Background()); return ErrTainted },
		"rotate-key":           func(e *Engine) error { _, err := e.RotateKey(context.Background(), 5001); return err },
		"rotate-role":          func(e *Engine) error { _, err := e.RotateRole(context.Background(), "a"); return err },
		"rotate-root":          func(e *Engine) error { _, err := e.RotateRoot(context.Background()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				due := SchedulePatch{Period: ptr(time.Hour)}
				if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: due}, noManager{}); err != nil {
					t.Fatal(err)
				}
				writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(5001)), Schedule: due, RotateOnRevoke: ptr(true)})
				l := creds(t, e, storage, "a")
				time.Sleep(3 * time.Hour)
				f.tainted.Store(true)
				before := storedConfig(t, storage)
				f.whenever(func(op string) {
					if op != "Logout" {
						t.Errorf("%s was called", op)
					}
				})
				if err := do(e); !errors.Is(err, ErrTainted) {
					t.Errorf("got %v", err)
				}
				if r := readRole(t, e, storage, "a"); !reflect.DeepEqual(storedConfig(t, storage), before) || r.Rotation.LastError != "" {
					t.Errorf("something was noted: %q", r.Rotation.LastError)
				}
				revoke(t, e, storage, l)
				time.Sleep(time.Hour)
				if f.changed() != 0 {
					t.Errorf("%d changes", f.changed())
				}
				e.Close()
			})
		})
	}
}

// A rotate-root that is not settled is left alone on a tainted mount, and seen
// through where that lives on.
func TestTaintedMountSettlesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.late = []time.Duration{time.Hour}
		e, storage := configured(t, f)
		if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
			t.Fatal(err)
		}
		f.tainted.Store(true)
		e.Tick(t.Context())
		time.Sleep(30 * time.Minute)
		if f.changed() != 0 || f.count("ChangePassword") != 1 {
			t.Errorf("%d changes, sent %d times", f.changed(), f.count("ChangePassword"))
		}
		f.tainted.Store(false)
		ticks(t, e, storage, 2*time.Hour)
		settled(t, f, e, storage)
		e.Close()
	})
}

// `secrets move` revokes the leases while the mount is tainted. The last ones of their
// keys are ended after the move, by the same process or the next.
func TestMovedMountEndsItsKeys(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := onRevoke(t, f)
				l1, l2, l3 := creds(t, e, storage, "a"), creds(t, e, storage, "b"), creds(t, e, storage, "other")
				f.tainted.Store(true)
				f.whenever(func(op string) {
					if op != "Logout" {
						t.Errorf("%s was called", op)
					}
				})
				revoke(t, e, storage, l1, l2, l3, l3)
				e.Tick(t.Context())
				if restart {
					e.Close()
					e = testEngine(f, storage)
				}
				time.Sleep(time.Minute)
				f.whenever(nil)
				f.tainted.Store(false)
				e.Tick(t.Context())
				if f.changed() != 2 || f.key(5001) == l1.APIKey || f.key(5002) == l3.APIKey || counted(t, storage) != 0 {
					t.Errorf("%d changes, %d still counted", f.changed(), counted(t, storage))
				}
				e.Close()
			})
		})
	}
}
