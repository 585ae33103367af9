// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"slices"
	"time"
)

// Refusals are the refused Logins of a login with its stored credentials, since one of
// them last worked.
type Refusals struct {
	Last time.Time // zero if there are none
	// Failed are the Logins that count against the stored credentials, as in Paused.
	Failed FailedLogins
}

// Refusals returns the refusals of these candidates. It does not call ECGrid and stores
// nothing.
func (l *Ledger) Refusals(ctx context.Context, login string, candidates []Candidate) (Refusals, error) {
	attempts, err := l.currentAttempts(ctx, login)
	if err != nil {
		return Refusals{}, err
	}
	var found Refusals
	for _, a := range attempts {
		stored := slices.ContainsFunc(candidates, func(c Candidate) bool { return c.Mark == a.Credential })
		if stored && a.Outcome == Refused && a.ClearedBy == "" && a.At.After(found.Last) {
			found.Last = a.At
		}
	}
	found.Failed = countFailed(countedAgainstAny(without(attempts, isPast), candidates), l.clock.Now())
	return found, nil
}

// countedAgainstAny returns the attempts that count against one of the candidates.
func countedAgainstAny(attempts []Attempt, candidates []Candidate) []Attempt {
	counted := map[Attempt]bool{}
	for _, c := range candidates {
		for _, a := range countedAgainst(attempts, Attempt{Credential: c.Mark}) {
			counted[a] = true
		}
	}
	return without(attempts, func(a Attempt) bool { return !counted[a] })
}

// currentAttempts returns the attempts of a login. Before the first Login of this process
// they are read from storage, with the Logins that were cut off.
func (l *Ledger) currentAttempts(ctx context.Context, login string) ([]Attempt, error) {
	if attempts, loaded := l.loadedAttempts(login); loaded {
		return attempts, nil
	}
	attempts, err := l.store.Attempts(ctx)
	if err != nil {
		return nil, err
	}
	notes, err := l.store.Notes(ctx)
	if err != nil {
		return nil, err
	}
	cutOff, _ := l.splitNotes(notes)
	for _, n := range cutOff {
		attempts = append(attempts, n.Attempt)
	}
	attempts = without(attempts, func(a Attempt) bool { return a.Login != login })
	slices.SortStableFunc(attempts, byTime)
	return attempts, nil
}

// loadedAttempts returns the attempts of a login that the Ledger has in memory. Before
// its first Login it has none.
func (l *Ledger) loadedAttempts(login string) (attempts []Attempt, loaded bool) {
	if !l.loading.TryAcquire(1) { // it is being loaded
		return nil, false
	}
	loaded = l.loaded
	l.loading.Release(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.allAttemptsOf(login), loaded
}
