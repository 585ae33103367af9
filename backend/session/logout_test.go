// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestIdleSessionIsLoggedOut(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session()
		for range 3 { // each use restarts the idle timer
			noErr(t, read(s))
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

func TestSessionInUseIsNotLoggedOut(t *testing.T) {
	t.Parallel()
	tests := map[string]func(s *Session){
		"idle timeout":    func(*Session) { time.Sleep(10 * time.Second) },
		"late idle timer": (*Session).logoutIdle, // it fires when the request begins
		"EndIfUnused":     func(s *Session) { s.EndIfUnused(context.Background()) },
	}
	for name, during := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(idle(time.Second))
			noErr(t, s.Use(t.Context(), func(context.Context, ecgrid.Credential) error {
				during(s)
				time.Sleep(time.Second)
				if f.count("Login") != 1 || f.count("Logout") != 0 {
					t.Errorf("logins %d, logouts %d", f.count("Login"), f.count("Logout"))
				}
				return nil
			}))
			closeSession(s)
		})
	}
}

// The next Login waits for the Logout before it, so there is only one session.
func TestOneSessionAtATime(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		idle time.Duration
		end  func(f *fakeECGrid, s *Session)
	}{
		"not kept":    {0, func(*fakeECGrid, *Session) {}},
		"idle":        {time.Minute, func(*fakeECGrid, *Session) { time.Sleep(time.Minute + time.Second) }},
		"End":         {time.Minute, func(_ *fakeECGrid, s *Session) { s.End(context.Background()) }},
		"EndIfUnused": {time.Minute, func(_ *fakeECGrid, s *Session) { s.EndIfUnused(context.Background()) }},
		"Reopen":      {time.Minute, func(_ *fakeECGrid, s *Session) { _, _ = s.Reopen(context.Background()) }},
		"a dead one":  {time.Minute, func(f *fakeECGrid, s *Session) { f.killSessions() }},
	}
	for name, test := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			f.slow(time.Second, "Logout")
			s := p.session(idle(test.idle))
			for range 5 {
				noErr(t, read(s))
				test.end(f, s)
			}
			if f.maxSessions != 1 || f.count("Login") < 5 || f.sessions() > 1 {
				t.Errorf("%d sessions at once, %d open, %d logins", f.maxSessions, f.sessions(), f.count("Login"))
			}
			closeSession(s)
			time.Sleep(time.Minute)
			wantNothingLeft(t, p)
		})
	}
}

var closeTests = map[string]struct {
	used   bool // before that
	before func(t *testing.T, f *fakeECGrid, s *Session)
	late   bool // a session ends after Close
}{
	"never used": {before: func(*testing.T, *fakeECGrid, *Session) {}},
	"idle":       {used: true, before: func(*testing.T, *fakeECGrid, *Session) {}},
	"a Login under way": {before: func(_ *testing.T, f *fakeECGrid, s *Session) {
		f.slow(2*time.Second, "Login")
		go func() { _ = read(s) }()
		time.Sleep(100 * time.Millisecond)
	}},
	"two Logouts under way": {used: true, before: func(t *testing.T, f *fakeECGrid, s *Session) {
		f.slow(900*time.Millisecond, "Logout")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s.End(ctx)
		synctest.Wait()
		f.slow(0)
		noErr(t, read(s))
	}},
	"a Login that outlasts it": {late: true, before: func(_ *testing.T, f *fakeECGrid, s *Session) {
		f.slow(2*LogoutTimeout, "Login")
		go func() { _ = read(s) }()
		time.Sleep(100 * time.Millisecond)
	}},
	"a request in progress": {used: true, before: func(t *testing.T, f *fakeECGrid, s *Session) {
		f.slow(500*time.Millisecond, "UserGetAPIKey")
		go func() { noErr(t, read(s)) }()
		synctest.Wait()
	}},
	"a request that hangs": {before: func(_ *testing.T, _ *fakeECGrid, s *Session) {
		go func() {
			_ = s.Use(context.Background(), func(context.Context, ecgrid.Credential) error { time.Sleep(time.Minute); return nil })
		}()
		time.Sleep(time.Second)
	}},
	"a slow Logout": {used: true, before: func(_ *testing.T, f *fakeECGrid, _ *Session) {
		f.slow(900*time.Millisecond, "Logout")
	}},
	"a Logout that hangs": {used: true, late: true, before: func(_ *testing.T, f *fakeECGrid, _ *Session) {
		f.slow(time.Minute, "Logout")
	}},
}

// Close is bounded and idempotent, and leaves nothing open.
func TestClose(t *testing.T) {
	t.Parallel()
	for name, test := range closeTests {
		for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
			runCase(t, name+" "+timeout.String(), func(t *testing.T, p *process, f *fakeECGrid) {
				p.timeout = timeout
				s := p.session()
				if test.used {
					noErr(t, read(s))
				}
				test.before(t, f, s)
				start := time.Now()
				closeSession(s)
				if d := time.Since(start); d > LogoutTimeout {
					t.Errorf("took %s", d)
				}
				f.set(func() {
					if f.calls != 0 && !test.late {
						t.Errorf("%d calls are in progress", f.calls)
					}
				})
				closeSession(s)
				wantErr(t, read(s), ErrClosed)
				if !test.late {
					p.kill() // the process may end now
				}
				time.Sleep(2 * time.Minute)
				if n := f.sessions(); n != 0 {
					t.Errorf("%d sessions left open", n)
				}
			})
		}
	}
}

// Close prevents a Login that was about to be sent.
func TestNoLoginAfterClose(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(idle(0))
		f.slow(2*time.Second, "Logout")
		noErr(t, read(s))
		go func() { _ = read(s) }() // waits for the Logout
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

// A Logout that hangs, of this session or a leftover, fails no read.
func TestHangingLogoutDelaysNoRead(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
		for name, late := range map[string]time.Duration{"at once": 0, "at its end": LogoutTimeout - 100*time.Millisecond, "leftover": 2 * LogoutTimeout} {
			runCase(t, name+" "+timeout.String(), func(t *testing.T, p *process, f *fakeECGrid) {
				p.timeout = timeout
				s := p.session()
				f.slow(time.Hour, "Logout")
				for range 2 { // the second time there is a leftover as well
					noErr(t, read(s))
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					s.End(ctx)
					time.Sleep(late)
				}
				f.set(func() {
					f.decideDelay = func(op string) time.Duration {
						return map[string]time.Duration{"Login": timeout * 8 / 10, "Logout": time.Hour}[op]
					}
				})
				noErr(t, read(s))
				time.Sleep(2 * time.Hour)
			})
		}
	}
}

// A session is noted before its Login is sent, with its SessionID before it is used,
// and no longer after its Logout.
func TestSessionIsNotedBeforeItsUse(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]time.Duration{"kept": time.Minute, "not kept": 0} {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			var known []string
			f.onCall = func(op string) {
				p.store.mu.Lock()
				defer p.store.mu.Unlock()
				for _, raw := range p.store.notes {
					known = append(known, op+" "+strconv.FormatBool(strings.Contains(string(raw), secret)))
				}
			}
			// Even if the Login leaves no time for that.
			f.slow(LoginTimeout-8500*time.Microsecond, "Login")
			s := p.session(idle(keep), func(c *Config) { c.RequestTimeout = 2 * LoginTimeout })
			noErr(t, read(s))
			closeSession(s)
			got := strings.Join(known, ", ")
			want := "Login false, UserGetAPIKey " + strconv.FormatBool(keep > 0) + ", Logout " + strconv.FormatBool(keep > 0)
			if got != want {
				t.Errorf("noted: %s; want %s", got, want)
			}
			wantNothingLeft(t, p)
		})
	}
}
