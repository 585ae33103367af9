// SPDX-License-Identifier: MPL-2.0

package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A Login needs only its note in storage.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		method string
		want   error
		logins int
	}{
		"no attempts": {"Attempts", errStore, 0},
		"no notes":    {"Notes", errStore, 0},
		"not noted":   {"PutNote", errStore, 0},
		"note kept":   {"DeleteNote", nil, 1},
		"not stored":  {"PutAttempts", nil, 1},
	}
	for name, test := range tests {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			p.storeFails = func(method string) bool { return method == test.method }
			s := p.session()
			if err := read(s); !errors.Is(err, test.want) || f.count("Login") != test.logins {
				t.Errorf("%d logins, %v", f.count("Login"), err)
			}
			p.storeFails = nil
			noErr(t, read(s))
			closeSession(s)
			if f.sessions() != 0 {
				t.Error("left open")
			}
		})
	}
}

// Attempts that could not be stored are not lost with the process.
func TestRefusalsOutliveStorageThatFails(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		p.storeFails = func(method string) bool { return method == "PutAttempts" }
		for range 10 {
			_ = read(p.session(with(wrong)))
			time.Sleep(time.Minute)
		}
		p = p.restart()
		p.storeFails = nil
		for range 10 {
			_ = read(p.session(with(wrong)))
			time.Sleep(time.Second)
		}
		if n := f.refused(); n > 3 {
			t.Errorf("%d refused", n)
		}
	})
}

// Storage that fails while notes are loaded does not multiply the attempts.
func TestInterruptedLoadCountsOnce(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.down = ecgrid.ErrTimeout
		cut := p.session()
		go func() { _ = read(cut) }()
		time.Sleep(time.Second)
		p = p.restart()
		f.set(func() { f.down = nil })
		p.storeFails = func(method string) bool { return method == "DeleteNote" }
		s := p.session(idle(time.Second))
		for range 5 {
			_ = read(s)
			time.Sleep(10 * time.Second)
		}
		p = p.restart()
		p.storeFails = nil
		s = p.session()
		noErr(t, read(s))
		closeSession(s)
		if n := f.sessions(); n != 0 {
			t.Errorf("%d left open", n)
		}
	})
}

// A Login that was cut off counts from its timeout, because ECGrid may refuse it later.
func TestCutOffLoginCountsFromItsEnd(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		f.slow(20*time.Second, "Login")
		cut := p.session(with(wrong))
		go func() { _ = read(cut) }()
		time.Sleep(time.Second)
		p = p.restart()
		f.set(func() {
			f.decideDelay = delay(0)
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

// Attempts stored by a node whose clock runs ahead cause no longer pause.
func TestAttemptsOfAWrongClock(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, _ *fakeECGrid) {
		a := Attempt{Login: "server login", Credential: candidates(right)[0].Mark, At: time.Now().Add(48 * time.Hour), Outcome: Refused}
		noErr(t, p.PutAttempts(t.Context(), slices.Repeat([]Attempt{a}, 3)))
		s := p.session()
		wantErr(t, read(s), ErrPaused)
		time.Sleep(window + LoginTimeout + time.Second)
		noErr(t, read(s))
		closeSession(s)
	})
}
