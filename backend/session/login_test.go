// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A client that hangs up during the Login leaks no session.
func TestHangUpLeaksNoSession(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		ctx, cancel := context.WithCancel(context.Background())
		f.onCall = func(string) { cancel() }
		wantErr(t, readWithin(ctx, p.session()), context.Canceled)
		time.Sleep(time.Second)
		if f.sessions() != 1 {
			t.Error("the Login did not go on")
		}
		time.Sleep(2 * time.Minute)
		if f.sessions() != 0 {
			t.Error("the session stays open")
		}
	})
}

// A Login that outlasts a request delays none after that, and its session is not left
// open.
func TestSlowLogin(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.slow(40*time.Second, "Login")
		s := p.session()
		atOnce(20, func() { wantErr(t, read(s), ecgrid.ErrTimeout) })
		f.slow(0)
		noErr(t, read(s))
		if n := f.count("Login"); n != 2 {
			t.Errorf("%d logins: those that wait share one", n)
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

// A request that joins a hanging Login late does not time out early.
func TestLateJoinerOfAHangingLogin(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{time.Second, 10 * time.Second, 17 * time.Second} {
		runCase(t, late.String(), func(t *testing.T, p *process, f *fakeECGrid) {
			f.slow(50*time.Second, "Login")
			s := p.session()
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_ = readWithin(ctx, s) // hangs up
			time.Sleep(late)
			f.slow(0)
			noErr(t, read(s))
			closeSession(s)
			time.Sleep(2 * time.Minute)
		})
	}
}

// Candidates are tried in turn. The next Login begins with the one that worked.
func TestCandidatesInTurn(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		var switched atomic.Int32
		s := p.session(with(wrong, right), idle(0), func(c *Config) { c.Switched = func() { switched.Add(1) } })
		if s.Password() != "" {
			t.Error("there is a password before the first Login")
		}
		for range 3 {
			noErr(t, read(s))
		}
		synctest.Wait()
		if got := f.tried(); !slices.Equal(got, []string{"wrong", "right", "right", "right"}) {
			t.Errorf("tried %v", got)
		}
		if s.Password() != right || switched.Load() == 0 {
			t.Errorf("Switched was called %d times", switched.Load())
		}
		f.set(func() { f.password = other })
		s.AddCandidates(candidates(other))
		s.SetPassword(other)
		if err := read(s); err != nil || s.Password() != other {
			t.Errorf("the added candidate: %v", err)
		}
		closeSession(s)
	})
}

// After a pause, the next round begins with the candidate that the last one stopped at.
func TestRoundGoesOnAfterAPause(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		s := p.session(with(wrong, wrong+"2", wrong+"3", right))
		for range 2 {
			if err := read(s); err == nil {
				t.Fatal("a fourth Login")
			}
		}
		time.Sleep(window + time.Second)
		noErr(t, read(s))
		if got := f.tried(); !slices.Equal(got, []string{"wrong", "wrong2", "wrong3", "right"}) {
			t.Errorf("tried %v", got)
		}
		closeSession(s)
	})
}

// A config write tries its own password only. A Login that works is enough, even if
// WhoAmI fails.
func TestVerify(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		passwords []string
		fromWrite bool
		whoAmI    error
		want      error
		tried     []string
	}{
		"of a write":         {[]string{wrong, right}, true, nil, ErrRefused, []string{"wrong"}},
		"stored":             {[]string{wrong, right}, false, nil, nil, []string{"wrong", "right"}},
		"works":              {[]string{right}, true, nil, nil, []string{"right"}},
		"WhoAmI unreachable": {[]string{right}, true, ecgrid.ErrUnreachable, nil, []string{"right"}},
		"dead":               {[]string{right}, true, ecgrid.ErrSessionExpired, ecgrid.ErrSessionExpired, []string{"right", "right"}},
	}
	for name, test := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			f.fail["WhoAmI"] = test.whoAmI
			s := p.session(with(test.passwords...))
			wantErr(t, checkSecrets(s.Verify(t.Context(), test.fromWrite)), test.want)
			if got := f.tried(); !slices.Equal(got, test.tried) {
				t.Errorf("tried %v", got)
			}
			if test.want == nil && !s.isOpen() {
				t.Error("its session does not stay open for the next request")
			}
			closeSession(s)
		})
	}
}

// Reopen returns the password that ECGrid has now. It ignores Logins that were already
// under way or abandoned.
func TestReopenAsksAgain(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"shared": 10 * time.Second, "abandoned": 25 * time.Second, "hung": 59 * time.Second} {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(with(right, other))
			f.set(func() { f.answerDelay = delay(ahead) })
			gone, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			go func() { _ = readWithin(gone, s) }()
			time.Sleep(min(ahead-5*time.Second, 20*time.Second))
			f.set(func() { f.password, f.answerDelay = other, delay(0) })
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Second)
			defer cancel()
			if got, err := s.Reopen(ctx); got != other || err != nil {
				t.Errorf("reopened with the old one: %t, %v", got == right, err)
			}
			time.Sleep(20 * time.Second)
			if name != "shared" && s.Password() != other {
				t.Error("the late answer of an old Login set the password")
			}
			time.Sleep(2 * time.Minute)
			if n := f.sessions(); n != 0 {
				t.Errorf("%d sessions left open", n)
			}
		})
	}
}
