// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// unclearFaults do not tell whether the session is dead.
var unclearFaults = []error{
	ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound, ecgrid.ErrFault, ecgrid.ErrServerFault,
}

func TestSessionIsShared(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]time.Duration{"kept": time.Minute, "not kept": 0} {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(idle(keep), func(c *Config) { c.MaxConcurrent = 16 })
			atOnce(200, func() { noErr(t, read(s)) })
			time.Sleep(keep + time.Second)
			if f.count("Login") != 1 || f.maxSessions != 1 || f.maxCalls > 16 {
				t.Errorf("%d logins, %d sessions and %d calls at once", f.count("Login"), f.maxSessions, f.maxCalls)
			}
			wantNothingLeft(t, p)
		})
	}
}

// Whatever fault answers a dead session, the request gets a new one.
func TestDeadSessionIsReplaced(t *testing.T) {
	t.Parallel()
	for _, fault := range append(unclearFaults, ecgrid.ErrSessionExpired) {
		runCase(t, fault.Error(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.deadFault = fault
			s := p.session()
			noErr(t, read(s))
			f.killSessions()
			atOnce(50, func() { noErr(t, read(s)) })
			if f.count("Login") != 2 || f.maxSessions != 1 {
				t.Errorf("%d logins, %d sessions open at once", f.count("Login"), f.maxSessions)
			}
			closeSession(s)
		})
	}
}

func TestFaultOnALiveSession(t *testing.T) {
	t.Parallel()
	for _, fault := range unclearFaults {
		runCase(t, fault.Error(), func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session()
			f.fail["UserGetAPIKey"] = fault
			for range 2 {
				wantErr(t, read(s), fault)
			}
			if f.count("WhoAmI") != 2 || f.count("Login") != 1 {
				t.Errorf("WhoAmI %d, Login %d, want 2 and 1", f.count("WhoAmI"), f.count("Login"))
			}
			closeSession(s)
		})
	}
}

// If WhoAmI gives no answer, the fault of the call says nothing.
func TestProbeWithoutAnswer(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session()
		f.fail["UserGetAPIKey"], f.fail["WhoAmI"] = ecgrid.ErrAccessDenied, ecgrid.ErrUnreachable
		if err := read(s); !errors.Is(err, ecgrid.ErrUnreachable) || errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("got %v", err)
		}
		closeSession(s)
	})
}

// A late failure of a replaced session does not end the new one.
func TestLateFailureOfAnOldSession(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session()
		noErr(t, read(s))
		hold, slow := make(chan struct{}), make(chan error)
		go func() {
			slow <- s.Use(context.Background(), func(ctx context.Context, by ecgrid.Credential) error {
				<-hold
				return getKey(s)(ctx, by)
			})
		}()
		synctest.Wait()
		f.killSessions()
		noErr(t, read(s))
		close(hold)
		noErr(t, <-slow)
		if f.count("Login") != 2 {
			t.Errorf("%d logins, want 2", f.count("Login"))
		}
		closeSession(s)
	})
}

// UseOnce runs a call once at most, tells whether it did, and returns the call's error.
func TestUseOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		before    func(f *fakeECGrid)
		want      error
		wantEnded bool
	}{
		"works":              {before: func(*fakeECGrid) {}},
		"no Login":           {before: func(f *fakeECGrid) { f.killSessions(); f.fail["Login"] = ecgrid.ErrServerFault }, want: ecgrid.ErrSessionExpired, wantEnded: true},
		"dead":               {before: func(f *fakeECGrid) { f.killSessions() }, want: ecgrid.ErrSessionExpired, wantEnded: true},
		"may be dead, is":    {before: func(f *fakeECGrid) { f.killSessions(); f.deadFault = ecgrid.ErrAccessDenied }, want: ecgrid.ErrAccessDenied, wantEnded: true},
		"may be dead, lives": {before: func(f *fakeECGrid) { f.fail["UserGetAPIKey"] = ecgrid.ErrFault }, want: ecgrid.ErrFault},
		"probe unanswered": {before: func(f *fakeECGrid) {
			f.fail["UserGetAPIKey"], f.fail["WhoAmI"] = ecgrid.ErrFault, ecgrid.ErrUnreachable
		}, want: ecgrid.ErrFault},
		"answer lost": {before: func(f *fakeECGrid) { f.lose["UserGetAPIKey"] = ecgrid.ErrTimeout }, want: ecgrid.ErrTimeout},
	}
	for name, test := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session()
			noErr(t, read(s))
			test.before(f)
			begun, err := s.UseOnce(t.Context(), getKey(s))
			if wantErr(t, err, test.want); !begun {
				t.Error("not begun")
			}
			if n := f.count("UserGetAPIKey"); n != 2 {
				t.Errorf("called %d times", n-1)
			}
			if s.isOpen() == test.wantEnded {
				t.Errorf("the session is kept: %t", s.isOpen())
			}
			closeSession(s)
		})
	}
}

func TestUseOnceIsNotBegun(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(with(wrong))
		if begun, err := s.UseOnce(t.Context(), getKey(s)); begun || !errors.Is(err, ErrRefused) {
			t.Errorf("begun %t, %v", begun, err)
		}
		f.set(func() { f.password = wrong })
		time.Sleep(2 * time.Second)
		s = p.session(with(wrong), func(c *Config) { c.MaxConcurrent = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_ = s.Use(context.Background(), func(context.Context, ecgrid.Credential) error { time.Sleep(time.Minute); return nil })
		}()
		time.Sleep(100 * time.Millisecond)
		if begun, err := s.UseOnce(ctx, getKey(s)); begun || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind others: begun %t, %v", begun, err)
		}
		time.Sleep(5 * time.Minute)
	})
}

func TestAPIKeyNeedsNoSession(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(func(c *Config) { c.APIKey = secret + "key" })
		f.open[s.APIKey] = true
		verify := func() error { return s.Verify(t.Context(), true) }
		reading := func() error { return read(s) }
		once := func() error {
			_, err := s.UseOnce(t.Context(), getKey(s))
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
			if err := checkSecrets(test.call()); !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
		}
		closeSession(s)
		if f.count("Login")+f.count("Logout") != 0 || p.store.accessed() != 0 {
			t.Error("an API key was logged in or out, or noted")
		}
	})
}

func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]error{"Login": panics.Err, "Logout": nil} {
		runCase(t, op, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(idle(0))
			f.onCall = func(now string) {
				if now == op {
					panic(secret)
				}
			}
			wantErr(t, read(s), want)
			for range 2 { // the repeated Logout panics too
				time.Sleep(time.Second)
				if err := read(s); op == "Logout" {
					noErr(t, err)
				}
			}
			f.set(func() { f.onCall = nil })
			time.Sleep(window + LoginTimeout)
			noErr(t, read(s))
			time.Sleep(time.Minute)
			if n := f.sessions(); n != 0 {
				t.Errorf("%d sessions left open", n)
			}
		})
	}
}

// A read that waits for a free call does not send the SessionID from before the wait, which
// may have died meanwhile.
func TestQueuedReadsUseTheNewSession(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(func(c *Config) { c.MaxConcurrent = 4 })
		noErr(t, read(s))
		f.killSessions()
		before := f.count("UserGetAPIKey")
		atOnce(100, func() { noErr(t, read(s)) })
		if n := f.count("UserGetAPIKey") - before; n > 104 {
			t.Errorf("%d calls for 100 reads: more than 4 used the dead session", n)
		}
		closeSession(s)
	})
}
