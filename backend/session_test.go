package backend

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func testSession(f *fakeECGrid, change ...func(*Config)) *session {
	c := defaultConfig()
	c.Username, c.Password = "login", "right"
	for _, ch := range change {
		ch(&c)
	}
	return newSession(f, c, SystemClock{}, hclog.NewNullLogger())
}

func get(s *session, f *fakeECGrid) error {
	return s.use(context.Background(), func(ctx context.Context, id string) error {
		_, err := f.UserGetAPIKey(ctx, id, 5001)
		return err
	})
}

func atOnce(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func TestSessionIsShared(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"kept": time.Minute, "not kept": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := testSession(f, func(c *Config) { c.SessionIdleTimeout = idle })
				atOnce(200, func(int) {
					if err := get(s, f); err != nil {
						t.Error(err)
					}
				})
				if n := f.count("Login"); n != 1 {
					t.Errorf("%d logins for 200 requests at once", n)
				}
				if sessions, calls := f.most(); sessions != 1 || calls > maxConcurrentCalls {
					t.Errorf("%d sessions and %d calls at ECGrid at once", sessions, calls)
				}
				time.Sleep(idle + time.Second)
				if n := f.openSessions(); n != 0 {
					t.Errorf("%d sessions left open", n)
				}
			})
		})
	}
}

func TestIdleSessionIsLoggedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		for range 3 { // each use puts the Logout off
			if err := get(s, f); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if f.openSessions() != 1 {
				t.Fatal("the session ended while it was in use")
			}
		}
		time.Sleep(2 * time.Second)
		if f.openSessions() != 0 || f.count("Login") != 1 {
			t.Errorf("open %d, logins %d", f.openSessions(), f.count("Login"))
		}
	})
}

func TestNoIdleLogoutUnderARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f, func(c *Config) { c.SessionIdleTimeout = time.Second })
		f.set(func() { f.latency = 10 * time.Second })
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		if f.count("Login") != 1 || f.count("Logout") != 0 {
			t.Errorf("logins %d, logouts %d", f.count("Login"), f.count("Logout"))
		}
		time.Sleep(20 * time.Second)
	})
}

// Whatever fault a dead session is answered with, the request gets a new one.
func TestDeadSessionIsReplaced(t *testing.T) {
	t.Parallel()
	for _, dead := range []error{
		ecgrid.ErrSessionExpired, ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied,
		ecgrid.ErrNotFound, ecgrid.ErrFault, ecgrid.ErrServerFault,
	} {
		t.Run(dead.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.dead = dead
				s := testSession(f)
				if err := get(s, f); err != nil {
					t.Fatal(err)
				}
				f.killSessions()
				atOnce(50, func(int) {
					if err := get(s, f); err != nil {
						t.Error(err)
					}
				})
				if n := f.count("Login"); n != 2 {
					t.Errorf("%d logins, want one more", n)
				}
				if sessions, _ := f.most(); sessions != 1 {
					t.Errorf("%d sessions open at once", sessions)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

func TestFaultOnALiveSession(t *testing.T) {
	t.Parallel()
	for _, fault := range suspicious {
		t.Run(fault.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := testSession(f)
				f.failWith("UserGetAPIKey", fault)
				for range 2 {
					if err := get(s, f); !errors.Is(err, fault) {
						t.Error(err)
					}
				}
				if f.count("WhoAmI") != 2 || f.count("Login") != 1 {
					t.Errorf("WhoAmI %d, Login %d, want 2 and 1", f.count("WhoAmI"), f.count("Login"))
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

// A fault proves nothing when it could not be found out whether the session lives.
func TestProbeWithoutAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied)
		f.failWith("WhoAmI", ecgrid.ErrUnreachable)
		if err := get(s, f); !errors.Is(err, ecgrid.ErrUnreachable) || errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("got %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

// A failure that comes late, of a session long replaced, must not end the new one.
func TestLateFailureOfAnOldSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		hold, slow := make(chan struct{}), make(chan error)
		go func() {
			first := true
			slow <- s.use(context.Background(), func(ctx context.Context, id string) error {
				if first {
					first = false
					<-hold
				}
				_, err := f.UserGetAPIKey(ctx, id, 5001)
				return err
			})
		}()
		synctest.Wait()
		f.killSessions()
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		close(hold)
		if err := <-slow; err != nil {
			t.Error(err)
		}
		if f.count("Login") != 2 {
			t.Errorf("%d logins, want 2", f.count("Login"))
		}
		time.Sleep(2 * time.Minute)
	})
}

// A client that hangs up during the Login leaks no session.
func TestGivenUpLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		ctx, cancel := context.WithCancel(context.Background())
		f.set(func() { f.during = func(string) { cancel() } })
		err := s.use(ctx, func(context.Context, string) error { return nil })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		if f.openSessions() != 1 {
			t.Error("the Login did not go on")
		}
		time.Sleep(2 * time.Minute)
		if f.openSessions() != 0 {
			t.Error("the session of a request given up stays open")
		}
	})
}

func TestRefusedLoginPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.password = "changed"
		s := testSession(f)
		logins := 0
		for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
			var refused atomic.Int32
			atOnce(20, func(int) {
				if err := get(s, f); errors.Is(err, ErrLoginRefused) || errors.Is(err, ErrLoginPaused) {
					refused.Add(1)
				}
			})
			logins++
			if n := f.count("Login"); n != logins || refused.Load() != 20 {
				t.Fatalf("%d logins, want %d; %d of 20 refused", n, logins, refused.Load())
			}
			time.Sleep(pause*time.Second - 100*time.Millisecond)
			if err := get(s, f); !errors.Is(err, ErrLoginPaused) {
				t.Fatalf("within the pause of %d s: %v", pause, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		f.set(func() { f.password = "right" })
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		f.set(func() { f.password = "changed" })
		if err := get(s, f); !errors.Is(err, ErrLoginRefused) {
			t.Fatal(err)
		}
		if s.pause.length != firstLoginPause {
			t.Errorf("a login that worked left the pause at %s", s.pause.length)
		}
	})
}

func TestFailedLoginThatIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{
		ecgrid.ErrServerFault, ecgrid.ErrUnreachable, ecgrid.ErrTimeout,
		ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult,
	} {
		t.Run(fault.Error(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.failWith("Login", fault)
				s := testSession(f)
				if err := get(s, f); !errors.Is(err, fault) || errors.Is(err, ErrLoginRefused) {
					t.Errorf("got %v", err)
				}
				f.failWith("Login", nil)
				if err := get(s, f); err != nil {
					t.Errorf("the next request: %v", err)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	closeIn := func(s *session) time.Duration {
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
		defer cancel()
		s.close(ctx)
		s.close(ctx)
		return time.Since(start)
	}
	tests := map[string]func(t *testing.T, f *fakeECGrid, s *session){
		"idle": func(t *testing.T, f *fakeECGrid, s *session) {
			if err := get(s, f); err != nil {
				t.Fatal(err)
			}
		},
		"never used": func(*testing.T, *fakeECGrid, *session) {},
		"login under way": func(t *testing.T, f *fakeECGrid, s *session) {
			f.set(func() { f.latency = 500 * time.Millisecond })
			go func() { _ = get(s, f) }()
			synctest.Wait()
		},
		"request in flight": func(t *testing.T, f *fakeECGrid, s *session) {
			if err := get(s, f); err != nil {
				t.Fatal(err)
			}
			f.set(func() { f.latency = 500 * time.Millisecond })
			go func() {
				if err := get(s, f); err != nil {
					t.Errorf("a request in flight was cut off: %v", err)
				}
			}()
			synctest.Wait()
		},
		"request that hangs": func(t *testing.T, f *fakeECGrid, s *session) {
			go func() {
				_ = s.use(context.Background(), func(context.Context, string) error { time.Sleep(time.Minute); return nil })
			}()
			time.Sleep(time.Second)
		},
	}
	for name, before := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				s := testSession(f)
				before(t, f, s)
				if d := closeIn(s); d > logoutTimeout {
					t.Errorf("took %s", d)
				}
				if n := f.openSessions(); n != 0 {
					t.Errorf("%d sessions left open", n)
				}
				if err := get(s, f); !errors.Is(err, errSessionClosed) {
					t.Errorf("afterwards: %v", err)
				}
				time.Sleep(2 * time.Minute)
			})
		})
	}
	t.Run("logout hangs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			s := testSession(f)
			if err := get(s, f); err != nil {
				t.Fatal(err)
			}
			f.set(func() { f.latency = time.Hour })
			if d := closeIn(s); d > logoutTimeout {
				t.Errorf("took %s", d)
			}
			time.Sleep(time.Minute)
		})
	})
}

func TestAPIKeyNeedsNoSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f, func(c *Config) { c.Username, c.Password, c.APIKey = "", "", "api-key" })
		if err := get(s, f); err != nil {
			t.Fatal(err)
		}
		f.failWith("UserGetAPIKey", ecgrid.ErrAccessDenied)
		if err := get(s, f); !errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("a live key: %v", err)
		}
		f.failWith("WhoAmI", ecgrid.ErrAuthentication)
		if err := get(s, f); !errors.Is(err, ErrLoginRefused) {
			t.Errorf("a dead key: %v", err)
		}
		if f.count("Login")+f.count("Logout") != 0 {
			t.Error("an API key was logged in or out")
		}
	})
}

func TestPanicInALoginIsAnError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		f.set(func() { f.during = func(string) { panic("secret") } })
		if err := get(s, f); !errors.Is(err, ErrPanic) {
			t.Errorf("got %v", err)
		}
		f.whenever(nil)
		if err := get(s, f); err != nil {
			t.Errorf("the next request: %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}

// The next Login waits for the Logout before it: there is never a second session.
func TestLoginWaitsForTheLogout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f, func(c *Config) { c.SessionIdleTimeout = 0 })
		for range 5 {
			if err := get(s, f); err != nil {
				t.Fatal(err)
			}
		}
		if sessions, _ := f.most(); sessions != 1 || f.count("Login") != 5 {
			t.Errorf("%d sessions at once over %d logins", sessions, f.count("Login"))
		}
		time.Sleep(time.Minute)
	})
}

// An idle timer that fires in the moment in which a request comes does it no harm.
func TestLateIdleTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := testSession(f)
		err := s.use(t.Context(), func(_ context.Context, id string) error {
			s.logoutIdle(id)
			synctest.Wait()
			if f.count("Logout") != 0 {
				t.Error("a session in use was logged out")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Minute)
	})
}

// A Login that outlasts close leaves no session behind either.
func TestLoginThatOutlastsClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = 2 * logoutTimeout
		s := testSession(f)
		go func() { _ = get(s, f) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), logoutTimeout)
		defer cancel()
		s.close(ctx)
		f.set(func() { f.latency = time.Millisecond })
		time.Sleep(time.Minute)
		if f.count("Login") != 1 || f.openSessions() != 0 {
			t.Errorf("%d logins, %d sessions left open", f.count("Login"), f.openSessions())
		}
	})
}

// Where every session is dead at once, as behind a changing egress address, a
// fault says nothing about the user.
func TestSessionsDeadOnArrival(t *testing.T) {
	t.Parallel()
	for _, dead := range []error{ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.dead = dead
			s := testSession(f)
			f.set(func() { f.during = func(op string) { f.killSessions() } })
			if err := get(s, f); !errors.Is(err, ecgrid.ErrSessionExpired) || errors.Is(err, dead) {
				t.Errorf("%v: got %v", dead, err)
			}
			if f.count("Login") != 2 {
				t.Errorf("%d logins", f.count("Login"))
			}
			time.Sleep(2 * time.Minute)
		})
	}
}

// A Login that is slower than a request may wait holds up nobody after that, and
// the session that it brings in the end is not left open.
func TestSlowLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = 40 * time.Second
		s := testSession(f)
		if err := get(s, f); !errors.Is(err, ecgrid.ErrTimeout) {
			t.Errorf("got %v", err)
		}
		f.set(func() { f.latency = time.Millisecond })
		if err := get(s, f); err != nil {
			t.Errorf("the next request: %v", err)
		}
		time.Sleep(30 * time.Second)
		if n := f.openSessions(); n != 1 || f.count("Login") != 2 {
			t.Errorf("%d sessions open after %d logins", n, f.count("Login"))
		}
		time.Sleep(2 * time.Minute)
		if n := f.openSessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// Where every Login is too slow, they are bounded too.
func TestSlowLoginsPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = 50 * time.Second
		s := testSession(f)
		for range 10 {
			if err := get(s, f); !errors.Is(err, ecgrid.ErrTimeout) && !errors.Is(err, ErrLoginPaused) {
				t.Errorf("got %v", err)
			}
		}
		if n := f.count("Login"); n > doubtfulLogins+1 {
			t.Errorf("%d logins for 10 requests", n)
		}
		f.set(func() { f.latency = time.Millisecond })
		time.Sleep(10 * time.Minute)
		if n := f.openSessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// Logins that may have been carried out are not repeated without end: each may
// leave a session open.
func TestDoubtfulLoginsPause(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{ecgrid.ErrServerFault, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult, ecgrid.ErrTimeout} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.failWith("Login", fault)
			s := testSession(f)
			for i := range 10 {
				want := fault
				if i >= doubtfulLogins {
					want = ErrLoginPaused
				}
				if err := get(s, f); !errors.Is(err, want) {
					t.Errorf("%v, read %d: %v", fault, i, err)
				}
			}
			if n := f.count("Login"); n != doubtfulLogins {
				t.Errorf("%v: %d logins", fault, n)
			}
			f.failWith("Login", nil)
			time.Sleep(firstLoginPause)
			if err := get(s, f); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * time.Minute)
		})
	}
}

// However many wait for one slow Login, it counts once.
func TestOneSlowLoginCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.latency = 40 * time.Second
		s := testSession(f)
		atOnce(20, func(int) {
			if err := get(s, f); !errors.Is(err, ecgrid.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		})
		f.set(func() { f.latency = time.Millisecond })
		if err := get(s, f); err != nil {
			t.Errorf("the next request: %v", err)
		}
		time.Sleep(2 * time.Minute)
	})
}
