package session

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Line 8: a permanently wrong password is refused 3 times in any 15 minutes at the
// most, whatever is done; TestVirtualDay mixes it all.
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
			end(s)
			return p, p.session(with(wrong))
		},
		"restarts": func(p *process, _ *Session) (*process, *Session) {
			p = p.restart()
			return p, p.session(with(wrong))
		},
		"recoveries": func(p *process, s *Session) (*process, *Session) {
			s.Offer(passwords(wrong + strconv.FormatInt(time.Now().UnixNano(), 10)))
			_, _ = s.Reopen(context.Background())
			return p, s
		},
		"writes that bring it": func(p *process, s *Session) (*process, *Session) {
			_ = p.brings(wrong)
			return p, s
		},
	}
	for name, do := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(with(wrong))
			for range 520 {
				if err := read(s); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrPaused) {
					t.Fatalf("got %v", err)
				}
				p, s = do(p, s)
				time.Sleep(7 * time.Second)
			}
			if at, n := mostRefused(f.logins); n > 3 {
				t.Errorf("%d refused logins in the 15 min before %s", n, at)
			}
			if f.refused() < 6 { // of an hour
				t.Errorf("only %d refused: it is not tried any more", f.refused())
			}
		})
	}
}

// mostRefused is how many were refused at the most in one window, and where that ends.
func mostRefused(logins []sentLogin) (at time.Time, most int) {
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

// resumes is when a paused login may go on, by what the error says.
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

// The pauses get longer, and the error says how long they last.
func TestRefusedLoginsPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(with(wrong))
		before := time.Duration(0)
		for n := 1; n <= 8; n++ {
			atOnce(20, func() {
				if err := read(s); !errors.Is(err, ErrRefused) && !errors.Is(err, ErrPaused) {
					t.Errorf("got %v", err)
				}
			})
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
		if err := read(s); err != nil {
			t.Fatal(err)
		}
		end(s)
		f.set(func() { f.password = right })
		s = p.session(with(wrong))
		if err := read(s); !errors.Is(err, ErrRefused) {
			t.Fatal(err)
		}
		if pause := resumes(t, read(s)); pause > 2*time.Second {
			t.Errorf("a login that worked left the pause at %s", pause)
		}
	})
}

// A pause ends, in this process and the next, where a brought credential works, be it
// that nothing but its Login did.
func TestPauseEndsWhereABroughtCredentialWorks(t *testing.T) {
	t.Parallel()
	for name, probe := range map[string]error{"WhoAmI too": nil, "its Login": ecgrid.ErrUnreachable} {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			s := p.session(with(wrong))
			for f.refused() < 3 {
				_ = read(s)
				time.Sleep(time.Second)
			}
			resumes(t, read(s))
			f.fail["WhoAmI"] = probe
			s, err := p.bring(t.Context(), right)
			if err != nil {
				t.Fatal(err)
			}
			s.End(t.Context())
			if err := read(s); err != nil {
				t.Error(err)
			}
			end(s)
			p = p.restart()
			s = p.session()
			if err := read(s); err != nil {
				t.Errorf("the next process: %v", err)
			}
			end(s)
		})
	}
}

// A Login that works makes up for what was refused before it was sent, not for what
// was refused while its answer was on the way.
func TestLateSuccessForgetsNoLaterRefusal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.after = func(string) time.Duration { return 20 * time.Second }
		go func() { _ = p.brings(right) }()
		time.Sleep(time.Second)
		f.set(func() { f.after = func(string) time.Duration { return 0 } })
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

// However many are tried, what is remembered beyond the window stays little.
func TestLedgerStaysSmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := oneProcess(t)
		for n := range 300 {
			_ = p.brings(other + strconv.Itoa(n))
			_ = read(p.session(with(wrong)))
			time.Sleep(5 * time.Minute)
		}
		all, err := p.Attempts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		brought := 0
		for _, a := range all {
			if a.Brought {
				brought++
			}
		}
		if stored := len(all) - brought; brought > 4 || stored < maxKept || stored > maxKept+maxInWindow {
			t.Errorf("%d of the stored login and %d others are kept", stored, brought)
		}
	})
}

// What a write brings has its own past, and only that, against it.
func TestBroughtCredentialHasItsOwnPast(t *testing.T) {
	t.Parallel()
	// use makes so many attempts and tells how many were refused.
	use := func(p *process, n int, do func() error) int {
		before := p.refused()
		for range n {
			_ = do()
			time.Sleep(2 * time.Second)
		}
		return p.refused() - before
	}
	bring := func(password string) func(*process) func() error {
		return func(p *process) func() error { return func() error { return p.brings(password) } }
	}
	stored := func(p *process) func() error {
		s := p.session(with(wrong), idle(0))
		return func() error { return read(s) }
	}
	works := func(p *process) func() error {
		s := p.session(idle(0))
		return func() error { return read(s) }
	}
	many := func(p *process) func() error {
		n := 0
		return func() error { n++; return p.brings(other + strconv.Itoa(n)) }
	}
	hungUp := func(p *process) func() error {
		return func() error { // while it waits for what has to come before its Login
			ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond/2)
			defer cancel()
			s, err := p.bring(ctx, other)
			time.Sleep(time.Second)
			end(s)
			return err
		}
	}
	type act struct {
		n       int
		do      func(*process) func() error
		refused int
	}
	tests := map[string][]act{
		"at most 3":                      {{5, bring(other), 3}},
		"at most 3 of another too":       {{5, bring(other), 3}, {5, bring(other + "2"), 3}},
		"is not paused by the stored":    {{40, stored, 3}, {1, bring(other), 1}},
		"does not count for the stored":  {{5, bring(other), 3}, {40, stored, 3}},
		"counts where it is the same":    {{2, bring(wrong), 2}, {40, stored, 1}, {5, bring(wrong), 0}},
		"the stored counts for the same": {{40, stored, 3}, {5, bring(wrong), 0}},
		"no number pushes out another":   {{40, stored, 3}, {20, many, 20}, {20, stored, 0}},
		"nor the same":                   {{3, bring(other), 3}, {20, many, 20}, {3, bring(other), 0}},
		"another that works is no proof": {{3, bring(other), 3}, {2, works, 0}, {3, bring(other), 0}},
		"a hang-up changes nothing":      {{5, hungUp, 3}, {40, stored, 3}},
	}
	for name, acts := range tests {
		for _, restarted := range []bool{false, true} {
			bubble(t, name+" "+strconv.FormatBool(restarted), func(t *testing.T) {
				p, _ := oneProcess(t)
				for i, a := range acts {
					if got := use(p, a.n, a.do(p)); got != a.refused {
						t.Errorf("act %d: %d refused, want %d", i+1, got, a.refused)
					}
					if restarted {
						p = p.restart()
					}
				}
				time.Sleep(time.Minute)
			})
		}
	}
}

// A success ends the pause and not the window: what was refused before it, with another
// credential, counts again once the one that worked is refused too, or may have been. So
// there are 3 in 15 minutes, also where a password was changed twice.
func TestRefusalsBeforeASuccessCountAgain(t *testing.T) {
	t.Parallel()
	for name, what := range map[string]struct {
		restarted bool
		refusal   error // that comes instead of ECGrid's
	}{
		"refused":             {},
		"refused, restarted":  {restarted: true},
		"lost":                {refusal: ecgrid.ErrTimeout},
		"lost, restarted":     {true, ecgrid.ErrTimeout},
		"called server fault": {refusal: ecgrid.ErrServerFault},
	} {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			first := p.session(with(wrong), idle(0))
			if err := read(first); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			time.Sleep(2 * time.Second)
			if err := read(p.session(idle(0))); err != nil {
				t.Errorf("the one that works: %v", err)
			}
			time.Sleep(time.Second) // for the Logout
			f.set(func() {
				f.password = other
				if what.refusal != nil {
					f.lose["Login"] = what.refusal
				}
			})
			if what.restarted {
				p = p.restart()
			}
			s := p.session(idle(0))
			for range 14 * 6 {
				_ = read(s)
				time.Sleep(10 * time.Second)
			}
			if n := f.refused(); n != maxInWindow {
				t.Errorf("%d refused in a quarter of an hour", n)
			}
			time.Sleep(time.Minute)
		})
	}
}

// A confirmed change is a success of the credential that it brought: what the one before
// had outweighed does not hold it up.
func TestConfirmedChangeIsASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session(with(wrong), idle(0))
		for f.refused() < maxInWindow {
			_ = read(s)
			time.Sleep(time.Second)
		}
		if err := p.brings(right); err != nil {
			t.Fatal(err)
		}
		f.set(func() { f.password = other })
		p.ledger.Succeeds(s.Login, passwords(other)[0].Mark)
		if err := read(p.session(with(other), idle(0))); err != nil {
			t.Errorf("the new one: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

// Line 10: where every session is dead at its first use, sessions are not piled up.
func TestDeadOnArrival(t *testing.T) {
	t.Parallel()
	for _, dead := range append(mayMeanDead, ecgrid.ErrSessionExpired) {
		for name, logout := range map[string]error{"fault": opError("Logout", dead), "lenient": nil} {
			bubble(t, dead.Error()+" "+name, func(t *testing.T) {
				p, f := oneProcess(t)
				f.arriveDead, f.dead, f.logoutDead = true, dead, logout
				s := p.session()
				for range 50 {
					err := read(s)
					if err == nil || !errors.Is(err, ErrPaused) && !errors.Is(err, ecgrid.ErrSessionExpired) && !errors.Is(err, ecgrid.ErrServerFault) {
						t.Errorf("got %v", err) // a fault of a dead session says nothing else
					}
					time.Sleep(10 * time.Second)
					if f.refused() > 0 || f.count("Login") > 3 {
						t.Fatalf("%d sessions", f.count("Login"))
					}
				}
				f.set(func() { f.arriveDead = false })
				time.Sleep(window)
				for range 10 { // a call that succeeded clears the count
					f.kill()
					if err := read(s); err != nil {
						t.Error(err)
					}
				}
				end(s)
			})
		}
	}
}

// Only a call that succeeds clears the count: a Login that works does not, nor does a
// session that ends before it was of use.
func TestOnlyASuccessClearsTheCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.arriveDead, f.logoutDead = true, opError("Logout", ecgrid.ErrSessionExpired)
		s := p.session(idle(0))
		for range 10 {
			_ = s.Use(t.Context(), func(context.Context, string) error { return opError("Any", ecgrid.ErrTimeout) })
			time.Sleep(time.Second)
		}
		if n := f.count("Login"); n > 3 {
			t.Errorf("%d sessions", n)
		}
	})
}

// A WhoAmI that answers is a call that succeeded, whatever the call itself did.
func TestProbeClearsTheCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		s := p.session()
		f.lose["Login"] = ecgrid.ErrTimeout
		for range 2 {
			_ = read(s)
		}
		f.set(func() {
			delete(f.lose, "Login")
			f.fail["UserGetAPIKey"] = ecgrid.ErrAccessDenied
		})
		if err := read(s); !errors.Is(err, ecgrid.ErrAccessDenied) {
			t.Errorf("got %v", err)
		}
		end(s)
		f.set(func() { f.lose["Login"] = ecgrid.ErrTimeout })
		s = p.session()
		for range 3 {
			if err := read(s); !errors.Is(err, ecgrid.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		}
	})
}

// Line 11: a Login that never opened a connection counts for nothing.
func TestUnsentLoginCountsForNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.down = &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrUnreachable}
		s := p.session()
		for n := range 50 {
			if err := read(s); !errors.Is(err, ecgrid.ErrUnreachable) {
				t.Fatalf("got %v", err)
			}
			if f.count("Login") != n+1 || f.count("Version") != 0 {
				t.Fatalf("%d logins, %d Versions for %d reads", f.count("Login"), f.count("Version"), n+1)
			}
		}
		f.set(func() { f.down = nil })
		if err := read(s); err != nil || f.count("Version") != 0 || p.store.noted() != 1 || p.store.attempts != nil {
			t.Errorf("%d notes, attempts %s: %v", p.store.noted(), p.store.attempts, err)
		}
		end(s)
	})
}

// Line 11: a Logout that hangs, of this session or owed, fails no read.
func TestHangingLogoutHoldsUpNobody(t *testing.T) {
	t.Parallel()
	for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
		for name, late := range map[string]time.Duration{"at once": 0, "at its end": LogoutTimeout - 100*time.Millisecond, "owed": 2 * LogoutTimeout} {
			bubble(t, name+" "+timeout.String(), func(t *testing.T) {
				p, f := oneProcess(t)
				p.timeout = timeout
				s := p.session()
				f.slow(time.Hour, "Logout")
				for range 2 { // the second time there is one that is owed as well
					if err := read(s); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					cancel()
					s.End(ctx)
					time.Sleep(late)
				}
				f.set(func() {
					f.before = func(op string) time.Duration {
						return map[string]time.Duration{"Login": timeout * 8 / 10, "Logout": time.Hour}[op]
					}
				})
				start := time.Now()
				if err := read(s); err != nil {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
				time.Sleep(2 * time.Hour)
			})
		}
	}
}

// Line 11: an outage of any length, in which ECGrid answers nothing, takes one Login
// and is over with the first read after it.
func TestOutageEndsWithTheFirstRead(t *testing.T) {
	t.Parallel()
	kinds := map[string]error{"silence": ecgrid.ErrTimeout, "resets": opError("any", ecgrid.ErrUnreachable)}
	for name, down := range kinds {
		for _, length := range []time.Duration{20 * time.Second, 5 * time.Minute, 6 * time.Hour} {
			for _, timeout := range []time.Duration{time.Second, 15 * time.Second} {
				bubble(t, name+" "+length.String()+" "+timeout.String(), func(t *testing.T) {
					p, f := oneProcess(t)
					p.timeout, f.down = timeout, down
					s := p.session()
					for began := time.Now(); time.Since(began) < length; time.Sleep(length / 200) {
						atOnce(3, func() {
							if err := read(s); !errors.Is(err, ecgrid.ErrTimeout) && !errors.Is(err, ecgrid.ErrUnreachable) {
								t.Errorf("got %v", err)
							}
						})
						before := s // reloads of the config change nothing
						s = p.session()
						go end(before)
					}
					if n := f.count("Login"); n != 1 {
						t.Errorf("%d logins in the outage", n)
					}
					f.set(func() { f.down = nil })
					if err := read(s); err != nil {
						t.Errorf("the first read after it: %v", err)
					}
					time.Sleep(time.Hour)
					f.set(func() { f.password = wrong }) // nothing is left of it
					_ = read(s)
					if d := resumes(t, read(s)); d > 2*time.Second {
						t.Errorf("paused for %s", d)
					}
				})
			}
		}
	}
}

// Line 11: while it is found out whether ECGrid answers, no Login is entered: those who
// wait for that do not use up the pace for each other.
func TestOutageIsNotTakenForAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.down = ecgrid.ErrTimeout
		_ = read(p.session())
		time.Sleep(2 * LoginTimeout)
		writes := p.store.written()
		atOnce(10, func() {
			if err := read(p.session()); !errors.Is(err, ecgrid.ErrTimeout) {
				t.Errorf("got %v", err)
			}
		})
		if n := p.store.written() - writes; n != 0 || f.count("Login") != 1 {
			t.Errorf("%d writes, %d logins", n, f.count("Login"))
		}
	})
}

// Logins that may have been carried out are counted: each may leave a session open.
func TestLostLoginsCount(t *testing.T) {
	t.Parallel()
	for _, lost := range []error{ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult} {
		bubble(t, lost.Error(), func(t *testing.T) {
			p, f := oneProcess(t)
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
			time.Sleep(window + time.Second)
			if err := read(s); err != nil {
				t.Error(err)
			}
			end(s)
		})
	}
}

// The Login after one that was lost is sent only where ECGrid answers, be it a fault.
func TestVersionBeforeTheLoginAfterALostOne(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		version, want error
	}{
		"answers":            {nil, nil},
		"fault":              {ecgrid.ErrFault, nil},
		"server fault":       {ecgrid.ErrServerFault, nil},
		"silence":            {ecgrid.ErrTimeout, ecgrid.ErrTimeout},
		"a proxy in between": {ecgrid.ErrBadAnswer, ecgrid.ErrBadAnswer},
	}
	for name, test := range tests {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			f.lose["Login"] = ecgrid.ErrTimeout
			s := p.session()
			_ = read(s)
			delete(f.lose, "Login")
			f.fail["Version"] = test.version
			if err := read(s); !errors.Is(err, test.want) {
				t.Errorf("got %v", err)
			}
			if sent := f.count("Login") == 2; sent != (test.want == nil) {
				t.Errorf("a second Login was sent: %t", sent)
			}
			end(s)
		})
	}
}

// Line 11: ECGrid's own faults in answer to Login are no refusals; two are free, then
// they are kept apart up to 5 minutes.
func TestServerFaultsToLogin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.fail["Login"] = ecgrid.ErrServerFault
		s := p.session()
		var sent []time.Time
		for range 3600 {
			n := f.count("Login")
			if err := read(s); !errors.Is(err, ecgrid.ErrServerFault) && !errors.Is(err, ErrPaused) {
				t.Fatalf("got %v", err)
			}
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
		if err := read(s); err != nil {
			t.Error(err)
		}
		end(s)
	})
}

// Line 11: a fault to Login that blames the client is a refusal, whatever its code.
func TestFaultsToLoginThatBlameTheClient(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{ecgrid.ErrAuthentication, ecgrid.ErrAccessDenied, ecgrid.ErrNotFound, ecgrid.ErrFault, ecgrid.ErrSessionExpired} {
		bubble(t, fault.Error(), func(t *testing.T) {
			p, f := oneProcess(t)
			f.fail["Login"] = fault
			s := p.session()
			if err := read(s); !errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
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

// A failure that is no refusal leaves no pause behind.
func TestFailedLoginThatIsNoRefusal(t *testing.T) {
	t.Parallel()
	for _, fault := range []error{ecgrid.ErrServerFault, ecgrid.ErrUnreachable, ecgrid.ErrTimeout, ecgrid.ErrBadAnswer, ecgrid.ErrEmptyResult} {
		bubble(t, fault.Error(), func(t *testing.T) {
			p, f := oneProcess(t)
			f.fail["Login"] = fault
			s := p.session()
			if err := read(s); !errors.Is(err, fault) || errors.Is(err, ErrRefused) {
				t.Errorf("got %v", err)
			}
			delete(f.fail, "Login")
			if err := read(s); err != nil {
				t.Errorf("the next request: %v", err)
			}
			end(s)
		})
	}
}
