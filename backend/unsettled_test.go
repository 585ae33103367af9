package backend

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// unsettledMount is a mount whose rotate-root got no answer; landed tells whether it
// was made. ECGrid takes no login, so that it stays so.
func unsettledMount(t *testing.T, f *fakeECGrid, landed bool) (*Engine, *logical.InmemStorage) {
	t.Helper()
	e, storage := configured(t, f)
	if landed {
		f.loses("ChangePassword", ecgrid.ErrTimeout)
	} else {
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
	}
	if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
		t.Fatalf("got %v", err)
	}
	f.failWith("Login", ecgrid.ErrUnreachable)
	f.failWith("Version", ecgrid.ErrUnreachable)
	return e, storage
}

// What would drop the only copy of a password is refused, unless it brings a
// credential that works.
func TestUnsettledIsNotDropped(t *testing.T) {
	t.Parallel()
	write := func(p ConfigPatch) func(*Engine) error {
		return func(e *Engine) error { return e.WriteConfig(context.Background(), p, noManager{}) }
	}
	for name, tt := range map[string]struct {
		do    func(*Engine) error
		works bool // ECGrid takes logins again
		want  error
		kept  int
	}{
		"delete":                         {do: func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) }, want: ErrUnresolved, kept: 1},
		"delete, ECGrid well":            {do: func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) }, works: true, want: ErrUnresolved, kept: 1},
		"another user":                   {do: write(ConfigPatch{Username: ptr("other")}), want: ErrUnresolved, kept: 1},
		"an api_key, not tried":          {do: write(ConfigPatch{APIKey: ptr("api-key"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"an api_key that does not work":  {do: write(ConfigPatch{APIKey: ptr("no-key")}), works: true, want: session.ErrRefused, kept: 1},
		"an api_key that works":          {do: write(ConfigPatch{APIKey: ptr("api-key")}), works: true, kept: 1},
		"another host, not tried":        {do: write(ConfigPatch{URL: ptr("https://new.example/x"), Password: ptr("right"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"another password, not tried":    {do: write(ConfigPatch{Password: ptr("third"), VerifyConnection: ptr(false)}), want: ErrUnresolved, kept: 1},
		"another password, wrong":        {do: write(ConfigPatch{Password: ptr("third")}), works: true, want: session.ErrRefused, kept: 1},
		"another password, ECGrid down":  {do: write(ConfigPatch{Password: ptr("third")}), want: ecgrid.ErrUnreachable, kept: 1},
		"what is not about the login":    {do: write(ConfigPatch{TTL: ptr(time.Hour)}), kept: 1},
		"an api_key by null and a ttl":   {do: write(ConfigPatch{ClearAPIKey: true, TTL: ptr(time.Hour)}), works: true, kept: 1},
		"the same password, not tried":   {do: write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)}), kept: 1},
		"the same password, if it works": {do: write(ConfigPatch{Password: ptr("right")}), works: true, kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := unsettledMount(t, f, false)
				time.Sleep(time.Millisecond)
				if tt.works {
					f.set(func() { delete(f.fail, "Login"); delete(f.fail, "Version") })
				}
				err := tt.do(e)
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if status, _, _ := Describe(err); errors.Is(err, ErrUnresolved) && status != http.StatusConflict {
					t.Errorf("status %d", status)
				}
				if c := storedConfig(t, storage); len(c.Pending) != tt.kept {
					t.Errorf("%d passwords are kept, want %d", len(c.Pending), tt.kept)
				}
				e.Close()
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// An operator's credential that works is used at once; what may land late is kept
// beside it for a day, as a password that the login may have, and no longer.
func TestOperatorEndsTheDoubt(t *testing.T) {
	t.Parallel()
	for name, lands := range map[string]time.Duration{"never": 0, "an hour later": time.Hour, "at the end of the day": 23 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := unsettledMount(t, f, false)
				pending := storedConfig(t, storage).unresolved().Password
				f.set(func() { clear(f.fail); f.password = "third" })
				if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("third")}, noManager{}); err != nil {
					t.Fatal(err)
				}
				settled(t, f, e, storage)
				if err := e.DeleteConfig(t.Context(), noManager{}); !errors.Is(err, ErrUnresolved) {
					t.Errorf("delete on the same day: %v", err)
				}
				if last := storedConfig(t, storage).Root.LastError; last != "" {
					t.Errorf("it is still said: %q", last)
				}
				if lands > 0 {
					ticks(t, e, storage, lands)
					f.set(func() { f.password = pending })
					f.killSessions()
					ticks(t, e, storage, 5*time.Minute)
					settled(t, f, e, storage)
					time.Sleep(2 * time.Second)
					settled(t, f, e, storage)
				}
				if _, err := e.RotateRoot(t.Context()); err != nil {
					t.Errorf("the next rotate-root: %v", err)
				}
				settled(t, f, e, storage)
				ticks(t, e, storage, 25*time.Hour)
				if n := len(storedConfig(t, storage).Pending); n != 0 {
					t.Errorf("%d passwords are kept after the day", n)
				}
				if err := e.DeleteConfig(t.Context(), noManager{}); err != nil {
					t.Errorf("delete: %v", err)
				}
				e.Close()
			})
		})
	}
}

// ECGrid takes neither password: both are kept, tries are few, and it is said. Any
// way out is taken.
func TestBothPasswordsRefused(t *testing.T) {
	t.Parallel()
	for name, wayOut := range map[string]func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage){
		"the new one": func(t *testing.T, f *fakeECGrid, _ *Engine, storage logical.Storage) {
			pending := storedConfig(t, storage).unresolved().Password
			f.set(func() { f.password = pending })
		},
		"the old one": func(_ *testing.T, f *fakeECGrid, _ *Engine, _ logical.Storage) {
			f.set(func() { f.password = "right"; delete(f.fail, "ChangePassword"); f.during = nil })
		},
		"a third one": func(t *testing.T, _ *fakeECGrid, e *Engine, _ logical.Storage) {
			if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("third")}, noManager{}); err != nil {
				t.Errorf("config write: %v", err)
			}
		},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, storage := configured(t, f)
					f.failWith("ChangePassword", ecgrid.ErrTimeout)
					f.whenever(func(op string) {
						if op == "ChangePassword" {
							f.set(func() { f.password = "third" })
						}
					})
					if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) {
						t.Errorf("got %v", err)
					}
					f.killSessions()
					for range 3600 {
						_, err := e.IssueKey(t.Context(), 5001, 0)
						if !errors.Is(err, session.ErrPaused) && !errors.Is(err, session.ErrRefused) {
							t.Fatalf("a read: %v", err)
						}
						if storedConfig(t, storage).Root.LastError == "" {
							t.Fatal("it is not said")
						}
						time.Sleep(time.Second)
					}
					if n := f.refusedIn(15 * time.Minute); n > 3 || f.refusedLogins() > 12 || f.refusedLogins() < 4 {
						t.Errorf("%d refused logins in an hour, %d in 15 minutes", f.refusedLogins(), n)
					}
					if storedConfig(t, storage).unresolved() == nil {
						t.Fatal("the new password is gone")
					}
					if restart {
						e.Close()
						e = testEngine(f, storage)
						e.Start()
					}
					wayOut(t, f, e, storage)
					time.Sleep(time.Hour)
					settled(t, f, e, storage)
					f.set(func() { clear(f.fail); f.during = nil })
					if _, err := e.RotateRoot(t.Context()); err != nil {
						t.Errorf("the next: %v", err)
					}
					settled(t, f, e, storage)
					e.Close()
				})
			})
		}
	}
}

// ECGrid is down for long after a lost answer: the doubt stays, also over restarts,
// few Logins are sent into the dark, and it ends by itself.
func TestOutcomeUnknownForLong(t *testing.T) {
	t.Parallel()
	for _, down := range []error{ecgrid.ErrUnreachable, ecgrid.ErrTimeout, ecgrid.ErrBadAnswer} {
		for _, made := range []bool{true, false} {
			t.Run(down.Error(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, storage := unsettledMount(t, f, made)
					f.failWith("Login", down)
					f.failWith("Version", down)
					for range 5 {
						for range 3 {
							if _, err := e.RotateRoot(t.Context()); err == nil {
								t.Error("rotated")
							} else if status, _, _ := Describe(err); status != http.StatusConflict {
								t.Errorf("answered %d: %v", status, err)
							}
						}
						ticks(t, e, storage, 10*time.Minute)
						e.Close()
						e = testEngine(f, storage)
						e.Start()
					}
					if c := storedConfig(t, storage); c.unresolved() == nil || c.Root.LastError == "" || f.count("ChangePassword") != 1 {
						t.Errorf("sent %d times, %q", f.count("ChangePassword"), c.Root.LastError)
					}
					if n := f.count("Login"); n > 12 {
						t.Errorf("%d logins were sent to an ECGrid that answers nothing", n)
					}
					f.set(func() { clear(f.fail); clear(f.lost) })
					time.Sleep(20 * time.Minute)
					settled(t, f, e, storage)
					if f.refusedLogins() > 1 {
						t.Errorf("%d refused logins", f.refusedLogins())
					}
					e.Close()
				})
			})
		}
	}
}

// The last password that an operator wrote is remembered through any number of
// rotations, and never tried again once it was replaced.
func TestSupersededPassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
		if err := write(ConfigPatch{Password: ptr("right")}); err != nil {
			t.Fatal(err)
		}
		at, err := e.RotateRoot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Hour)
			asked := f.count("Login") + f.count("WhoAmI")
			for range 20 {
				for name, patch := range map[string]ConfigPatch{
					"alone":           {Password: ptr("right")},
					"with its user":   {Username: ptr("LOGIN"), Password: ptr("right")},
					"unverified":      {Username: ptr("login"), Password: ptr("right"), VerifyConnection: ptr(false)},
					"with a new path": {URL: ptr("https://os.ecgrid.io/x"), Password: ptr("right")},
				} {
					err := write(patch)
					_, message, _ := Describe(err)
					if !errors.Is(err, ErrInvalid) || !strings.Contains(message, at.Format(time.RFC3339)) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
			if f.count("Login")+f.count("WhoAmI") != asked {
				t.Error("it was tried")
			}
			settled(t, f, e, storage)
			if _, err := e.RotateRoot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// One that did not work takes nothing's place.
		if err := write(ConfigPatch{Password: ptr("wrong")}); !errors.Is(err, session.ErrRefused) {
			t.Errorf("got %v", err)
		}
		if err := write(ConfigPatch{Password: ptr("right")}); !errors.Is(err, ErrInvalid) {
			t.Errorf("got %v", err)
		}
		// One that works does; and what was not superseded is no more than wrong.
		f.set(func() { f.password = "third" })
		if err := write(ConfigPatch{Password: ptr("third")}); err != nil {
			t.Errorf("got %v", err)
		}
		if err := write(ConfigPatch{Password: ptr("right")}); !errors.Is(err, session.ErrRefused) {
			t.Errorf("got %v", err)
		}
		settled(t, f, e, storage)

		// It is a password like any other for somebody else, also elsewhere.
		if _, err := e.RotateRoot(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, patch := range []ConfigPatch{
			{URL: ptr("https://other.example/x"), Password: ptr("third")},
			{Username: ptr("other"), Password: ptr("third")},
		} {
			patch.VerifyConnection = ptr(false)
			if err := write(patch); err != nil {
				t.Errorf("another login: %v", err)
			}
		}
		if c := storedConfig(t, storage); !c.SupersededAt.IsZero() || !c.Root.Last.IsZero() {
			t.Errorf("remembered of another login: %s", c.SupersededAt)
		}
		e.Close()
	})
}
