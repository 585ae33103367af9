// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// lives makes each new session state a lifetime and die after another one. They differ if
// the clocks do.
func (f *fakeECGrid) lives(stated, real time.Duration) {
	f.lifetime = stated
	f.onOpen = func(id string) { time.AfterFunc(real, func() { f.set(func() { delete(f.open, id) }) }) }
}

// Reads go on through the ends of sessions. Each session is logged out, and a wrong clock
// causes no series of Logins.
func TestRenewal(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name         string
		stated, real time.Duration
		idle         time.Duration // of the config
		every        time.Duration // between two reads
		logins       int           // in 10 hours
		repeated     int           // calls
	}{
		{"no lifetime", 0, 100 * hour, 2 * hour, time.Minute, 1, 0},
		{"before its end", hour, hour, 2 * hour, 30 * time.Second, 11, 0},
		{"short", time.Minute, time.Minute, 2 * hour, 10 * time.Second, 720, 0},
		{"dead before its time", hour, 40 * time.Minute, 2 * hour, time.Minute, 15, 14},
		{"alive after its time", hour, 100 * hour, 2 * hour, 30 * time.Second, 11, 0},
		{"the end is in the past", -hour, 100 * hour, 2 * hour, time.Minute, 1, 0},
		{"the end is near", 2 * time.Second, 100 * hour, 2 * hour, time.Second, 1, 0},
		{"too short to renew", 2 * time.Second, 2 * time.Second, 2 * hour, time.Minute, 600, 599},
		{"idle longer than it lives", hour, hour, 20 * hour, 90 * time.Minute, 7, 0},
		{"idle longer than it says", hour, 100 * hour, 20 * hour, 90 * time.Minute, 7, 0},
		{"no idle time", hour, hour, 0, time.Minute, 600, 0},
	}
	for _, test := range tests {
		runCase(t, test.name, func(t *testing.T, p *process, f *fakeECGrid) {
			f.lives(test.stated, test.real)
			s := p.session(idle(test.idle))
			reads := 0
			for start := time.Now(); time.Since(start) < 10*hour; time.Sleep(test.every - time.Since(start)%test.every) {
				noErr(t, read(s))
				reads++
			}
			if n := f.count("Login"); n != test.logins {
				t.Errorf("%d Logins, want %d", n, test.logins)
			}
			if n := f.count("UserGetAPIKey") - reads; n != test.repeated {
				t.Errorf("%d calls were repeated, want %d", n, test.repeated)
			}
			if f.maxSessions > 2 {
				t.Errorf("%d sessions at once", f.maxSessions)
			}
			closeSession(s)
			wantNothingLeft(t, p)
		})
	}
}

// A renewal that is refused is not repeated: the session works until its end.
func TestRefusedRenewal(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.lives(time.Hour, time.Hour)
		s := p.session(idle(2 * time.Hour))
		noErr(t, read(s))
		f.set(func() { f.password = other })
		for start := time.Now(); time.Since(start) < 59*time.Minute+50*time.Second; time.Sleep(5 * time.Second) {
			noErr(t, read(s))
		}
		if f.refused() != 1 {
			t.Errorf("%d refused Logins, want 1", f.refused())
		}
		f.set(func() { f.password = right })
		time.Sleep(2 * time.Minute)
		noErr(t, read(s))
		closeSession(s)
		wantNothingLeft(t, p)
	})
}

// If ECGrid allows one session only, one renewal is refused, and no further one is sent.
func TestOneSessionOnly(t *testing.T) {
	for _, life := range []time.Duration{12 * time.Second, time.Minute, time.Hour} {
		runCase(t, life.String(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.lives(life, life)
			f.cap = 1
			for range 4 { // as a config write or a rotate-root makes
				s := p.session(idle(2 * time.Hour))
				for start := time.Now(); time.Since(start) < 5*life; time.Sleep(life / 100) {
					noErr(t, read(s))
				}
				closeSession(s)
			}
			if f.refused() != 1 {
				t.Errorf("%d refused Logins, want 1", f.refused())
			}
			wantNothingLeft(t, p)
		})
	}
}

// callIn begins a call that must not be repeated, and sends it after d.
func callIn(d time.Duration, s *Session) <-chan error {
	result := make(chan error, 1)
	go func() {
		_, err := s.UseOnce(context.Background(), func(ctx context.Context, by ecgrid.Credential) error {
			time.Sleep(d)
			return getKey(s)(ctx, by)
		})
		result <- err
	}()
	return result
}

// A call in progress keeps its session during a renewal, since some calls must not be
// repeated. The end of the Session does not wait for it.
func TestRenewalDuringACall(t *testing.T) {
	for _, closed := range []bool{false, true} {
		runCase(t, map[bool]string{false: "finished", true: "closed"}[closed], func(t *testing.T, p *process, f *fakeECGrid) {
			f.lives(time.Hour, 2*time.Hour)
			s := p.session(idle(2 * time.Hour))
			noErr(t, read(s))
			time.Sleep(58*time.Minute + 59*time.Second)
			result := callIn(10*time.Second, s)
			time.Sleep(2 * time.Second)
			noErr(t, read(s)) // starts the renewal
			time.Sleep(time.Second)
			noErr(t, read(s))
			if f.count("Login") != 2 || f.sessions() != 2 {
				t.Errorf("%d Logins, %d sessions, want the old one and the new one", f.count("Login"), f.sessions())
			}
			if closed {
				closeSession(s)
				wantNothingLeft(t, p)
				wantErr(t, <-result, ecgrid.ErrSessionExpired)
				return
			}
			noErr(t, <-result)
			time.Sleep(time.Second)
			if f.sessions() != 1 {
				t.Errorf("%d sessions after the call", f.sessions())
			}
			closeSession(s)
			wantNothingLeft(t, p)
		})
	}
}

// A process that is killed during a renewal leaves no session open after the next Login.
func TestKilledDuringRenewal(t *testing.T) {
	for _, at := range []string{"Login", "Login done", "PutNote", "Logout", "Logout done", "DeleteNote"} {
		runCase(t, at, func(t *testing.T, p *process, f *fakeECGrid) {
			f.lives(time.Hour, 2*time.Hour)
			s := p.session(idle(2 * time.Hour))
			noErr(t, read(s))
			time.Sleep(59*time.Minute + 30*time.Second)
			p.onStep = func(step string) {
				if step == at {
					p.kill()
				}
			}
			_ = read(s) // starts the renewal
			time.Sleep(time.Minute)
			next := p.restart()
			after := next.session(idle(2 * time.Hour))
			noErr(t, read(after))
			time.Sleep(time.Minute)
			lost := 0 // a Login whose answer was lost leaves a session that nobody knows
			if at == "Login done" || at == "PutNote" {
				lost = 1
			}
			if n := f.sessions(); n > 1+lost {
				t.Errorf("%d sessions open", n)
			}
			closeSession(after)
		})
	}
}

// Calls that outlive renewals keep no more than one old session open.
func TestCallsThatOutliveRenewals(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.lives(time.Minute, time.Hour)
		s := p.session(idle(time.Hour))
		var calls sync.WaitGroup
		for range 4 {
			calls.Go(func() {
				noErr(t, s.Use(context.Background(), func(context.Context, ecgrid.Credential) error {
					time.Sleep(5 * time.Minute)
					return nil
				}))
			})
			time.Sleep(50 * time.Second)
			noErr(t, read(s)) // starts the renewal
			time.Sleep(5 * time.Second)
			noErr(t, read(s))
			if f.sessions() > 2 {
				t.Errorf("%d sessions", f.sessions())
			}
		}
		calls.Wait()
		closeSession(s)
		wantNothingLeft(t, p)
	})
}

// The end of a Session does not wait for a renewal that hangs.
func TestCloseDuringHangingRenewal(t *testing.T) {
	for _, keep := range []time.Duration{2 * time.Hour, 0} {
		runCase(t, keep.String(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.lives(time.Hour, 2*time.Hour)
			s := p.session(idle(keep))
			var held sync.WaitGroup
			held.Go(func() { // keeps the session open without an idle time
				noErr(t, s.Use(context.Background(), func(context.Context, ecgrid.Credential) error {
					time.Sleep(time.Hour)
					return nil
				}))
			})
			time.Sleep(59*time.Minute + 30*time.Second)
			f.slow(50*time.Second, "Login")
			noErr(t, read(s)) // starts the renewal
			closeSession(s)
			if f.sessions() != 0 {
				t.Error("the session in use is still open")
			}
			held.Wait()
			time.Sleep(time.Minute)
			wantNothingLeft(t, p)
		})
	}
}

// A call in progress keeps its session beyond the stated end of it, since the session may
// still be alive.
func TestLifetimeEndsDuringACall(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.lives(time.Hour, 2*time.Hour)
		s := p.session(idle(2 * time.Hour))
		noErr(t, read(s))
		time.Sleep(59*time.Minute + 55*time.Second)
		f.slow(20*time.Second, "Login")
		result := callIn(10*time.Second, s)
		time.Sleep(6 * time.Second)
		_ = read(s)
		noErr(t, <-result)
		time.Sleep(time.Minute)
		closeSession(s)
		wantNothingLeft(t, p)
	})
}

// A renewed session that is not used before its end is no Login that failed.
func TestUnusedRenewedSession(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.lives(40*time.Second, 40*time.Second)
		s := p.session(idle(time.Minute))
		noErr(t, read(s))
		time.Sleep(32 * time.Second)
		noErr(t, read(s)) // starts the renewal
		time.Sleep(3 * time.Minute)
		if n := len(p.ledger.failedAttempts(func(Attempt) bool { return true })); n > 0 {
			t.Errorf("%d failed Logins", n)
		}
		noErr(t, read(s))
		if f.count("Version") > 0 {
			t.Error("the next Login asked first whether ECGrid answers")
		}
		closeSession(s)
		wantNothingLeft(t, p)
	})
}
