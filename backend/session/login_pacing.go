// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"slices"
	"time"
)

const (
	// window is the time in which a login is refused maxInWindow times at most.
	window      = 15 * time.Minute
	maxInWindow = 3
	// maxKept attempts per login are kept after the window, for forgetAfter at most.
	maxKept     = 8
	forgetAfter = 24 * time.Hour
)

// pauses follow the first, second, … attempt with that outcome.
var pauses = map[Outcome][]time.Duration{
	Refused: {time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute},
	Faulted: {0, 0, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute},
}

// check returns ErrPaused if a Login may not be sent now. Lost reports whether the
// previous Login got no answer.
func (l *Ledger) check(e *entry) (lost bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	attempts := l.attemptsOf(e.Login)
	lost = len(attempts) > 0 && attempts[len(attempts)-1].Outcome == Lost
	return lost, l.checkPause(e)
}

// checkPause returns ErrPaused if a Login may not be sent now. The caller holds mu.
func (l *Ledger) checkPause(e *entry) error {
	attempts, now := l.attemptsOf(e.Login), l.clock.Now()
	at := earliestLogin(attempts, e)
	if !at.After(now) {
		return nil
	}
	return newPaused(ErrPaused, "", at, countedAgainst(attempts, e.Attempt), now)
}

// earliestLogin returns when a Login may be sent, given the attempts of its login.
//
// Refused and lost Logins both count, because each may lock the account: by ECGrid's
// rule for passwords, or by its limit on open sessions.
func earliestLogin(attempts []Attempt, e *entry) time.Time {
	counted := countedAgainst(attempts, e.Attempt)
	at := windowEnd(counted)
	if paused := pauseEnd(counted, e.Credential); !e.skipPause && paused.After(at) {
		return paused
	}
	return at
}

// countedAgainst returns the attempts that count against the credential of a Login. An
// attempt does not count
//
//   - against a config write with another credential, and vice versa;
//   - if this credential cleared it and has not failed since. A failure may be a
//     refusal.
func countedAgainst(attempts []Attempt, login Attempt) []Attempt {
	failed := slices.ContainsFunc(attempts, func(a Attempt) bool {
		return a.Credential == login.Credential && a.ClearedBy != login.Credential
	})
	return without(attempts, func(a Attempt) bool {
		unrelated := a.Credential != login.Credential && (a.FromWrite || login.FromWrite)
		return unrelated || !failed && a.ClearedBy == login.Credential
	})
}

// windowEnd returns when fewer than maxInWindow attempts are in the window. Server
// faults count only if the login was also refused: they may be refusals then.
func windowEnd(attempts []Attempt) time.Time {
	if countOutcomes(attempts)[Refused] == 0 {
		attempts = without(attempts, func(a Attempt) bool { return a.Outcome == Faulted })
	}
	if len(attempts) < maxInWindow {
		return time.Time{}
	}
	// The window includes its end, so one tick more.
	return nthLast(attempts, maxInWindow).Add(window + time.Millisecond)
}

// decidedBy returns when ECGrid has decided about an attempt. It may refuse a lost Login
// after the plugin gave up.
func (a Attempt) decidedBy() time.Time {
	if a.Outcome == Lost {
		return a.At.Add(LoginTimeout)
	}
	return a.At
}

// nthLast returns when ECGrid has decided about the n-th last attempt.
func nthLast(attempts []Attempt, n int) time.Time {
	decided := make([]time.Time, len(attempts))
	for i, a := range attempts {
		decided[i] = a.decidedBy()
	}
	slices.SortFunc(decided, time.Time.Compare)
	return decided[len(decided)-n]
}

// pauseEnd returns when the pause after the last attempt ends. Attempts that another
// credential cleared do not lengthen it.
func pauseEnd(attempts []Attempt, credential string) time.Time {
	attempts = without(attempts, func(a Attempt) bool { return a.ClearedBy != "" && a.ClearedBy != credential })
	if len(attempts) == 0 {
		return time.Time{}
	}
	last := attempts[len(attempts)-1]
	steps := pauses[last.Outcome]
	if steps == nil {
		return time.Time{}
	}
	n := countOutcomes(attempts)[last.Outcome]
	return last.At.Add(steps[min(n, len(steps))-1])
}

func without(attempts []Attempt, drop func(Attempt) bool) []Attempt {
	return slices.DeleteFunc(slices.Clone(attempts), drop)
}

func countOutcomes(attempts []Attempt) map[Outcome]int {
	n := map[Outcome]int{}
	for _, a := range attempts {
		n[a.Outcome]++
	}
	return n
}

// loginOrder sorts the candidates by when they were refused, so that each gets its
// turn. Those that were not refused lately come first, the current password before others.
func (l *Ledger) loginOrder(login string, candidates []Candidate, current string) []Candidate {
	l.mu.Lock()
	defer l.mu.Unlock()
	refusedAt := map[string]time.Time{}
	for _, a := range l.attemptsOf(login) {
		if a.Outcome == Refused && a.ClearedBy != a.Credential && l.clock.Now().Sub(a.At) < 2*window {
			refusedAt[a.Credential] = a.At
		}
	}
	isCurrent := func(c Candidate) bool { return c.Password == current }
	order := slices.Clone(candidates)
	if i := slices.IndexFunc(order, isCurrent); i > 0 {
		order = slices.Insert(slices.Delete(order, i, i+1), 0, candidates[i])
	}
	slices.SortStableFunc(order, func(a, b Candidate) int { return refusedAt[a.Mark].Compare(refusedAt[b.Mark]) })
	return order
}

// PauseLeft returns how long none of the candidates may be tried, or 0. It does not call ECGrid
// and stores nothing.
func (l *Ledger) PauseLeft(ctx context.Context, login string, candidates []Candidate) (time.Duration, error) {
	attempts, err := l.currentAttempts(ctx, login)
	if err != nil {
		return 0, err
	}
	attempts = without(attempts, isPast)
	var earliest time.Time
	for i, c := range candidates {
		at := earliestLogin(attempts, &entry{Note: Note{Attempt: Attempt{Login: login, Credential: c.Mark}}})
		if i == 0 || at.Before(earliest) {
			earliest = at
		}
	}
	return max(0, earliest.Sub(l.clock.Now())), nil
}

// ReadyForChange returns ErrTooSoon if a password change should not begin now: if it is
// not confirmed, finding out which password is right may cost refused Logins.
func (s *Session) ReadyForChange() error {
	return s.Ledger.readyForChange(s.Login)
}

// readyForChange returns ErrTooSoon until two more refused Logins fit in the window.
func (l *Ledger) readyForChange(login string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	counted, now := without(l.attemptsOf(login), func(a Attempt) bool { return a.Outcome == Faulted || a.FromWrite }), l.clock.Now()
	if len(counted) < maxInWindow-1 {
		return nil
	}
	at := nthLast(counted, maxInWindow-1).Add(window)
	if !at.After(now) {
		return nil
	}
	return newPaused(ErrTooSoon, "; wait", at, counted, now)
}

// prune deletes attempts that are older than the window, except the last maxKept of
// each login: they determine how long its pauses are. The latest refusal of each stored
// credential stays as a Past attempt. The caller holds mu.
func (l *Ledger) prune(isStored func(Attempt) bool) {
	now := l.clock.Now()
	kept, told := map[string]int{}, map[[2]string]bool{}
	slices.Reverse(l.entries) // the latest first
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		credential := [2]string{e.Login, e.Credential}
		tells := e.Outcome == Refused && e.ClearedBy == "" && !told[credential] && isStored(e.Attempt)
		if tells {
			told[credential] = true
		}
		age := now.Sub(e.decidedBy())
		if e.underWay || age <= window {
			return false
		}
		if !e.Past && !e.FromWrite && e.ClearedBy == "" { // the others cause no pause
			kept[e.Login]++
			if kept[e.Login] <= maxKept && age <= forgetAfter {
				return false
			}
		}
		e.Past = tells
		return !tells
	})
	slices.Reverse(l.entries)
}
