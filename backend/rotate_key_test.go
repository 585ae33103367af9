package backend

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

func TestRotateKey(t *testing.T) {
	t.Parallel()
	type setup func(f *fakeECGrid)
	failing := func(op string, err error) setup { return func(f *fakeECGrid) { f.failWith(op, err) } }
	lost := func(err error) setup { return func(f *fakeECGrid) { f.lost["GenerateAPIKey"] = err } }
	then := func(first setup, op string, err error) setup {
		return func(f *fakeECGrid) {
			first(f)
			f.whenever(func(running string) {
				if running == "GenerateAPIKey" {
					f.failWith(op, err)
				}
			})
		}
	}
	type test struct {
		userID  int32
		setup   setup
		want    error
		status  int
		calls   int // of GenerateAPIKey
		applied int
		warned  bool
		asked   int // UserGetAPIKey
	}
	tests := map[string]test{
		"a key":                 {userID: 5001, calls: 1, applied: 1, asked: 1},
		"none yet":              {userID: 6000, calls: 1, applied: 1, asked: 1},
		"no such user":          {userID: 9, want: ecgrid.ErrNotFound, status: http.StatusNotFound, asked: 1},
		"old key unknown":       {userID: 5001, setup: failing("UserGetAPIKey", ecgrid.ErrTimeout), want: ecgrid.ErrTimeout, status: http.StatusGatewayTimeout, asked: 1},
		"denied":                {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrAccessDenied), want: ecgrid.ErrAccessDenied, status: http.StatusForbidden, calls: 1, asked: 1},
		"refused":               {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrAuthentication), want: ecgrid.ErrAuthentication, status: http.StatusForbidden, calls: 1, asked: 1},
		"user gone":             {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrNotFound), want: ecgrid.ErrNotFound, status: http.StatusNotFound, calls: 1, asked: 1},
		"session dead":          {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrSessionExpired), want: ErrNotApplied, status: http.StatusConflict, calls: 1, asked: 1},
		"none yet, lost":        {userID: 6000, setup: lost(ecgrid.ErrTimeout), calls: 1, applied: 1, warned: true, asked: 2},
		"none yet, not made":    {userID: 6000, setup: failing("GenerateAPIKey", ecgrid.ErrTimeout), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, asked: 2},
		"login refused":         {userID: 5001, setup: func(f *fakeECGrid) { f.password = "other" }, want: session.ErrRefused, status: http.StatusBadRequest},
		"user gone, then asked": {userID: 5001, setup: then(lost(ecgrid.ErrTimeout), "UserGetAPIKey", ecgrid.ErrNotFound), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, applied: 1, asked: 2},
	}
	for _, kind := range inDoubt {
		tests[kind.Error()+", made"] = test{userID: 5001, setup: lost(kind), calls: 1, applied: 1, warned: true, asked: 2}
		tests[kind.Error()+", not made"] = test{userID: 5001, setup: failing("GenerateAPIKey", kind), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, asked: 2}
		for _, second := range []error{ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer, ecgrid.ErrServerFault, ecgrid.ErrAccessDenied} {
			name := kind.Error() + ", then " + second.Error()
			tests[name+", made"] = test{userID: 5001, setup: then(lost(kind), "UserGetAPIKey", second), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, applied: 1, asked: 2}
			tests[name+", not made"] = test{userID: 5001, setup: then(failing("GenerateAPIKey", kind), "UserGetAPIKey", second), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, asked: 2}
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.setKey(6000, "")
				if tt.setup != nil {
					tt.setup(f)
				}
				e, _ := configured(t, f)
				done, err := e.RotateKey(t.Context(), tt.userID)
				if !errors.Is(err, tt.want) || tt.want != ErrUnconfirmed && errors.Is(err, ErrUnconfirmed) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if status, _, _ := Describe(err); err != nil && status != tt.status {
					t.Errorf("status %d", status)
				}
				if f.count("GenerateAPIKey") != tt.calls || f.changed() != tt.applied || f.count("UserGetAPIKey") != tt.asked {
					t.Errorf("%d calls, %d changes, asked %d times", f.count("GenerateAPIKey"), f.changed(), f.count("UserGetAPIKey"))
				}
				if err == nil && (done.UserID != tt.userID || !done.RotatedAt.Equal(time.Now()) || done.RotatedAt.Location() != time.UTC) {
					t.Errorf("%+v", done)
				}
				if (len(done.Warnings) > 0) != tt.warned {
					t.Errorf("warnings %v", done.Warnings)
				}
				e.Close()
			})
		})
	}
}

// What surely never left is not asked about, and may be repeated.
func TestRotateKeyNotSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		_, raw := configured(t, f)
		e, _ := start(f, raw, func(s step) error {
			if s.op == "GenerateAPIKey" && !s.done {
				return &ecgrid.Error{Op: s.op, Kind: ecgrid.ErrUnreachable}
			}
			return nil
		})
		if _, err := e.RotateKey(t.Context(), 5001); !errors.Is(err, ecgrid.ErrUnreachable) {
			t.Errorf("got %v", err)
		}
		if f.count("UserGetAPIKey") != 1 || f.changed() != 0 {
			t.Errorf("asked %d times, %d changes", f.count("UserGetAPIKey"), f.changed())
		}
		e.Close()
	})
}

func TestRotateOwnKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.setKey(100, "api-key")
		e, storage := configured(t, f, withAPIKey)
		writeRole(t, e, storage, "own", RolePatch{UserID: ptr(int32(100))})
		f.failWith("WhoAmI", ecgrid.ErrUnreachable)
		if _, err := e.RotateKey(t.Context(), 5001); !errors.Is(err, ecgrid.ErrUnreachable) {
			t.Errorf("whose the key is, is not known: %v", err)
		}
		f.failWith("WhoAmI", nil)
		for range 2 {
			_, err := e.RotateKey(t.Context(), 100)
			if status, _, _ := Describe(err); !errors.Is(err, ErrOwnKey) || status != http.StatusBadRequest {
				t.Errorf("got %v", err)
			}
		}
		if _, err := e.RotateRole(t.Context(), "own"); !errors.Is(err, ErrOwnKey) {
			t.Errorf("got %v", err)
		}
		if f.count("GenerateAPIKey") != 0 || f.count("WhoAmI") != 2 {
			t.Errorf("%d calls, %d times asked who we are", f.count("GenerateAPIKey"), f.count("WhoAmI"))
		}
		if _, err := e.RotateKey(t.Context(), 5001); err != nil {
			t.Errorf("another user: %v", err)
		}
		// With a password the same user's key is one like any other.
		if err := e.WriteConfig(t.Context(), ConfigPatch{Username: ptr("login"), Password: ptr("right")}, noManager{}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.RotateKey(t.Context(), 100); err != nil {
			t.Errorf("with a password: %v", err)
		}
		e.Close()
	})
}

// A read that begins after a rotation gets the new key, whatever older calls are
// still under way, cached or not, and also where the config was written meanwhile.
func TestReadAfterRotation(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cache   time.Duration
		rewrite bool
		lost    error
	}{
		"asked":                  {},
		"cached":                 {cache: time.Hour},
		"asked, config written":  {rewrite: true},
		"cached, config written": {cache: time.Hour, rewrite: true},
		"asked, answer lost":     {lost: ecgrid.ErrTimeout},
		"cached, answer lost":    {cache: time.Hour, lost: ecgrid.ErrTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := configured(t, f, func(c *Config) { c.KeyCacheTTL = tt.cache })
				var slow atomic.Bool
				e, _ := start(f, raw, func(s step) error {
					switch {
					case s == step{op: "GenerateAPIKey", ecgrid: true}:
						time.Sleep(500 * time.Millisecond)
					case s == step{op: "UserGetAPIKey", ecgrid: true, done: true} && slow.Load():
						time.Sleep(10 * time.Second)
					}
					return nil
				})
				if tt.lost != nil {
					f.loses("GenerateAPIKey", tt.lost)
				}
				read := func() string {
					issued, err := e.IssueKey(t.Context(), 5001, 0)
					if err != nil {
						t.Error(err)
					}
					return issued.APIKey
				}
				rotated := make(chan error)
				go func() {
					_, err := e.RotateKey(t.Context(), 5001)
					rotated <- err
				}()
				time.Sleep(100 * time.Millisecond) // GenerateAPIKey is under way
				if tt.rewrite {                    // it waits for the requests on the old config, reads on the new one do not
					go func() {
						if err := e.WriteConfig(t.Context(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{}); err != nil {
							t.Error(err)
						}
					}()
					synctest.Wait()
				}
				if old := read(); old != "key-5001" {
					t.Errorf("too early: %q", old)
				}
				if tt.cache == 0 {
					slow.Store(true) // one more gets the old key and is long about it
				}
				older := make(chan string, 1)
				go func() { older <- read() }()
				time.Sleep(50 * time.Millisecond)
				slow.Store(false)
				if err := <-rotated; err != nil {
					t.Fatal(err)
				}
				if got := read(); got != f.key(5001) {
					t.Error("a read after the rotation got the old key")
				}
				if got := <-older; got != "key-5001" {
					t.Errorf("the older read: %q", got)
				}
				if got := read(); got != f.key(5001) {
					t.Error("an older answer was remembered")
				}
				if f.changed() != 1 {
					t.Errorf("%d changes", f.changed())
				}
				e.Close()
			})
		})
	}
}

// Where the config goes to another server meanwhile, that one's key says nothing.
func TestRotateKeyServerChanged(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]error{
		"https://other.example/x": ErrUnconfirmed,
		"https://os.ecgrid.io/x":  nil,
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.loses("GenerateAPIKey", ecgrid.ErrTimeout)
				e, _ := configured(t, f)
				f.whenever(func(op string) {
					if op == "GenerateAPIKey" {
						go func() {
							if err := e.WriteConfig(t.Context(), ConfigPatch{URL: &url, Password: ptr("right"), VerifyConnection: ptr(false)}, noManager{}); err != nil {
								t.Error(err)
							}
						}()
						time.Sleep(500 * time.Millisecond)
					}
				})
				if _, err := e.RotateKey(t.Context(), 5001); !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
				if f.count("GenerateAPIKey") != 1 || f.changed() != 1 {
					t.Errorf("%d calls, %d changes", f.count("GenerateAPIKey"), f.changed())
				}
				time.Sleep(10 * time.Second)
				e.Close()
			})
		})
	}
}

func TestRotateKeyAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f, func(c *Config) { c.KeyCacheTTL = time.Hour })
		var busy, most atomic.Int32
		f.whenever(func(op string) {
			if op == "GenerateAPIKey" {
				most.Store(max(most.Load(), busy.Add(1)))
				time.Sleep(time.Second)
				busy.Add(-1)
			}
		})
		atOnce(8, func(int) {
			if _, err := e.RotateKey(t.Context(), 5001); err != nil {
				t.Error(err)
			}
			before := f.key(5001)
			issued, err := e.IssueKey(t.Context(), 5001, 0)
			if after := f.key(5001); err != nil || issued.APIKey != before && issued.APIKey != after {
				t.Errorf("an old key was read, or %v", err)
			}
		})
		if f.count("GenerateAPIKey") != 8 || f.changed() != 8 || most.Load() != 1 {
			t.Errorf("%d calls, %d changes, %d at once", f.count("GenerateAPIKey"), f.changed(), most.Load())
		}
		e.Close()
	})
}

// A client that hangs up neither stops a change that is under way nor starts one.
func TestRotateKeyHangUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		during string
		want   int
	}{
		"before the login ends":  {"Login", 0},
		"while the key is asked": {"UserGetAPIKey", 0},
		"while it is made":       {"GenerateAPIKey", 1},
	} {
		for _, lost := range []error{nil, ecgrid.ErrTimeout} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, _ := configured(t, f, func(c *Config) { c.KeyCacheTTL = time.Hour })
					f.loses("GenerateAPIKey", lost)
					ctx, hangUp := context.WithCancel(t.Context())
					f.whenever(func(op string) {
						if op == tt.during {
							hangUp()
						}
					})
					_, err := e.RotateKey(ctx, 5001)
					if (err == nil) != (tt.want == 1) {
						t.Errorf("got %v", err)
					}
					time.Sleep(time.Minute)
					if f.changed() != tt.want || f.count("GenerateAPIKey") != tt.want {
						t.Errorf("%d changes, %d calls", f.changed(), f.count("GenerateAPIKey"))
					}
					f.whenever(nil)
					if issued, err := e.IssueKey(t.Context(), 5001, 0); err != nil || issued.APIKey != f.key(5001) {
						t.Errorf("a read afterwards: %v", err)
					}
					e.Close()
				})
			})
		}
	}
	t.Run("while it waits for another", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			e, _ := configured(t, f)
			f.whenever(func(op string) {
				if op == "GenerateAPIKey" {
					time.Sleep(10 * time.Second)
				}
			})
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := e.RotateKey(t.Context(), 5001); err != nil {
					t.Error(err)
				}
			}()
			time.Sleep(time.Second)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := e.RotateKey(ctx, 5001); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			<-done
			if f.changed() != 1 {
				t.Errorf("%d changes", f.changed())
			}
			e.Close()
		})
	})
}

// A panic of the client is a lost answer, and leaves no lock behind.
func TestRotateKeyPanics(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		at   step
		want error // nil: success with a warning
		made int
	}{
		"before":          {step{op: "GenerateAPIKey", ecgrid: true}, panics.Err, 0},
		"after":           {step{op: "GenerateAPIKey", ecgrid: true, done: true}, nil, 1},
		"asking":          {step{op: "UserGetAPIKey", ecgrid: true}, panics.Err, 0},
		"logging in":      {step{op: "Login", ecgrid: true}, panics.Err, 0},
		"asking who I am": {step{op: "WhoAmI", ecgrid: true}, nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				_, raw := configured(t, f)
				var calm atomic.Bool
				e, _ := start(f, raw, func(s step) error {
					if s == tt.at && calm.CompareAndSwap(false, true) {
						panic("bug")
					}
					return nil
				})
				done, err := e.RotateKey(t.Context(), 5001)
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
				if f.changed() != tt.made || (len(done.Warnings) > 0) != (tt.at.op == "GenerateAPIKey" && tt.made == 1) {
					t.Errorf("%d changes, warnings %v", f.changed(), done.Warnings)
				}
				calm.Store(true)
				if _, err := e.RotateKey(t.Context(), 5001); err != nil || f.changed() != tt.made+1 {
					t.Errorf("the next: %v, %d changes", err, f.changed())
				}
				e.Close()
			})
		})
	}
}

func TestRotateRole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		writeRole(t, e, storage, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		time.Sleep(time.Hour)
		done, err := e.RotateRole(t.Context(), "a")
		r := readRole(t, e, storage, "a")
		if err != nil || f.changed() != 1 || !r.Rotation.Last.Equal(done.RotatedAt) || !r.Rotation.Next.Equal(done.RotatedAt.Add(24*time.Hour)) {
			t.Errorf("%v, %d changes, %+v", err, f.changed(), r.Rotation)
		}
		// Once it is done, that it cannot be noted is no failure: who repeats it
		// would replace the key again.
		f.whenever(func(op string) { storage.FailPut(op == "GenerateAPIKey") })
		done, err = e.RotateRole(t.Context(), "a")
		f.whenever(nil)
		if err != nil || len(done.Warnings) != 1 || f.changed() != 2 {
			t.Errorf("%v, warnings %v, %d changes", err, done.Warnings, f.changed())
		}
		storage.FailPut(false)
		if got := readRole(t, e, storage, "a"); got != r {
			t.Errorf("%+v", got)
		}
		f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
		if _, err = e.RotateRole(t.Context(), "a"); !errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("got %v", err)
		}
		e.Close()
	})
}

// A client that hangs up keeps what was done from being noted as little as from
// being done.
func TestRotateRoleHangUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, storage := configured(t, f)
		writeRole(t, e, storage, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		ctx, hangUp := context.WithCancel(t.Context())
		f.whenever(func(op string) {
			if op == "GenerateAPIKey" {
				hangUp()
			}
		})
		if _, err := e.RotateRole(ctx, "a"); err != nil {
			t.Error(err)
		}
		if r := readRole(t, e, storage, "a"); r.Rotation.Last.IsZero() || f.changed() != 1 {
			t.Errorf("%+v, %d changes", r.Rotation, f.changed())
		}
		e.Close()
	})
}
