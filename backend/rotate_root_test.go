// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// rotate-root changes the password once, and the next process uses the new one.
func TestRotateRoot(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t, func(c *Config) { c.SessionIdleTimeout = idle })
			at, err := e.RotateRoot(t.Context())
			check(t, err)
			c := storedConfig(t, e)
			if !at.Equal(c.Root.Last) || at.IsZero() || at.Location() != time.UTC || len(c.Pending) != 0 {
				t.Errorf("rotated at %s, recorded at %s, %d passwords pending", at, c.Root.Last, len(c.Pending))
			}
			checkHealthy(t, f, e)
			e.Close()
			checkCalls(t, f, "ChangePassword", 1)
			checkRefused(t, f, 0)
			checkSessions(t, f, 0)
			e = testEngine(t, f, storage)
			checkHealthy(t, f, e)
		})
	}
}

// What a failed rotate-root returns, records and keeps. Later it succeeds.
func TestRotateRootFailures(t *testing.T) {
	t.Parallel()
	changing := func(kind error) func(*fakeECGrid) {
		return func(f *fakeECGrid) { f.failWith("ChangePassword", kind) }
	}
	for name, tt := range map[string]struct {
		setup      func(f *fakeECGrid)
		config     func(*Config)
		want       error
		status     int
		recorded   bool
		kept       bool // the password that was sent
		unresolved bool
	}{
		"an api_key has no password": {config: withAPIKey, want: ErrInvalid, status: http.StatusBadRequest},
		"refused":                    {setup: changing(ecgrid.ErrAccessDenied), want: ecgrid.ErrAccessDenied, status: http.StatusForbidden, recorded: true, kept: true},
		"unknown fault":              {setup: changing(ecgrid.ErrFault), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true},
		"session dead":               {setup: changing(ecgrid.ErrSessionExpired), want: ErrNotApplied, status: http.StatusConflict, recorded: true, kept: true},
		"login refused":              {setup: func(f *fakeECGrid) { f.password = "other" }, want: session.ErrRefused, status: http.StatusBadRequest, recorded: true},
		"unreachable":                {setup: func(f *fakeECGrid) { f.failWith("Login", ecgrid.ErrUnreachable) }, want: ecgrid.ErrUnreachable, status: http.StatusServiceUnavailable, recorded: true},
		"timeout":                    {setup: changing(ecgrid.ErrTimeout), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true, unresolved: true},
		"connection lost":            {setup: changing(ecgrid.ErrUnreachable), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true, unresolved: true},
		"server fault":               {setup: changing(ecgrid.ErrServerFault), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true, unresolved: true},
		"bad answer":                 {setup: changing(ecgrid.ErrBadAnswer), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true, unresolved: true},
		"empty result":               {setup: changing(ecgrid.ErrEmptyResult), want: ErrUnconfirmed, status: http.StatusConflict, recorded: true, kept: true, unresolved: true},
		"weak password policy":       {config: func(c *Config) { c.PasswordPolicy = "p" }, setup: func(f *fakeECGrid) { f.policy = "weak" }, want: ErrInvalid, status: http.StatusBadRequest, recorded: true},
	} {
		runCase(t, name, func(t *testing.T) {
			if tt.config == nil {
				tt.config = func(*Config) {}
			}
			f, e, _ := configured(t, tt.config)
			if tt.setup != nil {
				tt.setup(f)
			}
			err := errOf(e.RotateRoot(t.Context()))
			wantErr(t, err, tt.want)
			wantStatus(t, err, tt.status)
			checkChanges(t, f, 0)
			c := storedConfig(t, e)
			if (c.Root.LastError != "") != tt.recorded || !c.Root.Last.IsZero() || !c.SupersededAt.IsZero() {
				t.Errorf("recorded %+v, superseded at %s", c.Root, c.SupersededAt)
			}
			if (len(c.Pending) == 1) != tt.kept || (c.unresolved() != nil) != tt.unresolved {
				t.Errorf("%d passwords are pending, unresolved: %t", len(c.Pending), c.unresolved() != nil)
			}
			f.set(func() { clear(f.fail); f.password, f.policy = "right", "Str0ng.password" })
			time.Sleep(20 * time.Minute)
			checkHealthy(t, f, e)
			if tt.recorded {
				check(t, errOf(e.RotateRoot(t.Context())))
				if c := storedConfig(t, e); c.Root.LastError != "" || c.Root.Last.IsZero() {
					t.Errorf("after a success: %+v", c.Root)
				}
			}
		})
	}
}

// Failed Logins with earlier passwords do not pause a Login with the current one.
func TestLoginPacingAfterRotateRoot(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		for i := range 12 {
			f.set(func() { clear(f.sessions) })
			if i%2 == 0 { // a Login is lost, the next one works
				f.failWith("Login", ecgrid.ErrTimeout)
				wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ecgrid.ErrTimeout)
				f.failWith("Login", nil)
			}
			readKey(t, e, 5001)
			lost := i == 10 // costs a refused Login
			if lost {
				f.set(func() { f.lost["ChangePassword"] = ecgrid.ErrTimeout })
			}
			if err := errOf(e.RotateRoot(t.Context())); (err != nil) != lost {
				t.Fatalf("rotation %d: %v", i, err)
			}
			f.set(func() { f.lost["ChangePassword"] = nil })
			time.Sleep(20 * time.Second)
		}
		f.set(func() { clear(f.sessions) })
		f.failWith("Login", ecgrid.ErrTimeout)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ecgrid.ErrTimeout)
		f.failWith("Login", nil)
		checkHealthy(t, f, e)
		e.Close()
		e = testEngine(t, f, storage)
		checkHealthy(t, f, e)
	})
}

// A password that was not sent is removed at once and not tried. rotate-root can be
// repeated.
func TestRotateRootNotSent(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, _, storage := configured(t)
		e, _ := startProcess(t, f, storage, func(s step) error {
			if s.op == "ChangePassword" && !s.done {
				return &ecgrid.Error{Op: s.op, Kind: ecgrid.ErrUnreachable}
			}
			return nil
		})
		err := errOf(e.RotateRoot(t.Context()))
		if !errors.Is(err, ecgrid.ErrUnreachable) || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("got error %v, want only %v", err, ecgrid.ErrUnreachable)
		}
		if n := len(storedConfig(t, e).Pending); n != 0 {
			t.Errorf("%d passwords are pending", n)
		}
		f.set(func() { f.password = "other"; clear(f.sessions) })
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), session.ErrRefused)
		if n := len(f.now().refused); n != 1 {
			t.Errorf("%d logins were refused, want 1", n)
		}
		f.set(func() { f.password = "right" })
		time.Sleep(time.Minute)
		checkHealthy(t, f, e)
	})
}

// A panic of the client counts as a lost answer.
func TestRotateRootPanics(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"before": false, "after": true} {
		runCase(t, name, func(t *testing.T) {
			f, _, storage := configured(t)
			once := false
			e, _ := startProcess(t, f, storage, func(s step) error {
				if s == (step{op: "ChangePassword", done: done}) && !once {
					once = true
					panic("bug")
				}
				return nil
			})
			err := errOf(e.RotateRoot(t.Context()))
			wantErr(t, err, ErrUnconfirmed)
			wantErr(t, err, panics.Err)
			time.Sleep(time.Minute)
			checkHealthy(t, f, e)
			checkChanges(t, f, 1)
		})
	}
}

// If the client hangs up, a rotate-root that has begun goes on.
func TestRotateRootCanceled(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"Login", "WhoAmI", "ChangePassword"} {
		runCase(t, op, func(t *testing.T) {
			f, e, _ := configured(t)
			ctx, hangUp := context.WithCancel(t.Context())
			f.on(op, hangUp)
			check(t, errOf(e.RotateRoot(ctx)))
			checkChanges(t, f, 1)
			checkHealthy(t, f, e)
		})
	}
}
