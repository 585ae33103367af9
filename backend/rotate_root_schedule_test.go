// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// enterpriseManager is the rotation manager of Vault Enterprise.
type enterpriseManager struct {
	job   Schedule
	crash bool // the process is killed before the job is registered
	slow  time.Duration
}

func (m *enterpriseManager) Keep(_ context.Context, s Schedule) bool {
	if m.crash {
		panic("killed")
	}
	time.Sleep(m.slow)
	m.job = s
	return !s.IsZero()
}

// When and how often the password is rotated.
func TestScheduledRotateRoot(t *testing.T) {
	t.Parallel()
	daily := SchedulePatch{Period: ptr(24 * time.Hour)}
	nightly := SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}
	wantChanges := func(s scheduled, want int) {
		s.Helper()
		s.wantChanges(want)
		checkCalls(s.T, s.f, "ChangePassword", want)
	}
	wantNext := func(s scheduled, want time.Time) {
		s.Helper()
		if next := storedConfig(s.T, s.e).Root.Next; !next.Equal(want) {
			s.Errorf("the next rotation is at %s, want %s", next, want)
		}
	}
	for name, tt := range map[string]struct {
		schedule SchedulePatch
		do       func(s scheduled)
	}{
		"every day": {daily, func(s scheduled) {
			s.tick(24*time.Hour - time.Minute)
			wantChanges(s, 0)
			s.tick(time.Hour)
			wantChanges(s, 1)
			s.tick(72 * time.Hour)
			wantChanges(s, 4)
		}},
		"late rotation, once": {daily, func(s scheduled) {
			time.Sleep(240 * time.Hour)
			s.tick(2 * time.Minute)
			wantChanges(s, 1)
			if left := time.Until(storedConfig(s.T, s.e).Root.Next); left < 23*time.Hour {
				s.Errorf("the next rotation is in %s, want about a day", left)
			}
		}},
		"within its window": {nightly, func(s scheduled) {
			s.tick(3*time.Hour - time.Minute)
			wantChanges(s, 0)
			s.tick(time.Hour)
			wantChanges(s, 1)
		}},
		"missed window": {nightly, func(s scheduled) {
			time.Sleep(5 * time.Hour)
			s.tick(2 * time.Minute)
			wantChanges(s, 0)
			wantNext(s, clock(3, 0, 0).AddDate(0, 0, 1))
			s.tick(24 * time.Hour)
			wantChanges(s, 1)
		}},
		"disabled and enabled": {daily, func(s scheduled) {
			disable := func(v bool) { writeConfig(s.T, s.e, ConfigPatch{DisableAutomatedRotation: &v}) }
			disable(true)
			wantNext(s, time.Time{})
			s.tick(48 * time.Hour)
			wantChanges(s, 0)
			disable(false)
			s.tick(25 * time.Hour)
			wantChanges(s, 1)
		}},
		"by Vault Enterprise": {daily, func(s scheduled) {
			manager := new(enterpriseManager)
			check(s.T, s.e.WriteConfig(s.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(12 * time.Hour)}}, manager))
			if manager.job != (Schedule{Period: 12 * time.Hour}) {
				s.Errorf("the rotation manager got %+v, want 12 hours", manager.job)
			}
			s.tick(48 * time.Hour)
			wantChanges(s, 0)
			check(s.T, s.e.DeleteConfig(s.Context(), manager))
			if !manager.job.IsZero() {
				s.Errorf("the rotation manager still has %+v", manager.job)
			}
			writeConfig(s.T, s.e, ConfigPatch{Username: ptr("login"), Password: ptr("right")})
		}},
		"rotate-root before it is due": {daily, func(s scheduled) {
			time.Sleep(20 * time.Hour)
			check(s.T, errOf(s.e.RotateRoot(s.Context())))
			s.tick(23 * time.Hour)
			wantChanges(s, 1)
			s.tick(2 * time.Hour)
			wantChanges(s, 2)
		}},
		"restart": {daily, func(s scheduled) {
			time.Sleep(20 * time.Hour)
			s.e.Close()
			next := testEngine(s.T, s.f, s.storage)
			tickFor(s.T, next, 5*time.Hour)
			wantChanges(s, 1)
			next.Close()
		}},
		"api_key": {daily, func(s scheduled) {
			writeConfig(s.T, s.e, ConfigPatch{APIKey: ptr("api-key")})
			wantNext(s, time.Time{})
			s.tick(48 * time.Hour)
			wantChanges(s, 0)
			writeConfig(s.T, s.e, ConfigPatch{Username: ptr("login"), Password: ptr("right")})
		}},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			writeConfig(t, e, ConfigPatch{Schedule: tt.schedule})
			tt.do(scheduled{t, f, e, storage})
			e.Close()
			e = testEngine(t, f, storage)
			checkHealthy(t, f, e)
		})
	}
}

// A rotate-root that fails is tried again with growing pauses, and records why it failed.
func TestScheduledRotateRootBackoff(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op          string
		kind        error
		least, most int           // calls of op in six hours
		recovery    time.Duration // at most
	}{
		"refused":       {"ChangePassword", ecgrid.ErrAccessDenied, maxRefused, maxRefused, 26 * time.Hour},
		"unreachable":   {"Login", ecgrid.ErrUnreachable, 8, 12, time.Hour + time.Minute},
		"login refused": {"Login", ecgrid.ErrAuthentication, 8, 12, time.Hour + time.Minute},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			writeConfig(t, e, ConfigPatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
			time.Sleep(25 * time.Hour)
			f.failWith(tt.op, tt.kind)
			tickFor(t, e, 6*time.Hour)
			if n := f.now().calls[tt.op]; n < tt.least || n > tt.most {
				t.Errorf("%s was called %d times, want %d to %d", tt.op, n, tt.least, tt.most)
			}
			checkChanges(t, f, 0)
			if r := storedConfig(t, e).Root; r.LastError == "" || !r.Last.IsZero() {
				t.Errorf("the failure is not recorded: %+v", r)
			}
			f.failWith(tt.op, nil)
			tickFor(t, e, tt.recovery)
			checkChanges(t, f, 1)
			if r := storedConfig(t, e).Root; r.LastError != "" || r.Last.IsZero() {
				t.Errorf("the rotation is not recorded as a success: %+v", r)
			}
			checkHealthy(t, f, e)
		})
	}
}

// A write that is repeated after a crash completes the hand-over to the rotation manager.
func TestRepeatedWriteCompletesHandOver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patch  ConfigPatch
		period time.Duration // of the job that the rotation manager has in the end
	}{
		"disable": {ConfigPatch{DisableAutomatedRotation: ptr(true)}, 0},
		"change":  {ConfigPatch{Schedule: SchedulePatch{Period: ptr(48 * time.Hour)}}, 48 * time.Hour},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			m := new(enterpriseManager)
			check(t, e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}}, m))
			if !storedConfig(t, e).ManagedRotation {
				t.Fatal("the rotation was not handed over")
			}
			m.crash = true
			func() {
				defer func() { _ = recover() }()
				_ = e.WriteConfig(t.Context(), tt.patch, m)
			}()
			e.Close()
			m.crash = false
			e = testEngine(t, f, storage)
			check(t, e.WriteConfig(t.Context(), tt.patch, m))
			if managed := storedConfig(t, e).ManagedRotation; m.job.Period != tt.period || managed != (tt.period > 0) {
				t.Errorf("the rotation manager has %+v, managed_rotation is %t", m.job, managed)
			}
		})
	}
}

// A tick during the hand-over does not rotate in place of the rotation manager.
func TestTickDuringHandOver(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		m := new(enterpriseManager)
		rotateEvery := func(d time.Duration) {
			check(t, e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: &d}}, m))
		}
		rotateEvery(30 * 24 * time.Hour)
		check(t, errOf(e.RotateRoot(t.Context())))
		time.Sleep(20 * 24 * time.Hour)
		m.slow = 2 * time.Second
		time.AfterFunc(time.Second, func() { e.Tick(context.Background()) })
		rotateEvery(7 * 24 * time.Hour) // overdue at once
		time.Sleep(30 * time.Second)
		checkChanges(t, f, 1) // that of the request
	})
}
