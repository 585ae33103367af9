// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"sync"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// maxLeftoverLogouts limits the leftovers that are tried before one Login.
	maxLeftoverLogouts = 16
	// The first eagerTries Logouts of a leftover are tried before each Login. Later ones wait
	// for leftoverBackoff, which doubles up to 32 minutes.
	eagerTries      = 3
	leftoverBackoff = time.Minute
	// leftoverExpiry is when a leftover is given up: ECGrid has closed it by then.
	leftoverExpiry = 24 * time.Hour
)

// leftover is a session that still has to be logged out: a killed process left it
// open, or its Logout got no answer. Its At is the time at which it was left.
type leftover struct {
	Note
	tries   int
	nextTry time.Time
}

// addLeftover records a session for a later Logout by this process or the next.
func (l *Ledger) addLeftover(id string, n Note) {
	if err := l.putNote(id, n); err != nil {
		l.log.Warn("could not note a session that still has to be logged out; it stays open if this process is killed", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leftovers[id] = &leftover{Note: n}
}

// Leftovers returns how many sessions still have to be logged out. Before the first Login of
// this process it is 0.
func (l *Ledger) Leftovers() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.leftovers)
}

// logoutLeftovers logs out leftovers before a Login. It waits only for those at the
// server of the Login.
func (l *Ledger) logoutLeftovers(ctx context.Context, endpoint ecgrid.Endpoint) {
	var same sync.WaitGroup
	for id, n := range l.dueLeftovers() {
		if n.Endpoint.SameServer(endpoint) {
			same.Go(func() { l.logoutLeftover(ctx, id, n) })
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
			defer cancel()
			l.logoutLeftover(ctx, id, n)
		}()
	}
	same.Wait()
}

// dueLeftovers returns the leftovers to try now. They are few and back off, so that a
// server that does not answer delays no Login for long.
func (l *Ledger) dueLeftovers() map[string]Note {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, due := l.clock.Now(), map[string]Note{}
	for id, o := range l.leftovers {
		expired := now.Sub(o.At) >= leftoverExpiry
		if !expired && (now.Before(o.nextTry) || len(due) >= maxLeftoverLogouts) {
			continue
		}
		due[id] = o.Note
		if o.tries++; o.tries >= eagerTries {
			o.nextTry = now.Add(leftoverBackoff << min(o.tries-eagerTries, 5))
		}
	}
	return due
}

// logoutLeftover tries one Logout. The leftover is done if ECGrid answered or it expired.
func (l *Ledger) logoutLeftover(ctx context.Context, id string, n Note) {
	if !l.tryLogout(ctx, n) && l.clock.Now().Sub(n.At) < leftoverExpiry {
		return
	}
	l.mu.Lock()
	delete(l.leftovers, id)
	l.mu.Unlock()
	l.deleteNote(id)
}

func (l *Ledger) tryLogout(ctx context.Context, n Note) (answered bool) {
	client, err := l.connect(n.Endpoint)
	if err != nil {
		return true // the stored endpoint is not valid any more, so no try can work
	}
	defer client.Close()
	return l.logoutAnswered(callLogout(ctx, client, n.SessionID, l.log))
}

// logoutAnswered tells whether ECGrid answered a Logout. A fault that refuses the
// SessionID means that the session is closed.
func (l *Ledger) logoutAnswered(err error) bool { return err == nil || l.classify(err).Refusal }
