package backend

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// keeper is a rotation manager that takes the job, as on Enterprise.
type keeper struct{ kept atomic.Pointer[Schedule] }

func (k *keeper) Keep(_ context.Context, s Schedule) bool {
	k.kept.Store(&s)
	return !s.IsZero()
}

func TestScheduledRotateRoot(t *testing.T) {
	t.Parallel()
	daily := SchedulePatch{Period: ptr(24 * time.Hour)}
	nightly := SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}
	changes := func(t *testing.T, f *fakeECGrid, want int) {
		t.Helper()
		if f.changed() != want || f.count("ChangePassword") != want {
			t.Errorf("%d changes by %d calls, want %d", f.changed(), f.count("ChangePassword"), want)
		}
	}
	for name, tt := range map[string]struct {
		schedule SchedulePatch
		do       func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage)
	}{
		"every day": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			ticks(t, e, storage, 24*time.Hour-time.Minute)
			changes(t, f, 0)
			ticks(t, e, storage, time.Hour)
			changes(t, f, 1)
			ticks(t, e, storage, 72*time.Hour)
			changes(t, f, 4)
		}},
		"caught up with, once": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			time.Sleep(240 * time.Hour)
			ticks(t, e, storage, 2*time.Minute)
			changes(t, f, 1)
			if left := time.Until(storedConfig(t, storage).Root.Next); left < 23*time.Hour {
				t.Errorf("the next is in %s", left)
			}
		}},
		"in its window": {nightly, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			ticks(t, e, storage, 3*time.Hour-time.Minute)
			changes(t, f, 0)
			ticks(t, e, storage, time.Hour)
			changes(t, f, 1)
		}},
		"window missed": {nightly, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			time.Sleep(5 * time.Hour)
			ticks(t, e, storage, 2*time.Minute)
			changes(t, f, 0)
			if next := storedConfig(t, storage).Root.Next; !next.Equal(clock(3, 0, 0).AddDate(0, 0, 1)) {
				t.Errorf("the next is at %s", next)
			}
			ticks(t, e, storage, 24*time.Hour)
			changes(t, f, 1)
		}},
		"disabled and enabled": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			disable := func(v bool) {
				if err := e.WriteConfig(t.Context(), ConfigPatch{DisableAutomatedRotation: &v}, noManager{}); err != nil {
					t.Fatal(err)
				}
			}
			disable(true)
			if !storedConfig(t, storage).Root.Next.IsZero() {
				t.Error("there is a next one")
			}
			ticks(t, e, storage, 48*time.Hour)
			changes(t, f, 0)
			disable(false)
			ticks(t, e, storage, 25*time.Hour)
			changes(t, f, 1)
		}},
		"Vault Enterprise sees to it": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			manager := new(keeper)
			if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(12 * time.Hour)}}, manager); err != nil {
				t.Fatal(err)
			}
			if *manager.kept.Load() != (Schedule{Period: 12 * time.Hour}) {
				t.Errorf("kept %+v", manager.kept.Load())
			}
			ticks(t, e, storage, 48*time.Hour)
			changes(t, f, 0)
			if err := e.DeleteConfig(t.Context(), manager); err != nil || !manager.kept.Load().IsZero() {
				t.Errorf("not taken back: %v", err)
			}
			if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
				t.Error(err)
			}
		}},
		"written by hand, it counts from then": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			time.Sleep(20 * time.Hour)
			if _, err := e.RotateRoot(t.Context()); err != nil {
				t.Error(err)
			}
			ticks(t, e, storage, 23*time.Hour)
			changes(t, f, 1)
			ticks(t, e, storage, 2*time.Hour)
			changes(t, f, 2)
		}},
		"over a restart": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			time.Sleep(20 * time.Hour)
			e.Close()
			e2 := testEngine(f, storage)
			ticks(t, e2, storage, 5*time.Hour)
			changes(t, f, 1)
			e2.Close()
		}},
		"an api_key": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			if err := e.WriteConfig(t.Context(), ConfigPatch{APIKey: ptr("api-key")}, noManager{}); err != nil {
				t.Fatal(err)
			}
			if !storedConfig(t, storage).Root.Next.IsZero() {
				t.Error("there is a next one")
			}
			ticks(t, e, storage, 48*time.Hour)
			changes(t, f, 0)
			if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: tt.schedule}, noManager{}); err != nil {
					t.Fatal(err)
				}
				tt.do(t, f, e, storage)
				e.Close()
				e = testEngine(f, storage)
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// A failing rotate-root is tried ever less often, and says why.
func TestScheduledRotateRootBacksOff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op          string
		kind        error
		least, most int           // calls of op in six hours
		heals       time.Duration // after what time at the latest
	}{
		"refused":       {"ChangePassword", ecgrid.ErrAccessDenied, maxRefused, maxRefused, 26 * time.Hour},
		"unreachable":   {"Login", ecgrid.ErrUnreachable, 8, 12, time.Hour + time.Minute},
		"login refused": {"Login", ecgrid.ErrAuthentication, 8, 12, time.Hour + time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}}, noManager{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(25 * time.Hour)
				f.failWith(tt.op, tt.kind)
				ticks(t, e, storage, 6*time.Hour)
				if n := f.count(tt.op); n < tt.least || n > tt.most || f.changed() != 0 {
					t.Errorf("tried %d times, %d changes", n, f.changed())
				}
				if r := storedConfig(t, storage).Root; r.LastError == "" || !r.Last.IsZero() {
					t.Errorf("%+v", r)
				}
				f.failWith(tt.op, nil)
				ticks(t, e, storage, tt.heals)
				if r := storedConfig(t, storage).Root; r.LastError != "" || r.Last.IsZero() || f.changed() != 1 {
					t.Errorf("%d changes, %+v", f.changed(), r)
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// brokenManager is a rotation manager that may fail before it takes a job, or be slow.
type brokenManager struct {
	job   Schedule
	crash bool
	slow  time.Duration
}

func (m *brokenManager) Keep(_ context.Context, s Schedule) bool {
	if m.crash {
		panic("the process is killed here")
	}
	time.Sleep(m.slow)
	m.job = s
	return !s.IsZero()
}

// A write that is repeated after a crash, or after a storage failure, completes the
// hand-over to the rotation manager.
func TestRepeatedWriteCompletesHandOver(t *testing.T) {
	t.Parallel()
	daily := ConfigPatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}}
	for name, tt := range map[string]struct {
		patch ConfigPatch
		want  time.Duration // period of the job
	}{
		"disable": {ConfigPatch{DisableAutomatedRotation: ptr(true)}, 0},
		"change":  {ConfigPatch{Schedule: SchedulePatch{Period: ptr(48 * time.Hour)}}, 48 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				m := &brokenManager{}
				write := func(patch ConfigPatch) (err error) {
					defer func() { _ = recover() }()
					return e.WriteConfig(t.Context(), patch, m)
				}
				if err := write(daily); err != nil || !storedConfig(t, storage).ManagedRotation {
					t.Fatalf("not handed over: %v", err)
				}
				m.crash = true
				_ = write(tt.patch)
				e.Close()
				m.crash = false
				e = testEngine(f, storage)
				defer e.Close()
				if err := write(tt.patch); err != nil {
					t.Fatal(err)
				}
				if managed := storedConfig(t, storage).ManagedRotation; m.job.Period != tt.want || managed != (tt.want > 0) {
					t.Errorf("job %v, managed %v", m.job, managed)
				}
			})
		})
	}
}

// A tick during the hand-over does not rotate in place of the rotation manager.
func TestTickDuringHandOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f)
		defer e.Close()
		m := &brokenManager{}
		every := func(d time.Duration) {
			if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: &d}}, m); err != nil {
				t.Fatal(err)
			}
		}
		every(30 * 24 * time.Hour)
		if _, err := e.RotateRoot(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * 24 * time.Hour)
		m.slow = 2 * time.Second
		time.AfterFunc(time.Second, func() { e.Tick(context.Background()) })
		every(7 * 24 * time.Hour) // overdue at once
		time.Sleep(30 * time.Second)
		if f.changed() != 1 {
			t.Errorf("%d changes, want that of the request", f.changed())
		}
	})
}
