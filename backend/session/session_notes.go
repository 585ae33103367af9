// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// storeTimeout bounds a write to the Store that no request waits for.
const storeTimeout = 10 * time.Second

// Note describes one session for the next process, in case this one is killed. It is
// stored before the Login is sent, gets the SessionID before the session is used, and
// is deleted after the Logout.
type Note struct {
	Attempt
	Endpoint  ecgrid.Endpoint `json:"endpoint"`
	SessionID string          `json:"session_id,omitempty"` // "" while the Login is in flight
}

// splitNotes separates Logins that were cut off from sessions that were left open.
func (l *Ledger) splitNotes(notes map[string]Note) (cutOff map[string]Note, leftovers map[string]*leftover) {
	cutOff, leftovers = map[string]Note{}, map[string]*leftover{}
	for id, n := range notes {
		if n.SessionID != "" {
			n.At = l.clock.Now()
			leftovers[id] = &leftover{Note: n}
			continue
		}
		n.Outcome, n.At = Lost, n.At.Add(LoginTimeout) // ECGrid may still refuse it until then
		cutOff[id] = n
	}
	return cutOff, leftovers
}

// putNote stores the note of an open session.
func (l *Ledger) putNote(id string, n Note) error {
	// Not the context of the Login: it may have no time left.
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := l.store.PutNote(ctx, id, n); err != nil {
		return fmt.Errorf("storing the note of a session: %w", err)
	}
	return nil
}

// deleteNote deletes a note that the next process does not need.
func (l *Ledger) deleteNote(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := l.store.DeleteNote(ctx, id); err != nil {
		l.log.Warn("could not delete the note of an ended session", "error", err)
	}
}
