// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// unresolved is configured with a rotate-root that got no answer. It stays unresolved,
// since ECGrid is down for logins.
func unresolved(t *testing.T, applied bool) (*fakeECGrid, *Engine, *logical.InmemStorage) {
	t.Helper()
	f, e, storage := configured(t)
	if applied {
		f.set(func() { f.lost["ChangePassword"] = ecgrid.ErrTimeout })
	} else {
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
	}
	wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
	f.failWith("Login", ecgrid.ErrUnreachable)
	f.failWith("Version", ecgrid.ErrUnreachable)
	return f, e, storage
}

// A config write that would drop the only copy of a password is refused, unless it brings
// a credential that works. A delete is always refused.
func TestUnresolvedPasswordIsKept(t *testing.T) {
	t.Parallel()
	write := func(p ConfigPatch) func(*Engine) error {
		return func(e *Engine) error { return e.WriteConfig(context.Background(), p, noManager{}) }
	}
	for name, tt := range map[string]struct {
		do    func(*Engine) error
		works bool // ECGrid accepts logins again
		want  error
		kept  int
	}{
		"delete":                         {do: func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) }, want: ErrUnresolved, kept: 1},
		"delete, ECGrid works":           {do: func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) }, works: true, want: ErrUnresolved, kept: 1},
		"another user":                   {do: write(ConfigPatch{Username: ptr("other")}), want: ErrUnresolved, kept: 1},
		"an api_key, not verified":       {do: write(ConfigPatch{APIKey: ptr("api-key"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"an api_key that does not work":  {do: write(ConfigPatch{APIKey: ptr("no-key")}), works: true, want: session.ErrRefused, kept: 1},
		"an api_key that works":          {do: write(ConfigPatch{APIKey: ptr("api-key")}), works: true, kept: 1},
		"another host, not verified":     {do: write(ConfigPatch{URL: ptr("https://new.example/x"), Password: ptr("right"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"another password, not verified": {do: write(ConfigPatch{Password: ptr("third"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"another password, wrong":        {do: write(ConfigPatch{Password: ptr("third")}), works: true, want: session.ErrRefused, kept: 1},
		"another password, ECGrid down":  {do: write(ConfigPatch{Password: ptr("third")}), want: ecgrid.ErrUnreachable, kept: 1},
		"a ttl":                          {do: write(ConfigPatch{TTL: ptr(time.Hour)}), kept: 1},
		"a null api_key and a ttl":       {do: write(ConfigPatch{ClearAPIKey: true, TTL: ptr(time.Hour)}), works: true, kept: 1},
		"the same password, unverified":  {do: write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)}), kept: 1},
		"the same password, if it works": {do: write(ConfigPatch{Password: ptr("right")}), works: true, kept: 1},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := unresolved(t, false)
			time.Sleep(time.Millisecond)
			if tt.works {
				f.set(func() { delete(f.fail, "Login"); delete(f.fail, "Version") })
			}
			err := tt.do(e)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if errors.Is(err, ErrUnresolved) {
				wantStatus(t, err, http.StatusConflict)
			}
			if c := storedConfig(t, e); len(c.Pending) != tt.kept {
				t.Errorf("%d passwords are pending, want %d", len(c.Pending), tt.kept)
			}
			e.Close()
			time.Sleep(2 * time.Minute)
		})
	}
}

// An operator's credential that works resolves a rotate-root. The pending password is kept
// for a day, since ECGrid may still apply the change.
func TestOperatorResolves(t *testing.T) {
	t.Parallel()
	for name, delay := range map[string]time.Duration{"never applied": 0, "applied after an hour": time.Hour, "applied after 23 hours": 23 * time.Hour} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := unresolved(t, false)
			pending := storedConfig(t, e).unresolved().Password
			f.set(func() { clear(f.fail); f.password = "third" })
			writeConfig(t, e, ConfigPatch{Password: ptr("third")})
			checkHealthy(t, f, e)
			wantErr(t, e.DeleteConfig(t.Context(), noManager{}), ErrPasswordKept)
			if last := storedConfig(t, e).Root.LastError; last != "" {
				t.Errorf("the error is still recorded: %q", last)
			}
			if delay > 0 {
				tickFor(t, e, delay)
				f.set(func() { f.password = pending; clear(f.sessions) })
				tickFor(t, e, 5*time.Minute)
				checkHealthy(t, f, e)
				time.Sleep(2 * time.Second)
				checkHealthy(t, f, e)
			}
			check(t, errOf(e.RotateRoot(t.Context())))
			checkHealthy(t, f, e)
			tickFor(t, e, 25*time.Hour)
			if n := len(storedConfig(t, e).Pending); n != 0 {
				t.Errorf("%d passwords are pending after a day", n)
			}
			check(t, e.DeleteConfig(t.Context(), noManager{}))
		})
	}
}

// ECGrid refuses both passwords. Both are kept, logins are paced, and config says so. It
// ends when one of them works again, or with another password.
func TestBothPasswordsRefused(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, f *fakeECGrid, e *Engine){
		"the new one works": func(t *testing.T, f *fakeECGrid, e *Engine) {
			pending := storedConfig(t, e).unresolved().Password
			f.set(func() { f.password = pending })
		},
		"the old one works": func(_ *testing.T, f *fakeECGrid, _ *Engine) {
			f.set(func() { f.password = "right"; clear(f.fail); clear(f.hooks) })
		},
		"a third one is written": func(t *testing.T, _ *fakeECGrid, e *Engine) {
			writeConfig(t, e, ConfigPatch{Password: ptr("third")})
		},
	} {
		for _, restart := range []bool{false, true} {
			runCase(t, name, func(t *testing.T) {
				f, e, storage := configured(t)
				f.failWith("ChangePassword", ecgrid.ErrTimeout)
				f.on("ChangePassword", func() { f.set(func() { f.password = "third" }) })
				wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
				f.set(func() { clear(f.sessions) })
				for range 3600 {
					err := errOf(e.IssueKey(t.Context(), 5001, 0))
					if !errors.Is(err, session.ErrPaused) && !errors.Is(err, session.ErrRefused) {
						t.Fatalf("a read returned %v", err)
					}
					if storedConfig(t, e).Root.LastError == "" {
						t.Fatal("config has no last_root_rotation_error")
					}
					time.Sleep(time.Second)
				}
				checkRefused(t, f, 3)
				if n := len(f.now().refused); n < 4 || n > 12 {
					t.Errorf("%d logins were refused in an hour, want 4 to 12", n)
				}
				if storedConfig(t, e).unresolved() == nil {
					t.Fatal("the new password is lost")
				}
				if restart {
					e.Close()
					e = testEngine(t, f, storage)
					e.Start()
				}
				end(t, f, e)
				time.Sleep(time.Hour)
				checkHealthy(t, f, e)
				f.set(func() { clear(f.fail); clear(f.hooks) })
				check(t, errOf(e.RotateRoot(t.Context())))
				checkHealthy(t, f, e)
			})
		}
	}
}

// After a lost answer ECGrid is down for long. The rotate-root stays unresolved, also after
// restarts, and few Logins are sent. When ECGrid is back, it is resolved.
func TestUnresolvedWhileECGridIsDown(t *testing.T) {
	t.Parallel()
	for _, down := range []error{ecgrid.ErrUnreachable, ecgrid.ErrTimeout, ecgrid.ErrBadAnswer} {
		for _, applied := range []bool{true, false} {
			runCase(t, down.Error(), func(t *testing.T) {
				f, e, storage := unresolved(t, applied)
				f.failWith("Login", down)
				f.failWith("Version", down)
				for range 5 {
					for range 3 {
						wantStatus(t, errOf(e.RotateRoot(t.Context())), http.StatusConflict)
					}
					tickFor(t, e, 10*time.Minute)
					e.Close()
					e = testEngine(t, f, storage)
					e.Start()
				}
				checkCalls(t, f, "ChangePassword", 1)
				if c := storedConfig(t, e); c.unresolved() == nil || c.Root.LastError == "" {
					t.Errorf("the rotate-root is not unresolved, or has no error: %q", c.Root.LastError)
				}
				if n := f.now().calls["Login"]; n > 12 {
					t.Errorf("%d Logins were sent while ECGrid was down, want at most 12", n)
				}
				f.set(func() { clear(f.fail); clear(f.lost) })
				time.Sleep(20 * time.Minute)
				checkHealthy(t, f, e)
				if n := len(f.now().refused); n > 1 {
					t.Errorf("%d logins were refused, want at most 1", n)
				}
			})
		}
	}
}

// If an operator's credential has resolved a rotate-root, its error is cleared.
func TestLastErrorIsCleared(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
		_, _ = e.RotateRoot(t.Context())
		time.Sleep(time.Minute)
		f.set(func() { f.password = "by support" })
		f.failWith("ChangePassword", nil)
		writeConfig(t, e, ConfigPatch{Password: ptr("by support")})
		time.Sleep(time.Hour)
		if c := storedConfig(t, e); c.unresolved() == nil && c.Root.LastError != "" {
			t.Errorf("last_root_rotation_error is %q an hour after the rotate-root was resolved", c.Root.LastError)
		}
	})
}
