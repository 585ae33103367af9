// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Logins whose answer was lost count: each may leave a session open.
func TestLostLoginsCount(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult} {
		runCase(t, lost.Error(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.lose["Login"] = lost
			s := p.session()
			for n := range 20 {
				want := lost
				if n >= maxInWindow {
					want = ErrPaused
				}
				if err := read(s); !errors.Is(err, want) || errors.Is(err, ErrRefused) {
					t.Errorf("read %d: %v", n, err)
				}
			}
			if f.count("Login") != 3 || f.count("Version") != 2 {
				t.Errorf("%d logins, %d Versions", f.count("Login"), f.count("Version"))
			}
			f.set(func() { delete(f.lose, "Login") })
			time.Sleep(window + LoginTimeout + time.Second)
			noErr(t, read(s))
			closeSession(s)
		})
	}
}

// If every session is dead at its first use, few are opened.
func TestDeadOnArrival(t *testing.T) {
	t.Parallel()
	for _, dead := range append(unclearFaults, ecgrid.ErrSessionExpired) {
		for name, logout := range map[string]error{"fault": opError("Logout", dead), "lenient": nil} {
			runCase(t, dead.Error()+" "+name, func(t *testing.T, p *process, f *fakeECGrid) {
				f.deadOnArrival, f.deadFault, f.logoutFault = true, dead, logout
				s := p.session()
				for range 50 {
					wantErr(t, read(s), ErrPaused, ecgrid.ErrSessionExpired, ecgrid.ErrServerFault)
					time.Sleep(10 * time.Second)
					if f.refused() > 0 || f.count("Login") > 3 {
						t.Fatalf("%d sessions", f.count("Login"))
					}
				}
				f.set(func() { f.deadOnArrival = false })
				time.Sleep(window)
				for range 10 { // a call that succeeded clears the count
					f.killSessions()
					noErr(t, read(s))
				}
				closeSession(s)
			})
		}
	}
}

// A Login that works does not clear the count, nor does a session that ends before a
// call succeeded.
func TestOnlyASuccessfulCallClearsLostLogins(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.deadOnArrival, f.logoutFault = true, opError("Logout", ecgrid.ErrSessionExpired)
		s := p.session(idle(0))
		for range 10 {
			_ = s.Use(t.Context(), func(context.Context, ecgrid.Credential) error { return opError("Any", ecgrid.ErrTimeout) })
			time.Sleep(time.Second)
		}
		if n := f.count("Login"); n > 3 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A successful WhoAmI clears the count, even if the request itself failed.
func TestWhoAmIClearsLostLogins(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session()
		f.lose["Login"] = ecgrid.ErrTimeout
		for range 2 {
			_ = read(s)
		}
		f.set(func() {
			delete(f.lose, "Login")
			f.fail["UserGetAPIKey"] = ecgrid.ErrAccessDenied
		})
		wantErr(t, read(s), ecgrid.ErrAccessDenied)
		closeSession(s)
		f.set(func() { f.lose["Login"] = ecgrid.ErrTimeout })
		s = p.session()
		for range 3 {
			wantErr(t, read(s), ecgrid.ErrTimeout)
		}
	})
}

// A Login that opened no connection does not count.
func TestUnsentLoginDoesNotCount(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.down = &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrUnreachable}
		s := p.session()
		for n := range 50 {
			wantErr(t, read(s), ecgrid.ErrUnreachable)
			if f.count("Login") != n+1 || f.count("Version") != 0 {
				t.Fatalf("%d logins, %d Versions for %d reads", f.count("Login"), f.count("Version"), n+1)
			}
		}
		f.set(func() { f.down = nil })
		if err := read(s); err != nil || f.count("Version") != 0 || p.store.noted() != 1 || p.store.attempts != nil {
			t.Errorf("%d notes, attempts %s: %v", p.store.noted(), p.store.attempts, err)
		}
		closeSession(s)
	})
}

// One failed Login that is no refusal causes no pause.
func TestOneFailedLoginCausesNoPause(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{ecgrid.ErrServerFault, ecgrid.ErrUnreachable, ecgrid.ErrTimeout, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult} {
		runCase(t, fault.Error(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.fail["Login"] = fault
			s := p.session()
			if err := read(s); !errors.Is(err, fault) || errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			delete(f.fail, "Login")
			noErr(t, read(s))
			closeSession(s)
		})
	}
}

// An outage of any length takes one Login, and ends with the first read after it.
func TestOutageEndsWithTheFirstRead(t *testing.T) {
	t.Parallel()
	kinds := map[string]error{"silence": ecgrid.ErrTimeout, "resets": opError("any", ecgrid.ErrUnreachable)}
	for name, down := range kinds {
		for _, length := range []time.Duration{20 * time.Second, 5 * time.Minute, 6 * time.Hour} {
			for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
				runCase(t, name+" "+length.String()+" "+timeout.String(), func(t *testing.T, p *process, f *fakeECGrid) {
					p.timeout, f.down = timeout, down
					s := p.session()
					for began := time.Now(); time.Since(began) < length; time.Sleep(length / 200) {
						atOnce(3, func() { wantErr(t, read(s), ecgrid.ErrTimeout, ecgrid.ErrUnreachable) })
						before := s // reloads of the config change nothing
						s = p.session()
						go closeSession(before)
					}
					if n := f.count("Login"); n != 1 {
						t.Errorf("%d logins in the outage", n)
					}
					f.set(func() { f.down = nil })
					noErr(t, read(s))
					time.Sleep(time.Hour)
					f.set(func() { f.password = wrong }) // the outage has no effect on the pause
					_ = read(s)
					if d := resumes(t, read(s)); d > 2*time.Second {
						t.Errorf("paused for %s", d)
					}
				})
			}
		}
	}
}

// No Login is recorded until Version answers, so requests that wait do not pause each
// other.
func TestOutageIsNoPause(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.down = ecgrid.ErrTimeout
		_ = read(p.session())
		time.Sleep(2 * LoginTimeout)
		before := p.store.accessed()
		atOnce(10, func() { wantErr(t, read(p.session()), ecgrid.ErrTimeout) })
		if n := p.store.accessed() - before; n != 0 || f.count("Login") != 1 {
			t.Errorf("%d accesses to storage, %d logins", n, f.count("Login"))
		}
	})
}

// After a lost Login, another is sent only if Version gets an answer, even a fault.
func TestVersionAfterALostLogin(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version, want error
	}{
		"answers":      {nil, nil},
		"fault":        {ecgrid.ErrFault, nil},
		"server fault": {ecgrid.ErrServerFault, nil},
		"silence":      {ecgrid.ErrTimeout, ecgrid.ErrTimeout},
		"a proxy":      {ecgrid.ErrBadAnswer, ecgrid.ErrBadAnswer},
	}
	for name, test := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			f.lose["Login"] = ecgrid.ErrTimeout
			s := p.session()
			_ = read(s)
			delete(f.lose, "Login")
			f.fail["Version"] = test.version
			wantErr(t, read(s), test.want)
			if sent := f.count("Login") == 2; sent != (test.want == nil) {
				t.Errorf("a second Login was sent: %t", sent)
			}
			closeSession(s)
		})
	}
}
