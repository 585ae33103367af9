package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func storedConfig(t *testing.T, storage logical.Storage) Config {
	t.Helper()
	c, err := testEngine(newFake()).ReadConfig(t.Context(), storage)
	if err != nil || c == nil {
		t.Fatalf("config: %v, %v", c, err)
	}
	return *c
}

// settled checks that all is well: reads work, storage has the password that ECGrid
// has, and the write-ahead log is empty.
func settled(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
	t.Helper()
	if issued, err := e.IssueKey(t.Context(), storage, 5001, 0); err != nil || issued.APIKey != f.key(5001) {
		t.Errorf("a read: %v", err)
	}
	if c := storedConfig(t, storage); c.Password != f.passwordOfNow() && c.APIKey == "" {
		t.Errorf("storage has another password than ECGrid; last error %q", c.Root.LastError)
	}
	if wals, err := rootWALs(t.Context(), storage); len(wals) != 0 || err != nil {
		t.Errorf("%d entries in the write-ahead log, %v", len(wals), err)
	}
}

// salted has the mount's salt in memory: it is read under a mutex, and under
// synctest no time goes by while one is waited for.
func salted(t *testing.T, e *Engine, storage logical.Storage) {
	t.Helper()
	if _, err := e.mountSalt(t.Context(), storage); err != nil {
		t.Fatal(err)
	}
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
				at, err := e.RotateRoot(t.Context(), storage)
				if err != nil {
					t.Fatal(err)
				}
				c := storedConfig(t, storage)
				if !at.Equal(c.Root.Last) || at.IsZero() || at.Location() != time.UTC || c.SupersededAt.IsZero() {
					t.Errorf("at %s: %+v", at, c)
				}
				if strings.Contains(c.Superseded, "right") || c.Superseded == "" {
					t.Errorf("superseded: %q", c.Superseded)
				}
				settled(t, f, e, storage)
				e.Close()
				if f.count("ChangePassword") != 1 || f.refusedLogins() != 0 || f.openSessions() != 0 {
					t.Errorf("%d changes, %d refused logins, %d sessions left", f.count("ChangePassword"), f.refusedLogins(), f.openSessions())
				}
				e = testEngine(f)
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// Every step of rotate-root breaks once: the process is killed there, or the step
// fails in each way, with or without effect. Whatever comes next puts it right.
func TestRotateRootBreaks(t *testing.T) {
	t.Parallel()
	next := map[string]func(*Engine, logical.Storage) error{
		"read": func(e *Engine, s logical.Storage) error {
			_, err := e.IssueKey(context.Background(), s, 5001, 0)
			return err
		},
		"rollback": func(e *Engine, s logical.Storage) error { return e.RecoverRoot(context.Background(), s) },
		"config write": func(e *Engine, s logical.Storage) error {
			return e.WriteConfig(context.Background(), s, ConfigPatch{TTL: ptr(time.Hour)}, noManager{})
		},
	}
	for name, broken := range troubles() {
		for nextName, do := range next {
			t.Run(name+", then "+nextName, func(t *testing.T) {
				t.Parallel()
				steps := 0
				for over := false; !over; steps++ {
					synctest.Test(t, func(t *testing.T) { over = breakRotateRoot(t, broken(steps+1), do) })
				}
				if steps < 20 {
					t.Errorf("only %d steps", steps)
				}
			})
		}
	}
}

func breakRotateRoot(t *testing.T, b *trouble, next func(*Engine, logical.Storage) error) (over bool) {
	f := newFake()
	_, raw := configured(t, f)
	e, storage := start(f, raw, b.at)
	var err error
	returned := make(chan struct{})
	b.run(func() {
		defer close(returned)
		_, err = e.RotateRoot(context.Background(), storage)
	})
	if b.over() {
		if err != nil {
			t.Errorf("without trouble: %v", err)
		}
		settled(t, f, e, storage)
		e.Close()
		return true
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("broken at step %d, %+v (answered %v): "+format, append([]any{b.nth, *b.broken, err}, args...)...)
	}
	changed := f.changed()
	if b.kill {
		defer func() { close(b.buried); <-returned; e.Close() }()
		dead := e
		e, storage = start(f, raw, calm)
		defer dead.Close()
		time.Sleep(time.Second) // what was sent arrives all the same
		changed = f.changed()
	} else {
		doubtful := errors.Is(err, ErrOutcomeUnknown)
		if status, _, _ := Describe(err); doubtful && status != http.StatusConflict {
			fail("status %d", status)
		}
		if changed > 1 || !doubtful && changed == 1 != (err == nil) {
			fail("%d changes", changed)
		}
	}
	for range 3 {
		if next(e, storage) == nil {
			break
		}
		time.Sleep(10 * time.Minute)
	}
	time.Sleep(10 * time.Second) // a refused login pauses the next
	refused := f.refusedLogins()
	if refused > 1 && b.broken.op != "Login" || refused > 2 {
		fail("%d refused logins", refused)
	}
	if _, err := e.IssueKey(t.Context(), storage, 5001, 0); err != nil {
		fail("a read: %v", err)
	}
	if err := e.RecoverRoot(t.Context(), storage); err != nil {
		fail("rollback: %v", err)
	}
	settled(t, f, e, storage)
	if f.changed() != changed {
		fail("changed again")
	}
	if _, err := e.RotateRoot(t.Context(), storage); err != nil || f.changed() != changed+1 {
		fail("the next rotate-root: %v", err)
	}
	settled(t, f, e, storage)
	if t.Failed() {
		fail("see above")
	}
	e.Close()
	return false
}

func TestRotateRootFailures(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		setup  func(f *fakeECGrid)
		config func(*Config)
		want   error
		status int
		sent   int
		noted  bool
	}{
		"an api_key has no password":  {config: withAPIKey, want: ErrInvalid, status: http.StatusBadRequest},
		"refused":                     {setup: func(f *fakeECGrid) { f.failWith("ChangePassword", ecgrid.ErrAccessDenied) }, want: ecgrid.ErrAccessDenied, status: http.StatusForbidden, sent: 1, noted: true},
		"login refused":               {setup: func(f *fakeECGrid) { f.password = "other" }, want: ErrLoginRefused, status: http.StatusBadRequest, noted: true},
		"unreachable":                 {setup: func(f *fakeECGrid) { f.failWith("Login", ecgrid.ErrUnreachable) }, want: ecgrid.ErrUnreachable, status: http.StatusServiceUnavailable, noted: true},
		"a fault, surely not made":    {setup: func(f *fakeECGrid) { f.failWith("ChangePassword", ecgrid.ErrFault) }, want: ecgrid.ErrFault, status: http.StatusBadGateway, sent: 1, noted: true},
		"too slow, surely not made":   {setup: func(f *fakeECGrid) { f.failWith("ChangePassword", ecgrid.ErrTimeout) }, want: ecgrid.ErrTimeout, status: http.StatusGatewayTimeout, sent: 1, noted: true},
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
				_, err := e.RotateRoot(t.Context(), storage)
				if status, _, _ := Describe(err); !errors.Is(err, tt.want) || status != tt.status {
					t.Errorf("%d: %v", status, err)
				}
				c := storedConfig(t, storage)
				if (c.Root.LastError != "") != tt.noted || !c.Root.Last.IsZero() || c.Superseded != "" {
					t.Errorf("noted: %+v", c.Root)
				}
				if f.count("ChangePassword") != tt.sent || f.changed() != 0 {
					t.Errorf("sent %d times, %d changes", f.count("ChangePassword"), f.changed())
				}
				f.set(func() { clear(f.fail); f.password, f.policy = "right", "Str0ng.password" })
				time.Sleep(10 * time.Minute)
				settled(t, f, e, storage)
				if tt.noted {
					if _, err := e.RotateRoot(t.Context(), storage); err != nil {
						t.Errorf("later: %v", err)
					}
					if c := storedConfig(t, storage); c.Root.LastError != "" || c.Root.Last.IsZero() {
						t.Errorf("after success: %+v", c.Root)
					}
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
			wals, err := rootWALs(t.Context(), storage)
			if err != nil || len(wals) != 1 {
				t.Fatalf("%d in the write-ahead log, %v", len(wals), err)
			}
			f.set(func() { f.password = wals[0].Password })
			time.Sleep(maxLoginPause)
		},
		"the old one": func(_ *testing.T, f *fakeECGrid, _ *Engine, _ logical.Storage) {
			f.set(func() { f.password = "right" })
			time.Sleep(maxLoginPause)
		},
		"a third one": func(t *testing.T, _ *fakeECGrid, e *Engine, storage logical.Storage) {
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Password: ptr("third")}, noManager{}); err != nil {
				t.Errorf("config write: %v", err)
			}
		},
		"a third one, after a restart": func(t *testing.T, f *fakeECGrid, _ *Engine, storage logical.Storage) {
			e := testEngine(f)
			defer e.Close()
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Password: ptr("third")}, noManager{}); err != nil {
				t.Errorf("config write: %v", err)
			}
		},
	} {
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
				if _, err := e.RotateRoot(t.Context(), storage); !errors.Is(err, ErrOutcomeUnknown) {
					t.Errorf("got %v", err)
				}
				for range 3600 {
					_, err := e.IssueKey(t.Context(), storage, 5001, 0)
					if !errors.Is(err, ErrLoginPaused) && !errors.Is(err, ErrLoginRefused) {
						t.Fatalf("a read: %v", err)
					}
					if storedConfig(t, storage).Root.LastError == "" {
						t.Fatal("it is not said")
					}
					time.Sleep(time.Second)
				}
				// 1 s doubling to 5 min, with two passwords each.
				if n := f.refusedLogins(); n < 30 || n > 45 {
					t.Errorf("%d refused logins in an hour", n)
				}
				if wals, _ := rootWALs(t.Context(), storage); len(wals) != 1 {
					t.Fatalf("%d in the write-ahead log", len(wals))
				}
				if err := e.WriteConfig(t.Context(), storage, ConfigPatch{TTL: ptr(time.Hour)}, noManager{}); err == nil {
					t.Error("a config write that knows no password")
				}
				wayOut(t, f, e, storage)
				if strings.Contains(name, "restart") {
					e.Close()
					e = testEngine(f)
				}
				settled(t, f, e, storage)
				f.set(func() { clear(f.fail); f.during = nil })
				if _, err := e.RotateRoot(t.Context(), storage); err != nil {
					t.Errorf("the next: %v", err)
				}
				e.Close()
			})
		})
	}
}

// What cannot be found out stays in the write-ahead log, also over a restart.
func TestOutcomeUnknownForNow(t *testing.T) {
	t.Parallel()
	for _, down := range []error{ecgrid.ErrUnreachable, ecgrid.ErrTimeout, ecgrid.ErrServerFault, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult} {
		for _, made := range []bool{true, false} {
			t.Run(down.Error(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, storage := configured(t, f)
					if made {
						f.loses("ChangePassword", down)
					} else {
						f.failWith("ChangePassword", down)
					}
					f.whenever(func(op string) {
						if op == "ChangePassword" {
							f.failWith("Login", down)
						}
					})
					_, err := e.RotateRoot(t.Context(), storage)
					if status, _, _ := Describe(err); !errors.Is(err, ErrOutcomeUnknown) || status != http.StatusConflict {
						t.Errorf("got %v", err)
					}
					if storedConfig(t, storage).Root.LastError == "" {
						t.Error("it is not said")
					}
					// Each try may leave a session open: the fourth in a row is put off.
					unsettled := func(err error) bool { return errors.Is(err, down) || errors.Is(err, ErrLoginPaused) }
					for range 5 {
						before := f.count("Login")
						if _, err := e.IssueKey(t.Context(), storage, 5001, 0); !errors.Is(err, down) {
							t.Errorf("a read: %v", err)
						}
						if err := e.RecoverRoot(t.Context(), storage); !unsettled(err) {
							t.Errorf("rollback: %v", err)
						}
						for range 3 {
							if _, err := e.RotateRoot(t.Context(), storage); !unsettled(err) {
								t.Errorf("rotate-root: %v", err)
							}
						}
						e.Tick(t.Context(), storage)
						if n := f.count("Login") - before; n > doubtfulLogins {
							t.Errorf("%d logins", n)
						}
						e.Close()
						e = testEngine(f)
					}
					if wals, _ := rootWALs(t.Context(), storage); len(wals) != 1 || f.count("ChangePassword") != 1 {
						t.Errorf("%d in the write-ahead log, sent %d times", len(wals), f.count("ChangePassword"))
					}
					f.failWith("Login", nil)
					if err := e.RecoverRoot(t.Context(), storage); err != nil {
						t.Errorf("rollback: %v", err)
					}
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
				if _, err := e.RotateRoot(ctx, storage); err != nil || f.changed() != 1 {
					t.Errorf("%v, %d changes", err, f.changed())
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// A panic of the client is a lost answer.
func TestRotateRootPanics(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]step{
		"before": {op: "ChangePassword", ecgrid: true},
		"after":  {op: "ChangePassword", ecgrid: true, done: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := configured(t, f)
				e, storage := start(f, raw, func(s step) error {
					if s == at {
						panic("bug")
					}
					return nil
				})
				if _, err := e.RotateRoot(t.Context(), storage); (err == nil) != at.done || !at.done && !errors.Is(err, ErrPanic) {
					t.Errorf("got %v", err)
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}

// Entries that are about no login of ours, or not ours at all, harm nothing.
func TestMootWAL(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		wal   rootWAL
		asked int
	}{
		"another user":   {rootWAL{Username: "other", Server: server(DefaultURL), Password: "x"}, 0},
		"another server": {rootWAL{Username: "login", Server: "https://other.example:443", Password: "x"}, 0},
		"stored already": {rootWAL{Username: "login", Server: server(DefaultURL), Password: "right"}, 0},
		"not used":       {rootWAL{Username: "login", Server: server(DefaultURL), Password: "x"}, 2},
		"no entry":       {rootWAL{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if _, err := putRootWAL(t.Context(), storage, tt.wal); err != nil {
					t.Fatal(err)
				}
				if err := e.RecoverRoot(t.Context(), storage); err != nil || f.count("Login") != tt.asked {
					t.Errorf("%v after %d logins", err, f.count("Login"))
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
	t.Run("config deleted", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, storage := configured(t, f)
			if _, err := putRootWAL(t.Context(), storage, rootWAL{Username: "login", Server: server(DefaultURL), Password: "x"}); err != nil {
				t.Fatal(err)
			}
			if err := e.DeleteConfig(t.Context(), storage, noManager{}); err != nil {
				t.Error(err)
			}
			if wals, _ := rootWALs(t.Context(), storage); len(wals) != 0 {
				t.Error("a password stays behind")
			}
		})
	})
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
					salted(t, e, raw)
					atOnce(60, func(i int) {
						time.Sleep(time.Duration(i) * 23 * time.Millisecond)
						var err error
						switch i % 6 {
						case 0, 1:
							_, err = e.IssueKey(ctx, storage, 5002, 0)
						case 2:
							var issued Issued
							if issued, err = e.IssueCreds(ctx, storage, "a", 0); err == nil {
								err = e.RevokeLease(ctx, storage, issued.Lease)
							}
						case 3:
							_, err = e.RotateKey(ctx, storage, 5001)
						case 4:
							err = e.WriteConfig(ctx, storage, ConfigPatch{TTL: ptr(time.Duration(i) * time.Minute)}, noManager{})
						case 5:
							if i%12 == 5 {
								_, err = e.RotateRoot(ctx, storage)
							}
						}
						if err != nil {
							t.Errorf("%d: %v", i, err)
						}
					})
					if f.refusedLogins() != 0 {
						t.Errorf("%d refused logins", f.refusedLogins())
					}
					if f.count("ChangePassword") != 5 {
						t.Errorf("%d times ChangePassword", f.count("ChangePassword"))
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
		for nth := 1; nth <= 26; nth++ {
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
					salted(t, e, raw)
					rotating := make(chan struct{})
					go func() {
						defer close(rotating)
						if _, err := e.RotateRoot(t.Context(), storage); err != nil {
							t.Errorf("step %d, %+v: %v", nth, slow.broken, err)
						}
					}()
					atOnce(100, func(i int) {
						time.Sleep(time.Duration(i) * 7 * time.Millisecond)
						// Storage is slow for rotate-root only.
						if _, err := e.IssueKey(t.Context(), raw, 5001, 0); err != nil {
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

func TestSupersededPassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		at, err := e.RotateRoot(t.Context(), storage)
		if err != nil {
			t.Fatal(err)
		}
		second := f.passwordOfNow()
		time.Sleep(time.Hour)
		asked := f.count("Login") + f.count("WhoAmI")
		for name, patch := range map[string]ConfigPatch{
			"alone":           {Password: ptr("right")},
			"with its user":   {Username: ptr("login"), Password: ptr("right")},
			"unverified":      {Username: ptr("login"), Password: ptr("right"), VerifyConnection: ptr(false)},
			"with a new path": {URL: ptr("https://os.ecgrid.io/x"), Password: ptr("right")},
		} {
			err := e.WriteConfig(t.Context(), storage, patch, noManager{})
			_, message, _ := Describe(err)
			if !errors.Is(err, ErrInvalid) || !strings.Contains(message, at.Format(time.RFC3339)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f.count("Login")+f.count("WhoAmI") != asked {
			t.Error("it was tried")
		}
		settled(t, f, e, storage)

		// Only the last one is remembered.
		if _, err := e.RotateRoot(t.Context(), storage); err != nil {
			t.Fatal(err)
		}
		if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Password: ptr(second)}, noManager{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("the last one: %v", err)
		}
		if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Password: ptr("right")}, noManager{}); !errors.Is(err, ErrLoginRefused) {
			t.Errorf("one before: %v", err)
		}
		settled(t, f, e, storage)

		// It is a password like any other for somebody else, also elsewhere.
		for _, patch := range []ConfigPatch{
			{URL: ptr("https://other.example/x"), Password: ptr(second)},
			{Username: ptr("other"), Password: ptr(second)},
		} {
			patch.VerifyConnection = ptr(false)
			if err := e.WriteConfig(t.Context(), storage, patch, noManager{}); err != nil {
				t.Errorf("another login: %v", err)
			}
		}
		if c := storedConfig(t, storage); c.Superseded != "" || !c.Root.Last.IsZero() {
			t.Errorf("remembered of another login: %+v", c)
		}
		e.Close()
	})
}

func TestPasswordPolicy(t *testing.T) {
	t.Parallel()
	for password, good := range map[string]bool{
		"Str0ng.password": true, "aB3 efgh": true, "äB3defgh": true,
		"": false, "aB3.efg": false, "ab3.efgh": false, "AB3.EFGH": false, "aBc.efgh": false, "aB3defgh": false,
		"aB3.efg\n": false, "aB3.efgh\x00": false, "aB3.efgh\t": false, "aB3.efgh\xff": false, "aB3.efgh\u200b": false, "aB3.efgh\ufffe": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.policy = password
			e, storage := configured(t, f, func(c *Config) { c.PasswordPolicy = "p" })
			_, err := e.RotateRoot(t.Context(), storage)
			if good != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", password, err)
			}
			if want := map[bool]string{true: password, false: "right"}[good]; f.password != want {
				t.Errorf("%q was set for %q", f.password, password)
			}
			if !good && f.count("Login") != 0 {
				t.Errorf("%q: ECGrid was called", password)
			}
			settled(t, f, e, storage)
			e.Close()
		})
	}
	t.Run("no such policy", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, storage := configured(t, f, func(c *Config) { c.PasswordPolicy = "p" })
			e.PasswordFromPolicy = func(context.Context, string) (string, error) { return "", errAny }
			if _, err := e.RotateRoot(t.Context(), storage); !errors.Is(err, ErrInvalid) || f.count("Login") != 0 {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestGeneratePassword(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var used strings.Builder
	for range 2000 {
		password, err := generatePassword(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if seen[password] {
			t.Fatal("twice the same")
		}
		seen[password] = true
		used.WriteString(password)
		unsafe := strings.ContainsFunc(password, func(r rune) bool {
			return r > unicode.MaxASCII || strings.ContainsRune("<>&\"'`$\\!*?[](){}|;#~%^= /\t\n@,-", r)
		})
		first := rune(password[0])
		if len(password) < 24 || !meetsECGridsRule(password) || unsafe || !unicode.IsLetter(first) {
			t.Fatalf("%q", password)
		}
	}
	for _, r := range lower + upper + digits + special {
		if !strings.ContainsRune(used.String(), r) {
			t.Errorf("%q was never used", r)
		}
	}
	if _, err := generatePassword(iotest.ErrReader(io.ErrUnexpectedEOF)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("without randomness: %v", err)
	}
}

// keeper is a rotation manager that takes the job, as on Enterprise.
type keeper struct{ kept atomic.Pointer[Schedule] }

func (k *keeper) Keep(_ context.Context, s Schedule) bool {
	k.kept.Store(&s)
	return !s.IsZero()
}

// ticks is Vault's PeriodicFunc for so long.
func ticks(t *testing.T, e *Engine, storage logical.Storage, d time.Duration) {
	t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		e.Tick(t.Context(), storage)
	}
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
				if err := e.WriteConfig(t.Context(), storage, ConfigPatch{DisableAutomatedRotation: &v}, noManager{}); err != nil {
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
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Schedule: SchedulePatch{Period: ptr(12 * time.Hour)}}, manager); err != nil {
				t.Fatal(err)
			}
			if *manager.kept.Load() != (Schedule{Period: 12 * time.Hour}) {
				t.Errorf("kept %+v", manager.kept.Load())
			}
			ticks(t, e, storage, 48*time.Hour)
			changes(t, f, 0)
			if err := e.DeleteConfig(t.Context(), storage, manager); err != nil || !manager.kept.Load().IsZero() {
				t.Errorf("not taken back: %v", err)
			}
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
				t.Error(err)
			}
		}},
		"written by hand, it counts from then": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			time.Sleep(20 * time.Hour)
			if _, err := e.RotateRoot(t.Context(), storage); err != nil {
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
			e2 := testEngine(f)
			ticks(t, e2, storage, 5*time.Hour)
			changes(t, f, 1)
			e2.Close()
		}},
		"an api_key": {daily, func(t *testing.T, f *fakeECGrid, e *Engine, storage logical.Storage) {
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{APIKey: ptr("api-key")}, noManager{}); err != nil {
				t.Fatal(err)
			}
			if !storedConfig(t, storage).Root.Next.IsZero() {
				t.Error("there is a next one")
			}
			ticks(t, e, storage, 48*time.Hour)
			changes(t, f, 0)
			if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Schedule: tt.schedule}, noManager{}); err != nil {
					t.Fatal(err)
				}
				tt.do(t, f, e, storage)
				e.Close()
				e = testEngine(f)
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
		op   string
		kind error
		most int // calls of op in six hours
	}{
		"refused":       {"ChangePassword", ecgrid.ErrAccessDenied, 12},
		"unreachable":   {"Login", ecgrid.ErrUnreachable, 12},
		"login refused": {"Login", ecgrid.ErrAuthentication, 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if err := e.WriteConfig(t.Context(), storage, ConfigPatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}}, noManager{}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(25 * time.Hour)
				f.failWith(tt.op, tt.kind)
				ticks(t, e, storage, 6*time.Hour)
				if n := f.count(tt.op); n < 8 || n > tt.most || f.changed() != 0 {
					t.Errorf("tried %d times, %d changes", n, f.changed())
				}
				if r := storedConfig(t, storage).Root; r.LastError == "" || !r.Last.IsZero() {
					t.Errorf("%+v", r)
				}
				f.failWith(tt.op, nil)
				ticks(t, e, storage, time.Hour+time.Minute)
				if r := storedConfig(t, storage).Root; r.LastError != "" || r.Last.IsZero() || f.changed() != 1 {
					t.Errorf("%d changes, %+v", f.changed(), r)
				}
				settled(t, f, e, storage)
				e.Close()
			})
		})
	}
}
