package session

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// mayMeanDead are the faults that do not say whether the session is dead.
var mayMeanDead = []error{
	ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound, ecgrid.ErrFault, ecgrid.ErrServerFault,
}

func TestSessionIsShared(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]time.Duration{"kept": time.Minute, "not kept": 0} {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(idle(keep), func(c *Config) { c.MaxConcurrent = 16 })
			atOnce(200, func() {
				if err := read(s); err != nil {
					t.Error(err)
				}
			})
			time.Sleep(keep + time.Second)
			if f.count("Login") != 1 || f.most != 1 || f.mostCalls > 16 {
				t.Errorf("%d logins, %d sessions and %d calls at once", f.count("Login"), f.most, f.mostCalls)
			}
			if f.sessions() != 0 || p.store.noted() != 0 {
				t.Errorf("left: %d sessions, %d notes", f.sessions(), p.store.noted())
			}
		})
	}
}

func TestIdleSessionIsLoggedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		for range 3 { // each use puts the Logout off
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(59 * time.Second)
			if f.sessions() != 1 {
				t.Fatal("the session ended while it was in use")
			}
		}
		time.Sleep(2 * time.Second)
		if f.sessions() != 0 || f.count("Login") != 1 {
			t.Errorf("open %d, logins %d", f.sessions(), f.count("Login"))
		}
	})
}

func TestNoIdleLogoutUnderARequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.slow(10*time.Second, "UserGetAPIKey")
		if err := read(p.session(idle(time.Second))); err != nil {
			t.Fatal(err)
		}
		if f.count("Login") != 1 || f.count("Logout") != 0 {
			t.Errorf("logins %d, logouts %d", f.count("Login"), f.count("Logout"))
		}
		time.Sleep(20 * time.Second)
	})
}

// An idle timer that fires in the moment in which a request comes does it no harm.
func TestLateIdleTimer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		err := s.Use(t.Context(), func(context.Context, string) error {
			s.logoutIdle(s.open)
			time.Sleep(time.Second)
			if f.count("Logout") != 0 {
				t.Error("a session in use was logged out")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		end(s)
	})
}

// Whatever fault a dead session is answered with, the request gets a new one.
func TestDeadSessionIsReplaced(t *testing.T) {
	t.Parallel()
	for _, dead := range append(mayMeanDead, ecgrid.ErrSessionExpired) {
		bubble(t, dead.Error(), func(t *testing.T) {
			p, f := oneProcess(t)
			f.dead = dead
			s := p.session()
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			f.kill()
			atOnce(50, func() {
				if err := read(s); err != nil {
					t.Error(err)
				}
			})
			if f.count("Login") != 2 || f.most != 1 {
				t.Errorf("%d logins, %d sessions open at once", f.count("Login"), f.most)
			}
			end(s)
		})
	}
}

func TestFaultOnALiveSession(t *testing.T) {
	t.Parallel()
	for _, fault := range mayMeanDead {
		bubble(t, fault.Error(), func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session()
			f.fail["UserGetAPIKey"] = fault
			for range 2 {
				if err := read(s); !errors.Is(err, fault) {
					t.Error(err)
				}
			}
			if f.count("WhoAmI") != 2 || f.count("Login") != 1 {
				t.Errorf("WhoAmI %d, Login %d, want 2 and 1", f.count("WhoAmI"), f.count("Login"))
			}
			end(s)
		})
	}
}

// A fault proves nothing when it could not be found out whether the session lives.
func TestProbeWithoutAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		f.fail["UserGetAPIKey"], f.fail["WhoAmI"] = ecgrid.ErrAccessDenied, ecgrid.ErrUnreachable
		if err := read(s); !errors.Is(err, ecgrid.ErrUnreachable) || errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("got %v", err)
		}
		end(s)
	})
}

// A failure that comes late, of a session long replaced, must not end the new one.
func TestLateFailureOfAnOldSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		if err := read(s); err != nil {
			t.Fatal(err)
		}
		hold, slow := make(chan struct{}), make(chan error)
		go func() {
			slow <- s.Use(context.Background(), func(ctx context.Context, id string) error {
				<-hold
				return key(s)(ctx, id)
			})
		}()
		synctest.Wait()
		f.kill()
		if err := read(s); err != nil {
			t.Fatal(err)
		}
		close(hold)
		if err := <-slow; err != nil {
			t.Error(err)
		}
		if f.count("Login") != 2 {
			t.Errorf("%d logins, want 2", f.count("Login"))
		}
		end(s)
	})
}

// A client that hangs up during the Login leaks no session.
func TestGivenUpLoginLeaksNoSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		ctx, cancel := context.WithCancel(context.Background())
		f.during = func(string) { cancel() }
		if err := readWithin(ctx, s); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Second)
		if f.sessions() != 1 {
			t.Error("the Login did not go on")
		}
		time.Sleep(2 * time.Minute)
		if f.sessions() != 0 {
			t.Error("the session of a request given up stays open")
		}
	})
}

// Close is bounded, may be called twice, and leaves nothing open.
func TestClose(t *testing.T) {
	t.Parallel()
	use := func(t *testing.T, s *Session) {
		if err := read(s); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		before func(t *testing.T, f *fake, s *Session)
		late   bool // what is left open ends after Close
	}{
		"never used": {before: func(*testing.T, *fake, *Session) {}},
		"idle":       {before: func(t *testing.T, f *fake, s *Session) { use(t, s) }},
		"a Login under way": {before: func(t *testing.T, f *fake, s *Session) {
			f.slow(2*time.Second, "Login")
			go func() { _ = read(s) }()
			time.Sleep(100 * time.Millisecond)
		}},
		"two Logouts under way": {before: func(t *testing.T, f *fake, s *Session) {
			use(t, s)
			f.slow(900*time.Millisecond, "Logout")
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			s.End(ctx)
			synctest.Wait()
			f.slow(0)
			use(t, s)
		}},
		"a Login that outlasts it": {late: true, before: func(t *testing.T, f *fake, s *Session) {
			f.slow(2*LogoutTimeout, "Login")
			go func() { _ = read(s) }()
			time.Sleep(100 * time.Millisecond)
		}},
		"a request in flight": {before: func(t *testing.T, f *fake, s *Session) {
			use(t, s)
			f.slow(500*time.Millisecond, "UserGetAPIKey")
			go func() {
				if err := read(s); err != nil {
					t.Errorf("a request in flight was cut off: %v", err)
				}
			}()
			synctest.Wait()
		}},
		"a request that hangs": {before: func(t *testing.T, f *fake, s *Session) {
			go func() {
				_ = s.Use(context.Background(), func(context.Context, string) error { time.Sleep(time.Minute); return nil })
			}()
			time.Sleep(time.Second)
		}},
		"a slow Logout": {before: func(t *testing.T, f *fake, s *Session) {
			use(t, s)
			f.slow(900*time.Millisecond, "Logout")
		}},
		"a Logout that hangs": {late: true, before: func(t *testing.T, f *fake, s *Session) {
			use(t, s)
			f.slow(time.Minute, "Logout")
		}},
	}
	for name, test := range tests {
		for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
			bubble(t, name+" "+timeout.String(), func(t *testing.T) {
				p, f := oneProcess(t)
				p.timeout = timeout
				s := p.session()
				test.before(t, f, s)
				start := time.Now()
				end(s)
				if d := time.Since(start); d > LogoutTimeout {
					t.Errorf("took %s", d)
				}
				f.set(func() {
					if f.calls != 0 && !test.late {
						t.Errorf("%d calls are under way", f.calls)
					}
				})
				end(s)
				if err := read(s); !errors.Is(err, ErrClosed) {
					t.Errorf("afterwards: %v", err)
				}
				if !test.late {
					p.kill() // a process may end once all is closed
				}
				time.Sleep(2 * time.Minute)
				if n := f.sessions(); n != 0 {
					t.Errorf("%d sessions left open", n)
				}
			})
		}
	}
}

// A Login that was still to be sent when its session was closed is not sent.
func TestNoLoginAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(idle(0))
		f.slow(2*time.Second, "Logout")
		if err := read(s); err != nil {
			t.Fatal(err)
		}
		go func() { _ = read(s) }() // has to wait for the Logout
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.Close(ctx)
		time.Sleep(time.Minute)
		if f.count("Login") != 1 || f.sessions() != 0 {
			t.Errorf("%d logins, %d sessions left open", f.count("Login"), f.sessions())
		}
	})
}

func TestAPIKeyNeedsNoSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(func(c *Config) { c.APIKey = secret + "key" })
		f.open[s.APIKey] = true
		verify := func() error { return s.Verify(t.Context(), true) }
		reading := func() error { return read(s) }
		once := func() error {
			_, err := s.UseOnce(t.Context(), key(s))
			return err
		}
		tests := []struct {
			name string
			fail map[string]error
			call func() error
			want error
		}{
			{"works", nil, reading, nil},
			{"verified", nil, verify, nil},
			{"a live key", map[string]error{"UserGetAPIKey": ecgrid.ErrAccessDenied}, reading, ecgrid.ErrAccessDenied},
			{"a dead key", map[string]error{"UserGetAPIKey": ecgrid.ErrAccessDenied, "WhoAmI": ecgrid.ErrAuthentication}, reading, ErrRefused},
			{"a dead key verified", map[string]error{"WhoAmI": ecgrid.ErrAuthentication}, verify, ErrRefused},
			{"a dead key used once", map[string]error{"UserGetAPIKey": ecgrid.ErrSessionExpired}, once, ecgrid.ErrSessionExpired},
			{"ECGrid's own failure", map[string]error{"UserGetAPIKey": ecgrid.ErrServerFault, "WhoAmI": ecgrid.ErrServerFault}, reading, ecgrid.ErrServerFault},
			{"no answer", map[string]error{"UserGetAPIKey": ecgrid.ErrTimeout}, reading, ecgrid.ErrTimeout},
		}
		for _, test := range tests {
			f.set(func() { f.fail = test.fail })
			if err := told(p, test.call()); !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
		}
		end(s)
		if f.count("Login")+f.count("Logout") != 0 || p.store.written() != 0 {
			t.Error("an API key was logged in or out, or noted")
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"Login", "Logout"} {
		bubble(t, op, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(idle(0))
			f.set(func() {
				f.during = func(now string) {
					if now == op {
						panic(secret)
					}
				}
			})
			if err := read(s); op == "Login" && !errors.Is(err, panics.Err) {
				t.Errorf("got %v", err)
			}
			for range 2 { // what is owed panics too
				time.Sleep(time.Second)
				if err := read(s); op == "Logout" && err != nil {
					t.Error(err)
				}
			}
			f.set(func() { f.during = nil })
			time.Sleep(window)
			if err := read(s); err != nil {
				t.Errorf("the next request: %v", err)
			}
			time.Sleep(time.Minute)
			if n := f.sessions(); n != 0 {
				t.Errorf("%d sessions left open", n)
			}
		})
	}
}

// The next Login waits for the Logout before it: there is never a second session.
func TestOneSessionAtATime(t *testing.T) {
	t.Parallel()
	ends := map[string]struct {
		idle time.Duration
		end  func(f *fake, s *Session)
	}{
		"at once":    {0, func(*fake, *Session) {}},
		"idle":       {time.Minute, func(*fake, *Session) { time.Sleep(time.Minute + time.Second) }},
		"End":        {time.Minute, func(_ *fake, s *Session) { s.End(context.Background()) }},
		"EndUnused":  {time.Minute, func(_ *fake, s *Session) { s.EndUnused(context.Background()) }},
		"Reopen":     {time.Minute, func(_ *fake, s *Session) { _, _ = s.Reopen(context.Background()) }},
		"a dead one": {time.Minute, func(f *fake, s *Session) { f.kill() }},
	}
	for name, test := range ends {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			f.slow(time.Second, "Logout")
			s := p.session(idle(test.idle))
			for range 5 {
				if err := read(s); err != nil {
					t.Fatal(err)
				}
				test.end(f, s)
			}
			// Not even counting those with a Logout under way.
			if f.most != 1 || f.count("Login") < 5 || f.sessions() > 1 {
				t.Errorf("%d sessions at once, %d open, %d logins", f.most, f.sessions(), f.count("Login"))
			}
			end(s)
			time.Sleep(time.Minute)
			if f.sessions() != 0 || p.store.noted() != 0 {
				t.Errorf("left: %d sessions, %d notes", f.sessions(), p.store.noted())
			}
		})
	}
}

// EndUnused leaves a session alone that is in use.
func TestEndUnused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		err := s.Use(t.Context(), func(context.Context, string) error {
			s.EndUnused(t.Context())
			return nil
		})
		if err != nil || f.count("Logout") != 0 {
			t.Errorf("%d logouts, %v", f.count("Logout"), err)
		}
		end(s)
	})
}

// A Login that is slower than a request may wait holds up nobody after that, and
// the session that it brings in the end is not left open.
func TestSlowLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.slow(40*time.Second, "Login")
		s := p.session()
		atOnce(20, func() {
			if err := read(s); !errors.Is(err, ecgrid.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		})
		f.slow(0)
		if err := read(s); err != nil {
			t.Errorf("the next request: %v", err)
		}
		if n := f.count("Login"); n != 2 {
			t.Errorf("%d logins: however many wait for one, it counts once", n)
		}
		time.Sleep(30 * time.Second)
		if n := f.sessions(); n != 1 {
			t.Errorf("%d sessions open", n)
		}
		time.Sleep(2 * time.Minute)
		if n := f.sessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// Line 19: who joins a Login that hangs does not fail for time that passed before.
func TestLateJoinerOfAHungLogin(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{time.Second, 10 * time.Second, 17 * time.Second} {
		bubble(t, late.String(), func(t *testing.T) {
			p, f := oneProcess(t)
			f.slow(50*time.Second, "Login")
			s := p.session()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_ = readWithin(ctx, s) // nobody waits for it any more
			time.Sleep(late)
			f.slow(0)
			if err := read(s); err != nil {
				t.Error(err)
			}
			end(s)
			time.Sleep(2 * time.Minute)
		})
	}
}

// UseOnce runs a call once at the most, tells whether it did, and gives its error.
func TestUseOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before func(f *fake)
		want   error
		begun  bool
		ends   bool // the session
	}{
		"works":              {before: func(*fake) {}, begun: true},
		"no Login":           {before: func(f *fake) { f.kill(); f.fail["Login"] = ecgrid.ErrServerFault }, want: ecgrid.ErrSessionExpired, begun: true, ends: true},
		"dead":               {before: func(f *fake) { f.kill() }, want: ecgrid.ErrSessionExpired, begun: true, ends: true},
		"may be dead, is":    {before: func(f *fake) { f.kill(); f.dead = ecgrid.ErrAccessDenied }, want: ecgrid.ErrAccessDenied, begun: true, ends: true},
		"may be dead, lives": {before: func(f *fake) { f.fail["UserGetAPIKey"] = ecgrid.ErrFault }, want: ecgrid.ErrFault, begun: true},
		"probe unanswered": {before: func(f *fake) {
			f.fail["UserGetAPIKey"], f.fail["WhoAmI"] = ecgrid.ErrFault, ecgrid.ErrUnreachable
		}, want: ecgrid.ErrFault, begun: true},
		"answer lost": {before: func(f *fake) { f.lose["UserGetAPIKey"] = ecgrid.ErrTimeout }, want: ecgrid.ErrTimeout, begun: true},
	}
	for name, test := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session()
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			test.before(f)
			begun, err := s.UseOnce(t.Context(), key(s))
			if begun != test.begun || !errors.Is(err, test.want) {
				t.Errorf("begun %t, %v", begun, err)
			}
			if n := f.count("UserGetAPIKey"); n != 2 {
				t.Errorf("called %d times", n-1)
			}
			if s.isOpen() == test.ends {
				t.Errorf("the session is kept: %t", s.isOpen())
			}
			end(s)
		})
	}
	bubble(t, "never begun", func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(with(wrong))
		if begun, err := s.UseOnce(t.Context(), key(s)); begun || !errors.Is(err, ErrRefused) {
			t.Errorf("begun %t, %v", begun, err)
		}
		f.set(func() { f.password = wrong })
		time.Sleep(2 * time.Second)
		s = p.session(with(wrong), func(c *Config) { c.MaxConcurrent = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_ = s.Use(context.Background(), func(context.Context, string) error { time.Sleep(time.Minute); return nil })
		}()
		time.Sleep(100 * time.Millisecond)
		if begun, err := s.UseOnce(ctx, key(s)); begun || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind others: begun %t, %v", begun, err)
		}
		time.Sleep(5 * time.Minute)
	})
}

// tried are the passwords of all Logins, in order.
func (f *fake) tried() (passwords []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.logins {
		passwords = append(passwords, l.password[len(secret):])
	}
	return passwords
}

// Candidates are tried in turn, the one that worked first the next time.
func TestCandidatesInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		var switched atomic.Int32
		s := p.session(with(wrong, right), idle(0), func(c *Config) { c.Switched = func() { switched.Add(1) } })
		if s.Current() != "" {
			t.Error("opened with something before the first Login")
		}
		for range 3 {
			if err := read(s); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := f.tried(); !slices.Equal(got, []string{"wrong", "right", "right", "right"}) {
			t.Errorf("tried %v", got)
		}
		if s.Current() != right || switched.Load() == 0 {
			t.Errorf("not told of the switch (%d)", switched.Load())
		}
		f.set(func() { f.password = other })
		s.Offer(passwords(other))
		s.Confirmed(other)
		if err := read(s); err != nil || s.Current() != other {
			t.Errorf("the one that was offered: %v", err)
		}
		end(s)
	})
}

// A pause in the midst of a round has the next one begin where it stopped.
func TestRoundGoesOnAfterAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(with(wrong, wrong+"2", wrong+"3", right))
		for range 2 {
			if err := read(s); err == nil {
				t.Fatal("a fourth Login")
			}
		}
		time.Sleep(window + time.Second)
		if err := read(s); err != nil {
			t.Error(err)
		}
		if got := f.tried(); !slices.Equal(got, []string{"wrong", "wrong2", "wrong3", "right"}) {
			t.Errorf("tried %v", got)
		}
		end(s)
	})
}

// A write is told of its own credential, however many others there are.
func TestVerifyBroughtTriesOne(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		brought bool
		want    error
		tried   []string
	}{
		"brought": {true, ErrRefused, []string{"wrong"}},
		"stored":  {false, nil, []string{"wrong", "right"}},
	}
	for name, test := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(with(wrong, right))
			if err := told(p, s.Verify(t.Context(), test.brought)); !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			if got := f.tried(); !slices.Equal(got, test.tried) {
				t.Errorf("tried %v", got)
			}
			end(s)
		})
	}
}

// A Login that works is one, whatever WhoAmI can tell.
func TestVerifyByLogin(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		fail, want error
	}{
		"works":       {nil, nil},
		"unreachable": {ecgrid.ErrUnreachable, nil},
		"dead":        {ecgrid.ErrSessionExpired, ecgrid.ErrSessionExpired},
	}
	for name, test := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			f.fail["WhoAmI"] = test.fail
			s, err := p.bring(t.Context(), right)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			if test.want == nil && !s.isOpen() {
				t.Error("its session does not stay for the next request")
			}
			end(s)
		})
	}
}

// Reopen tells which password ECGrid has now, not which one it had when a Login was
// made that was under way already, or that nobody waits for any more.
func TestReopenAsksAnew(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"shared": 10 * time.Second, "abandoned": 25 * time.Second, "hung": 59 * time.Second} {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(with(right, other))
			f.set(func() { f.after = func(string) time.Duration { return ahead } })
			gone, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			go func() { _ = readWithin(gone, s) }()
			time.Sleep(min(ahead-5*time.Second, 20*time.Second))
			f.set(func() {
				f.password = other
				f.after = func(string) time.Duration { return 0 }
			})
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			defer cancel()
			if got, err := s.Reopen(ctx); got != other || err != nil {
				t.Errorf("reopened with the old one: %t, %v", got == right, err)
			}
			time.Sleep(20 * time.Second)
			if name != "shared" && s.Current() != other {
				t.Error("an old Login that came late has the last word")
			}
			time.Sleep(2 * time.Minute)
			if n := f.sessions(); n != 0 {
				t.Errorf("%d sessions left open", n)
			}
		})
	}
}

// A Login needs its note, and nothing else of storage.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method string
		want   error
		logins int
	}{
		"nothing known": {"Attempts", errStore, 0},
		"no notes":      {"Notes", errStore, 0},
		"not noted":     {"PutNote", errStore, 0},
		"not deleted":   {"DeleteNote", nil, 1},
		"not counted":   {"PutAttempts", nil, 1},
	}
	for name, test := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			p.store.fail = map[string]bool{test.method: true}
			s := p.session()
			if err := read(s); !errors.Is(err, test.want) || f.count("Login") != test.logins {
				t.Errorf("%d logins, %v", f.count("Login"), err)
			}
			p.store.mu.Lock()
			p.store.fail = nil
			p.store.mu.Unlock()
			if err := read(s); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			end(s)
			if f.sessions() != 0 {
				t.Error("left open")
			}
		})
	}
}
