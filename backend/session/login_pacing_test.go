// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A wrong password is refused at most 3 times in any 15 minutes, whatever is done.
// TestVirtualDay mixes all of this.
func TestPermanentlyWrongPassword(t *testing.T) {
	t.Parallel()
	tests := map[string]func(p *process, s *Session) (*process, *Session){
		"reads": func(p *process, s *Session) (*process, *Session) { return p, s },
		"reads at once": func(p *process, s *Session) (*process, *Session) {
			atOnce(20, func() { _ = read(s) })
			return p, s
		},
		"hang-ups": func(p *process, s *Session) (*process, *Session) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
			defer cancel()
			_ = readWithin(ctx, s)
			return p, s
		},
		"reloads": func(p *process, s *Session) (*process, *Session) {
			closeSession(s)
			return p, p.session(with(wrong))
		},
		"restarts": func(p *process, _ *Session) (*process, *Session) {
			p = p.restart()
			return p, p.session(with(wrong))
		},
		"recoveries": func(p *process, s *Session) (*process, *Session) {
			s.AddCandidates(candidates(wrong + strconv.FormatInt(time.Now().UnixNano(), 10)))
			_, _ = s.Reopen(context.Background())
			return p, s
		},
		"writes that bring it": func(p *process, s *Session) (*process, *Session) {
			_ = p.tryWrite(wrong)
			return p, s
		},
	}
	for name, do := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(with(wrong))
			for range 520 {
				wantErr(t, read(s), ErrRefused, ErrPaused)
				p, s = do(p, s)
				time.Sleep(7 * time.Second)
			}
			if at, n := mostRefused(f.logins); n > 3 {
				t.Errorf("%d refused logins in the 15 min before %s", n, at)
			}
			if f.refused() < 6 { // of an hour
				t.Errorf("only %d refused: it is no longer tried", f.refused())
			}
		})
	}
}

// mostRefused returns the most refused Logins in one window, and the time at which it ends.
func mostRefused(logins []decidedLogin) (at time.Time, most int) {
	for i, last := range logins {
		n := 0
		for _, l := range logins[:i+1] {
			if l.refused && last.at.Sub(l.at) <= window {
				n++
			}
		}
		if n > most {
			at, most = last.at, n
		}
	}
	return at, most
}

// resumes returns how long a login is paused, by its error.
func resumes(t *testing.T, err error) time.Duration {
	t.Helper()
	if !errors.Is(err, ErrPaused) {
		t.Fatalf("got %v", err)
	}
	d, bad := time.ParseDuration(regexp.MustCompile(`\b[0-9hms.]+[hms]\b`).FindString(err.Error()))
	if bad != nil {
		t.Fatalf("it does not say when: %v", err)
	}
	return d
}

// The pauses get longer, and the error tells how long they last.
func TestRefusedLoginsPause(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(with(wrong))
		before := time.Duration(0)
		for n := 1; n <= 8; n++ {
			atOnce(20, func() { wantErr(t, read(s), ErrRefused, ErrPaused) })
			if got := f.count("Login"); got != n {
				t.Fatalf("%d logins, want %d", got, n)
			}
			pause := resumes(t, read(s))
			if n == 1 && pause > 2*time.Second || n < 3 && pause <= before || pause > window+time.Second {
				t.Errorf("pause %d is %s after %s", n, pause, before)
			}
			before = pause
			time.Sleep(pause - 1100*time.Millisecond)
			if n > 1 {
				resumes(t, read(s))
			}
			time.Sleep(1200 * time.Millisecond)
		}
		f.set(func() { f.password = wrong })
		noErr(t, read(s))
		closeSession(s)
		f.set(func() { f.password = right })
		s = p.session(with(wrong))
		wantErr(t, read(s), ErrRefused)
		if pause := resumes(t, read(s)); pause > 2*time.Second {
			t.Errorf("a login that worked left the pause at %s", pause)
		}
	})
}

// A fault to Login that blames the client is a refusal, whatever its code.
func TestClientFaultToLoginIsARefusal(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound, ecgrid.ErrFault, ecgrid.ErrSessionExpired} {
		runCase(t, fault.Error(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.fail["Login"] = fault
			s := p.session()
			wantErr(t, read(s), ErrRefused)
			for range 100 {
				_ = read(s)
				time.Sleep(5 * time.Second)
			}
			if n := f.count("Login"); n != 3 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// ECGrid's own faults to Login are not refusals. After two, the pauses grow to 5 minutes.
func TestServerFaultsPauseLogins(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.fail["Login"] = ecgrid.ErrServerFault
		s := p.session()
		var sent []time.Time
		for range 3600 {
			n := f.count("Login")
			wantErr(t, read(s), ecgrid.ErrServerFault, ErrPaused)
			if f.count("Login") > n {
				sent = append(sent, time.Now())
			}
			time.Sleep(time.Second)
		}
		var gaps []time.Duration
		for i := 1; i < len(sent); i++ {
			gaps = append(gaps, sent[i].Sub(sent[i-1]))
		}
		if len(gaps) < 10 || gaps[0] > 2*time.Second || gaps[1] > 2*time.Second || gaps[2] < 10*time.Second {
			t.Fatalf("logins apart %v", gaps)
		}
		if !slices.IsSorted(gaps[:6]) || slices.Max(gaps) > 5*time.Minute+5*time.Second || gaps[len(gaps)-1] < 5*time.Minute {
			t.Errorf("logins apart %v", gaps)
		}
		f.set(func() { f.fail = map[string]error{} })
		time.Sleep(5 * time.Minute)
		noErr(t, read(s))
		closeSession(s)
	})
}

// A Login that works clears refusals before it was sent, but not those before its answer.
func TestLateSuccessClearsNoLaterRefusal(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.answerDelay = delay(20 * time.Second)
		go func() { _ = p.tryWrite(right) }()
		time.Sleep(time.Second)
		f.set(func() { f.answerDelay = delay(0) })
		s := p.session(with(wrong))
		for range 600 {
			_ = read(s)
			time.Sleep(time.Second)
		}
		if n := f.refused(); n != 3 {
			t.Errorf("%d refused", n)
		}
	})
}

// A success ends the pause, but not the window: refusals before it, with another
// credential, count again when the one that worked fails.
func TestRefusalsBeforeASuccessCountAgain(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		restarted bool
		refusal   error // what the client gets instead
	}{
		"refused":            {},
		"refused, restarted": {restarted: true},
		"lost":               {refusal: ecgrid.ErrTimeout},
		"lost, restarted":    {true, ecgrid.ErrTimeout},
		"server fault":       {refusal: ecgrid.ErrServerFault},
	} {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			wantErr(t, read(p.session(with(wrong), idle(0))), ErrRefused)
			time.Sleep(2 * time.Second)
			noErr(t, read(p.session(idle(0))))
			time.Sleep(time.Second) // for the Logout
			f.set(func() {
				f.password = other
				if test.refusal != nil {
					f.lose["Login"] = test.refusal
				}
			})
			if test.restarted {
				p = p.restart()
			}
			s := p.session(idle(0))
			for range 14 * 6 {
				_ = read(s)
				time.Sleep(10 * time.Second)
			}
			if n := f.refused(); n != maxInWindow {
				t.Errorf("%d refused in 15 minutes", n)
			}
			time.Sleep(time.Minute)
		})
	}
}

// A confirmed change is a success of the new password.
func TestReplacedCredentialIsNotPaused(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(with(wrong), idle(0))
		for f.refused() < maxInWindow {
			_ = read(s)
			time.Sleep(time.Second)
		}
		noErr(t, p.tryWrite(right))
		f.set(func() { f.password = other })
		p.ledger.CredentialReplaced(s.Login, candidates(other)[0].Mark)
		noErr(t, read(p.session(with(other), idle(0))))
		time.Sleep(time.Minute)
	})
}

// Few attempts are kept beyond the window, however many Logins are tried.
func TestLedgerStaysSmall(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, _ *fakeECGrid) {
		for n := range 300 {
			_ = p.tryWrite(other + strconv.Itoa(n))
			_ = read(p.session(with(wrong)))
			time.Sleep(5 * time.Minute)
		}
		all, err := p.Attempts(t.Context())
		noErr(t, err)
		fromWrite := 0
		for _, a := range all {
			if a.FromWrite {
				fromWrite++
			}
		}
		if stored := len(all) - fromWrite; fromWrite > 4 || stored < maxKept || stored > maxKept+maxInWindow {
			t.Errorf("%d of the stored login and %d others are kept", stored, fromWrite)
		}
	})
}

// ECGrid may refuse a lost Login up to LoginTimeout after the plugin gave up.
func TestLostLoginCountsFromItsDecision(t *testing.T) {
	t.Parallel()
	at := func(minute int, o Outcome) Attempt {
		return Attempt{Outcome: o, At: time.Unix(0, 0).Add(time.Duration(minute) * time.Minute)}
	}
	for name, tt := range map[string]struct {
		attempts []Attempt
		first    int // minute in which the first of the last three was decided
	}{
		"refused":                {[]Attempt{at(3, Refused), at(5, Refused), at(9, Refused)}, 3},
		"lost":                   {[]Attempt{at(3, Lost), at(5, Refused), at(9, Refused)}, 4},
		"lost, decided as third": {[]Attempt{at(3, Refused), at(8, Lost), at(8, Refused), at(8, Refused)}, 8},
	} {
		want := at(tt.first, "").At.Add(window + time.Millisecond)
		if got := windowEnd(tt.attempts); !got.Equal(want) {
			t.Errorf("%s: until %s, want %s", name, got, want)
		}
	}
}
