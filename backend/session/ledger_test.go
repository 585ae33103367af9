package session

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Line 12: wherever a process is killed between the Login and the end of its session,
// the next one leaves nothing open once it is up.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	live := func(p *process, s *Session) {
		_ = read(s)
		_ = read(s)
		time.Sleep(2 * time.Minute) // Logout when it is idle
		_ = read(s)
		end(s)
	}
	steps := 0
	t.Run("count", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, _ := oneProcess(t)
			p.step = func(string) { steps++ }
			live(p, p.session())
		})
	})
	if steps < 30 {
		t.Fatalf("only %d steps", steps)
	}
	for last := 1; last <= steps; last++ {
		for _, kept := range []time.Duration{time.Minute, 0} {
			bubble(t, strconv.Itoa(last)+" "+kept.String(), func(t *testing.T) {
				p, f := oneProcess(t)
				n, at := 0, ""
				p.step = func(what string) {
					if n++; n == last {
						at = what
						p.kill()
					}
				}
				live(p, p.session(idle(kept)))
				if !p.killed.Load() { // there are fewer steps where sessions are not kept
					return
				}
				lost := f.sessions()
				next := p.restart()
				s := next.session(idle(kept))
				if err := read(s); err != nil {
					t.Errorf("killed at %q, then: %v", at, err)
				}
				// What cannot be known is a SessionID that was not stored yet. With
				// session_idle_timeout 0 none is.
				unknown := at == "Login done" || at == "PutNote"
				if f.sessions() != 1 && !unknown && kept > 0 {
					t.Errorf("killed at %q with %d open, %d are left", at, lost, f.sessions()-1)
				}
				end(s)
				next.ledger.mu.Lock()
				if n := next.store.noted(); n != 0 || len(next.ledger.owed) != 0 {
					t.Errorf("killed at %q: %d notes left", at, n)
				}
				next.ledger.mu.Unlock()
				time.Sleep(2 * time.Minute)
			})
		}
	}
}

// Line 12: a session is noted before its Login is sent, with its SessionID before it
// is used, and no longer once it is logged out.
func TestSessionIsNotedBeforeItsUse(t *testing.T) {
	t.Parallel()
	for name, keep := range map[string]time.Duration{"kept": time.Minute, "not kept": 0} {
		bubble(t, name, func(t *testing.T) {
			p, f := oneProcess(t)
			var known []string
			f.during = func(op string) {
				p.store.mu.Lock()
				defer p.store.mu.Unlock()
				for _, raw := range p.store.notes {
					known = append(known, op+" "+strconv.FormatBool(strings.Contains(string(raw), secret)))
				}
			}
			// Even where the Login leaves no time for that.
			f.slow(LoginTimeout-8500*time.Microsecond, "Login")
			s := p.session(idle(keep), func(c *Config) { c.RequestTimeout = 2 * LoginTimeout })
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			end(s)
			got := strings.Join(known, ", ")
			want := "Login false, UserGetAPIKey " + strconv.FormatBool(keep > 0) + ", Logout " + strconv.FormatBool(keep > 0)
			if got != want || p.store.noted() != 0 {
				t.Errorf("noted: %s; want %s; %d left", got, want, p.store.noted())
			}
		})
	}
}

// Line 12: a Logout that got no answer is tried again before the next Login, in this
// process and in the next, however long the session was open.
func TestUnansweredLogoutIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, open := range []time.Duration{time.Minute, 30 * time.Hour} {
		for _, keep := range []time.Duration{2 * time.Minute, 0} {
			for _, restarted := range []bool{false, true} {
				bubble(t, open.String()+" "+keep.String()+" "+strconv.FormatBool(restarted), func(t *testing.T) {
					p, f := oneProcess(t)
					s := p.session(idle(keep))
					err := s.Use(t.Context(), func(ctx context.Context, id string) error {
						time.Sleep(open)
						f.set(func() { f.fail["Logout"] = ecgrid.ErrUnreachable })
						return key(s)(ctx, id)
					})
					if err != nil {
						t.Fatal(err)
					}
					end(s)
					if f.sessions() != 1 || p.store.noted() != 1 {
						t.Fatalf("%d open, %d noted", f.sessions(), p.store.noted())
					}
					if restarted {
						p = p.restart()
					}
					s = p.session(idle(keep))
					if err := read(s); err != nil { // again in vain
						t.Fatal(err)
					}
					end(s)
					f.set(func() { f.fail = map[string]error{} })
					f.set(func() {
						f.during = func(op string) {
							if n := f.sessions(); op == "Login" && n > 0 {
								t.Errorf("a Login with %d sessions open", n)
							}
						}
					})
					s = p.session(idle(keep))
					if err := read(s); err != nil {
						t.Fatal(err)
					}
					end(s)
					if f.sessions() != 0 || p.store.noted() != 0 {
						t.Errorf("%d left open, %d noted", f.sessions(), p.store.noted())
					}
				})
			}
		}
	}
}

// Line 12: that a session was open for long is no reason to leave it behind.
func TestKilledAfterLongUse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		_ = p.session().Use(t.Context(), func(context.Context, string) error {
			time.Sleep(30 * time.Hour)
			p.kill()
			return nil
		})
		p = p.restart()
		for _, fault := range []error{ecgrid.ErrUnreachable, nil} { // the first time in vain
			f.set(func() { f.fail["Logout"] = fault })
			s := p.session()
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			end(s)
		}
		if n := f.sessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// What ECGrid does not log out in a day it has forgotten; until then it is asked.
func TestOwedLogoutIsGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.fail["Logout"] = ecgrid.ErrServerFault
		for i := range 50 {
			s := p.session()
			if err := read(s); err != nil {
				t.Fatal(err)
			}
			end(s)
			if i == 0 {
				p = p.restart()
			}
			time.Sleep(time.Hour)
			if n := p.store.noted(); n != min(i+1, 25) && n != min(i+1, 24) {
				t.Errorf("after %d hours %d are owed", i+1, n)
			}
		}
	})
}

// A Login that was cut off may be refused yet: it counts from when it must be over.
func TestCutOffLoginCountsFromItsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.slow(20*time.Second, "Login")
		cut := p.session(with(wrong))
		go func() { _ = read(cut) }()
		time.Sleep(time.Second)
		p = p.restart()
		f.set(func() {
			f.before = func(string) time.Duration { return 0 }
			f.fail["Version"] = ecgrid.ErrTimeout
		})
		s := p.session(with(wrong))
		_ = read(s) // the next process is up before ECGrid has decided
		time.Sleep(30 * time.Second)
		f.set(func() { delete(f.fail, "Version") })
		for range 1200 {
			_ = read(s)
			time.Sleep(time.Second)
		}
		if at, n := mostRefused(f.logins); n > 3 {
			t.Errorf("%d refused before %s", n, at)
		}
	})
}

// What could not be stored is not forgotten with the process.
func TestRefusalsOutliveStorageThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		p.broken = func(method string) bool { return method == "PutAttempts" }
		for range 10 {
			_ = read(p.session(with(wrong)))
			time.Sleep(time.Minute)
		}
		p = p.restart()
		p.broken = nil
		for range 10 {
			_ = read(p.session(with(wrong)))
			time.Sleep(time.Second)
		}
		if n := f.refused(); n > 3 {
			t.Errorf("%d refused", n)
		}
	})
}

// Storage that fails while what was left is taken over does not multiply it.
func TestTakeOverThatFailsCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, f := oneProcess(t)
		f.down = ecgrid.ErrTimeout
		cut := p.session()
		go func() { _ = read(cut) }()
		time.Sleep(time.Second)
		p = p.restart()
		f.set(func() { f.down = nil })
		p.broken = func(method string) bool { return method == "DeleteNote" }
		s := p.session(idle(time.Second))
		for range 5 {
			_ = read(s)
			time.Sleep(10 * time.Second)
		}
		p = p.restart()
		p.broken = nil
		s = p.session()
		if err := read(s); err != nil {
			t.Error(err)
		}
		end(s)
		if n := f.sessions(); n != 0 {
			t.Errorf("%d left open", n)
		}
	})
}

// What another node stored with a clock that runs ahead pauses nobody for longer.
func TestAttemptsOfAClockThatIsWrong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, _ := oneProcess(t)
		ahead := time.Now().Add(48 * time.Hour)
		var all []Attempt
		for range 3 {
			all = append(all, Attempt{Login: "server login", Credential: passwords(right)[0].Mark, At: ahead, Outcome: Refused})
		}
		if err := p.PutAttempts(t.Context(), all); err != nil {
			t.Fatal(err)
		}
		s := p.session()
		if err := read(s); !errors.Is(err, ErrPaused) {
			t.Errorf("got %v", err)
		}
		time.Sleep(window + LoginTimeout + time.Second)
		if err := read(s); err != nil {
			t.Error(err)
		}
		end(s)
	})
}
