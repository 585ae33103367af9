package backend

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
				at, err := e.RotateRoot(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				c := storedConfig(t, storage)
				if !at.Equal(c.Root.Last) || at.IsZero() || at.Location() != time.UTC || len(c.Pending) != 0 {
					t.Errorf("at %s: last %s, %d pending", at, c.Root.Last, len(c.Pending))
				}
				settled(t, f, e, storage)
				e.Close()
				if f.count("ChangePassword") != 1 || f.refusedLogins() != 0 || f.openSessions() != 0 {
					t.Errorf("%d changes, %d refused logins, %d sessions left", f.count("ChangePassword"), f.refusedLogins(), f.openSessions())
				}
				e = testEngine(f, storage)
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

func TestRotateRootFailures(t *testing.T) {
	t.Parallel()
	changing := func(kind error) func(*fakeECGrid) {
		return func(f *fakeECGrid) { f.failWith("ChangePassword", kind) }
	}
	for name, tt := range map[string]struct {
		setup  func(f *fakeECGrid)
		config func(*Config)
		want   error
		status int
		noted  bool
		keeps  bool // the password that was sent is kept
		live   bool // it is to become the password yet
	}{
		"an api_key has no password":  {config: withAPIKey, want: ErrInvalid, status: http.StatusBadRequest},
		"refused":                     {setup: changing(ecgrid.ErrAccessDenied), want: ecgrid.ErrAccessDenied, status: http.StatusForbidden, noted: true, keeps: true},
		"refused for no known reason": {setup: changing(ecgrid.ErrFault), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true},
		"session dead":                {setup: changing(ecgrid.ErrSessionExpired), want: ErrNotApplied, status: http.StatusConflict, noted: true, keeps: true},
		"login refused":               {setup: func(f *fakeECGrid) { f.password = "other" }, want: session.ErrRefused, status: http.StatusBadRequest, noted: true},
		"unreachable":                 {setup: func(f *fakeECGrid) { f.failWith("Login", ecgrid.ErrUnreachable) }, want: ecgrid.ErrUnreachable, status: http.StatusServiceUnavailable, noted: true},
		"too slow":                    {setup: changing(ecgrid.ErrTimeout), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true, live: true},
		"lost":                        {setup: changing(ecgrid.ErrUnreachable), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true, live: true},
		"a server fault":              {setup: changing(ecgrid.ErrServerFault), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true, live: true},
		"nonsense":                    {setup: changing(ecgrid.ErrBadAnswer), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true, live: true},
		"no result":                   {setup: changing(ecgrid.ErrEmptyResult), want: ErrUnconfirmed, status: http.StatusConflict, noted: true, keeps: true, live: true},
		"a policy that does not hold": {config: func(c *Config) { c.PasswordPolicy = "p" }, setup: func(f *fakeECGrid) { f.policy = "weak" }, want: ErrInvalid, status: http.StatusBadRequest, noted: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				if tt.config == nil {
					tt.config = func(*Config) {}
				}
				e, storage := configured(t, f, tt.config)
				if tt.setup != nil {
					tt.setup(f)
				}
				_, err := e.RotateRoot(t.Context())
				if status, _, _ := Describe(err); !errors.Is(err, tt.want) || status != tt.status {
					t.Errorf("%d: %v", status, err)
				}
				c := storedConfig(t, storage)
				if (c.Root.LastError != "") != tt.noted || !c.Root.Last.IsZero() || !c.SupersededAt.IsZero() {
					t.Errorf("noted: %q", c.Root.LastError)
				}
				if (len(c.Pending) == 1) != tt.keeps || (c.unresolved() != nil) != tt.live || f.changed() != 0 {
					t.Errorf("%d pending, %d changes", len(c.Pending), f.changed())
				}
				f.set(func() { clear(f.fail); f.password, f.policy = "right", "Str0ng.password" })
				time.Sleep(20 * time.Minute)
				settled(t, f, e, storage)
				if tt.noted {
					if _, err := e.RotateRoot(t.Context()); err != nil {
						t.Errorf("later: %v", err)
					}
					if c := storedConfig(t, storage); c.Root.LastError != "" || c.Root.Last.IsZero() {
						t.Errorf("after success: %q", c.Root.LastError)
					}
				}
				e.Close()
			})
		})
	}
}

// What happened to Logins with the passwords before does not hold up the one of now.
func TestRotationsUseUpNoPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		for i := range 12 {
			f.killSessions()
			if i%2 == 0 { // a Login is lost, and then one works
				f.failWith("Login", ecgrid.ErrTimeout)
				if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ecgrid.ErrTimeout) {
					t.Errorf("%d: got %v", i, err)
				}
				f.failWith("Login", nil)
			}
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatalf("%d: a read: %v", i, err)
			}
			doubt := i == 10 // at the cost of a refused Login
			if doubt {
				f.loses("ChangePassword", ecgrid.ErrTimeout)
			}
			if _, err := e.RotateRoot(t.Context()); (err != nil) != doubt {
				t.Fatalf("%d: rotate-root: %v", i, err)
			}
			f.loses("ChangePassword", nil)
			time.Sleep(20 * time.Second)
		}
		f.killSessions()
		f.failWith("Login", ecgrid.ErrTimeout)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ecgrid.ErrTimeout) {
			t.Errorf("got %v", err) // it may have been refused, as one was: a second such would be the last
		}
		f.failWith("Login", nil)
		settled(t, f, e, storage)
		e.Close()
		e = testEngine(f, storage)
		settled(t, f, e, storage)
		e.Close()
	})
}

// A change that never left is taken back at once, and may be repeated.
func TestRotateRootNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		_, raw := configured(t, f)
		e, _ := start(f, raw, func(s step) error {
			if s.op == "ChangePassword" && !s.done {
				return &ecgrid.Error{Op: s.op, Kind: ecgrid.ErrUnreachable}
			}
			return nil
		})
		_, err := e.RotateRoot(t.Context())
		if !errors.Is(err, ecgrid.ErrUnreachable) || errors.Is(err, ErrUnconfirmed) {
			t.Errorf("got %v", err)
		}
		if n := len(storedConfig(t, raw).Pending); n != 0 {
			t.Errorf("%d pending", n)
		}
		f.set(func() { f.password = "other" }) // what was taken back is not tried
		f.killSessions()
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, session.ErrRefused) || f.refusedLogins() != 1 {
			t.Errorf("%v after %d refused logins", err, f.refusedLogins())
		}
		f.set(func() { f.password = "right" })
		time.Sleep(time.Minute)
		settled(t, f, e, raw)
		e.Close()
	})
}

// A panic of the client is a lost answer.
func TestRotateRootPanics(t *testing.T) {
	t.Parallel()
	for name, done := range map[string]bool{"before": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := configured(t, f)
				once := false
				e, _ := start(f, raw, func(s step) error {
					if s == (step{op: "ChangePassword", ecgrid: true, done: done}) && !once {
						once = true
						panic("bug")
					}
					return nil
				})
				if _, err := e.RotateRoot(t.Context()); !errors.Is(err, ErrUnconfirmed) || !errors.Is(err, panics.Err) {
					t.Errorf("got %v", err)
				}
				time.Sleep(time.Minute)
				settled(t, f, e, raw)
				if f.changed() != 1 {
					t.Errorf("%d changes", f.changed())
				}
				e.Close()
			})
		})
	}
}

// A client that hangs up changes nothing once it has begun.
func TestRotateRootHangUp(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"Login", "WhoAmI", "ChangePassword"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				ctx, hangUp := context.WithCancel(t.Context())
				f.whenever(func(running string) {
					if running == op {
						hangUp()
					}
				})
				if _, err := e.RotateRoot(ctx); err != nil || f.changed() != 1 {
					t.Errorf("%v, %d changes", err, f.changed())
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// All at once: no request fails, no login is refused, and at rest storage has the
// password that ECGrid has.
func TestAllAtOnce(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		for _, lost := range []error{nil, ecgrid.ErrTimeout} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					_, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
					f.loses("ChangePassword", lost)
					f.loses("GenerateAPIKey", lost)
					e, storage := start(f, raw, func(s step) error {
						if !s.ecgrid {
							time.Sleep(time.Millisecond)
						}
						return nil
					})
					writeRole(t, e, storage, "a", RolePatch{RotateOnRevoke: ptr(true)})
					ctx := t.Context()
					atOnce(60, func(i int) {
						time.Sleep(time.Duration(i) * 23 * time.Millisecond)
						var err error
						switch i % 6 {
						case 0, 1:
							_, err = e.IssueKey(ctx, 5002, 0)
						case 2:
							var issued Issued
							if issued, err = e.IssueCreds(ctx, "a", 0); err == nil {
								err = e.RevokeLease(ctx, issued.Lease)
							}
						case 3:
							_, err = e.RotateKey(ctx, 5001)
						case 4:
							err = e.WriteConfig(ctx, ConfigPatch{TTL: ptr(time.Duration(i) * time.Minute)}, noManager{})
						case 5:
							if i%12 == 5 {
								_, err = e.RotateRoot(ctx)
							}
						}
						inDoubt := lost != nil && i%12 == 5 && (errors.Is(err, ErrUnconfirmed) || errors.Is(err, session.ErrTooSoon))
						if err != nil && !inDoubt {
							t.Errorf("%d: %v", i, err)
						}
					})
					f.loses("ChangePassword", nil)
					time.Sleep(time.Minute)
					if f.refusedIn(15*time.Minute) > 3 || lost == nil && f.refusedLogins() != 0 {
						t.Errorf("%d refused logins", f.refusedLogins())
					}
					if n := f.count("ChangePassword"); lost == nil && n != 5 {
						t.Errorf("%d times ChangePassword", n)
					}
					settled(t, f, e, storage)
					e.Close()
				})
			})
		}
	}
}

// Reads go on while the password changes, however slow ECGrid or storage is at any
// step of it, and none of them logs in with the old one.
func TestReadsDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		for nth := 1; nth <= 45; nth++ {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					_, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
					slow := newTrouble(nth, false, nil)
					e, storage := start(f, raw, func(s step) error {
						if slow.at(s) != nil {
							time.Sleep(500 * time.Millisecond)
						}
						return nil
					})
					rotating := make(chan struct{})
					go func() {
						defer close(rotating)
						if _, err := e.RotateRoot(t.Context()); err != nil {
							t.Errorf("step %d, %+v: %v", nth, slow.broken, err)
						}
					}()
					atOnce(100, func(i int) {
						time.Sleep(time.Duration(i) * 7 * time.Millisecond)
						// Storage is slow for rotate-root only.
						if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
							t.Errorf("step %d, %+v: %v", nth, slow.broken, err)
						}
					})
					<-rotating
					if f.refusedLogins() != 0 {
						t.Errorf("step %d, %+v: %d refused logins", nth, slow.broken, f.refusedLogins())
					}
					settled(t, f, e, storage)
					e.Close()
				})
			})
		}
	}
}

// An operator's working credential ends a rotate-root that is not settled; config does
// not go on to say that it is not.
func TestAttackLastErrorEndsWithItsCause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, raw := configured(t, f)
		defer e.Close()
		f.failWith("ChangePassword", ecgrid.ErrTimeout)
		_, _ = e.RotateRoot(t.Context())
		time.Sleep(time.Minute)
		f.set(func() { f.password = "by support" })
		f.failWith("ChangePassword", nil)
		if err := e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("by support")}, noManager{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if c := storedConfig(t, raw); c.unresolved() == nil && c.Root.LastError != "" {
			t.Error("settled an hour ago, and last_root_rotation_error still says that it is not")
		}
	})
}
