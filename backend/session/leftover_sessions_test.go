// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Wherever a process is killed, the next one leaves no session open.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	live := func(p *process, s *Session) {
		_ = read(s)
		_ = read(s)
		time.Sleep(2 * time.Minute) // Logout when it is idle
		_ = read(s)
		closeSession(s)
	}
	steps := 0
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(t, newFakeECGrid(), newStore())
		p.onStep = func(string) { steps++ }
		live(p, p.session())
	})
	if steps < 30 {
		t.Fatalf("only %d steps", steps)
	}
	for last := 1; last <= steps; last++ {
		for _, kept := range []time.Duration{time.Minute, 0} {
			runCase(t, strconv.Itoa(last)+" "+kept.String(), func(t *testing.T, p *process, f *fakeECGrid) {
				n, at := 0, ""
				p.onStep = func(what string) {
					if n++; n == last {
						at = what
						p.kill()
					}
				}
				live(p, p.session(idle(kept)))
				if p.life.Err() == nil { // there are fewer steps if sessions are not kept
					return
				}
				lost := f.sessions()
				next := p.restart()
				s := next.session(idle(kept))
				if err := read(s); err != nil {
					t.Errorf("killed at %q, then: %v", at, err)
				}
				// A SessionID that was not stored yet is unknown. None is stored if sessions are
				// not kept.
				unknown := at == "Login done" || at == "PutNote"
				if f.sessions() != 1 && !unknown && kept > 0 {
					t.Errorf("killed at %q with %d open, %d are left", at, lost, f.sessions()-1)
				}
				closeSession(s)
				next.ledger.mu.Lock()
				if n := next.store.noted(); n != 0 || len(next.ledger.leftovers) != 0 {
					t.Errorf("killed at %q: %d notes left", at, n)
				}
				next.ledger.mu.Unlock()
				time.Sleep(2 * time.Minute)
			})
		}
	}
}

// A session that was open for long is logged out after a kill too.
func TestKilledAfterLongUse(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		_ = p.session().Use(t.Context(), func(context.Context, ecgrid.Credential) error {
			time.Sleep(30 * time.Hour)
			p.kill()
			return nil
		})
		p = p.restart()
		for _, fault := range []error{ecgrid.ErrUnreachable, nil} { // the first try fails
			f.set(func() { f.fail["Logout"] = fault })
			s := p.session()
			noErr(t, read(s))
			closeSession(s)
		}
		if n := f.sessions(); n != 0 {
			t.Errorf("%d sessions left open", n)
		}
	})
}

// A Logout without an answer is repeated before the next Login, in this process and the
// next, however long the session was open.
func TestUnansweredLogoutIsTriedAgain(t *testing.T) {
	t.Parallel()
	for _, open := range []time.Duration{time.Minute, 30 * time.Hour} {
		for _, keep := range []time.Duration{2 * time.Minute, 0} {
			for _, restarted := range []bool{false, true} {
				runCase(t, open.String()+" "+keep.String()+" "+strconv.FormatBool(restarted), func(t *testing.T, p *process, f *fakeECGrid) {
					s := p.session(idle(keep))
					noErr(t, s.Use(t.Context(), func(ctx context.Context, by ecgrid.Credential) error {
						time.Sleep(open)
						f.set(func() { f.fail["Logout"] = ecgrid.ErrUnreachable })
						return getKey(s)(ctx, by)
					}))
					closeSession(s)
					if f.sessions() != 1 || p.store.noted() != 1 {
						t.Fatalf("%d open, %d noted", f.sessions(), p.store.noted())
					}
					if restarted {
						p = p.restart()
					}
					s = p.session(idle(keep))
					noErr(t, read(s)) // its Logout fails again
					closeSession(s)
					f.set(func() {
						f.fail = map[string]error{}
						f.onCall = func(op string) {
							if n := f.sessions(); op == "Login" && n > 0 {
								t.Errorf("a Login with %d sessions open", n)
							}
						}
					})
					s = p.session(idle(keep))
					noErr(t, read(s))
					closeSession(s)
					wantNothingLeft(t, p)
				})
			}
		}
	}
}

// A leftover is given up after a day: ECGrid has closed it by then.
func TestLeftoverIsGivenUpAfterADay(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.fail["Logout"] = ecgrid.ErrServerFault
		for i := range 50 {
			s := p.session()
			noErr(t, read(s))
			closeSession(s)
			if i == 0 {
				p = p.restart()
			}
			time.Sleep(time.Hour)
			if n := p.store.noted(); n != min(i+1, 25) && n != min(i+1, 24) {
				t.Errorf("after %d hours %d are left", i+1, n)
			}
		}
	})
}

// A Login waits for the leftovers of its server, even if a timeout or a limit has changed
// since, and for those of no other server.
func TestLeftoversOfTheSameServer(t *testing.T) {
	t.Parallel()
	noted := ecgrid.Endpoint{URL: "https://one.example/", CACert: "ca", RequestTimeout: time.Second, MaxConcurrent: 16}
	for name, tt := range map[string]struct {
		change func(*ecgrid.Endpoint)
		want   bool
	}{
		"unchanged":     {func(*ecgrid.Endpoint) {}, true},
		"timeout":       {func(e *ecgrid.Endpoint) { e.RequestTimeout = time.Minute }, true},
		"limit":         {func(e *ecgrid.Endpoint) { e.MaxConcurrent = 64 }, true},
		"URL":           {func(e *ecgrid.Endpoint) { e.URL = "https://two.example/" }, false},
		"trust":         {func(e *ecgrid.Endpoint) { e.CACert = "" }, false},
		"verified name": {func(e *ecgrid.Endpoint) { e.TLSServerName = "two.example" }, false},
	} {
		now := noted
		tt.change(&now)
		if got := noted.SameServer(now); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
