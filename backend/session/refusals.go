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
	Last   time.Time // zero if there are none
	Recent int       // in the last 15 minutes
}

// Refusals returns the refusals of these candidates. It does not call ECGrid and stores
// nothing.
func (l *Ledger) Refusals(ctx context.Context, login string, candidates []Candidate) (Refusals, error) {
	attempts, loaded := l.loadedAttempts(login)
	if !loaded {
		var err error
		if attempts, err = l.store.Attempts(ctx); err != nil {
			return Refusals{}, err
		}
	}
	var found Refusals
	for _, a := range attempts {
		stored := slices.ContainsFunc(candidates, func(c Candidate) bool { return c.Mark == a.Credential })
		if a.Login != login || !stored || a.Outcome != Refused || a.ClearedBy != "" {
			continue
		}
		if a.At.After(found.Last) {
			found.Last = a.At
		}
		if l.clock.Now().Sub(a.At) <= window {
			found.Recent++
		}
	}
	return found, nil
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
	return l.attemptsOf(login), loaded
}
