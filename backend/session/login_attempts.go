// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Outcome is the result of a Login that led to no working session.
type Outcome string

// The outcomes of a failed Login.
const (
	// Lost: the answer is missing, so a session may be open, or the new session was
	// dead at its first use.
	Lost Outcome = ""
	// Refused: ECGrid did not accept the credential, or the user has too many open
	// sessions. ECGrid answers both alike.
	Refused Outcome = "refused"
	// Faulted: ECGrid answered with a server fault.
	Faulted Outcome = "faulted"
	// unsent Logins do not count.
	unsent Outcome = "unsent"
	// succeeded Logins are no attempts. They are only counted.
	succeeded Outcome = "succeeded"
)

// Attempt is a Login that is not known to have led to a working session.
type Attempt struct {
	Login      string    `json:"login"`      // Config.Login
	Credential string    `json:"credential"` // Candidate.Mark
	At         time.Time `json:"at"`         // the latest time at which it can have failed
	Outcome    Outcome   `json:"outcome,omitempty"`
	FromWrite  bool      `json:"brought,omitempty"` // it verified a config write; the JSON names are those of stored entries
	// Past attempts cause no pause any more. They only tell that ECGrid refused a credential
	// that is still stored.
	Past bool `json:"past,omitempty"`
	// ClearedBy is the Mark of a credential that worked later. The attempt does not
	// count against that credential until a Login with it fails.
	ClearedBy string `json:"over,omitempty"`
}

// Store keeps what must outlive the process.
type Store interface {
	Attempts(ctx context.Context) ([]Attempt, error)
	PutAttempts(ctx context.Context, attempts []Attempt) error
	Notes(ctx context.Context) (map[string]Note, error)
	PutNote(ctx context.Context, id string, n Note) error
	DeleteNote(ctx context.Context, id string) error
	// StoredCredentials returns the login of the stored config and the Marks of the credentials
	// that it may have.
	StoredCredentials(ctx context.Context) (login string, marks []string, err error)
}

// Ledger records the failed Logins of a mount, and the sessions that still have to be
// logged out. It outlives every Session, and the process by its Store. It is safe for
// concurrent use.
type Ledger struct {
	store    Store
	connect  ecgrid.Connector
	classify func(error) Verdict
	clock    Clock
	random   io.Reader
	log      hclog.Logger

	loading *semaphore.Weighted // guards loaded; a mutex that a context can interrupt
	loaded  bool

	writing *semaphore.Weighted // guards stored
	stored  int                 // number of stored attempts

	mu        sync.Mutex // guards the fields below
	entries   []*entry
	leftovers map[string]*leftover     // by note ID
	logouts   map[chan struct{}]string // started Logouts, with their login

	refusedRenewals map[string]time.Time // by login: when the last renewal was refused
}

// entry is an Attempt of this or an earlier process. Its Note is stored while the
// Login or its session may need a Logout.
type entry struct {
	Note
	noteID    string
	underWay  bool // it has not failed yet
	skipPause bool
}

// NewLedger returns a Ledger. It reads its Store before the first Login.
func NewLedger(store Store, connect ecgrid.Connector, classify func(error) Verdict, clock Clock, random io.Reader, log hclog.Logger) *Ledger {
	return &Ledger{
		store:    store,
		connect:  connect,
		classify: classify,
		clock:    clock,
		random:   random,
		log:      log,
		loading:  semaphore.NewWeighted(1),
		writing:  semaphore.NewWeighted(1),
		logouts:  map[chan struct{}]string{},

		refusedRenewals: map[string]time.Time{},
	}
}

// load reads what earlier processes stored, once. A Login that was cut off when the
// process was killed becomes an attempt, and an open session a leftover.
func (l *Ledger) load(ctx context.Context) error {
	if err := l.loading.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.loading.Release(1)
	if l.loaded {
		return nil
	}
	attempts, err := l.store.Attempts(ctx)
	if err != nil {
		return err
	}
	notes, err := l.store.Notes(ctx)
	if err != nil {
		return err
	}
	cutOff, leftovers := l.splitNotes(notes)
	for _, n := range cutOff {
		attempts = append(attempts, n.Attempt)
	}
	if len(cutOff) > 0 {
		if err := l.store.PutAttempts(ctx, attempts); err != nil {
			return err
		}
	}
	l.setLoaded(attempts, leftovers)
	for id := range cutOff {
		l.deleteNote(id)
	}
	return nil
}

func (l *Ledger) setLoaded(attempts []Attempt, leftovers map[string]*leftover) {
	l.mu.Lock()
	defer l.mu.Unlock()
	latest := l.clock.Now().Add(LoginTimeout)
	for _, a := range attempts {
		if a.At.After(latest) { // the clock of another node was wrong
			a.At = latest
		}
		l.entries = append(l.entries, &entry{Note: Note{Attempt: a}})
	}
	l.leftovers, l.stored, l.loaded = leftovers, len(attempts), true
}

// begin records a Login before it is sent. It returns ErrPaused if the Login may not be
// sent now.
func (l *Ledger) begin(ctx context.Context, e *entry) error {
	id := make([]byte, 16)
	if _, err := io.ReadFull(l.random, id); err != nil {
		return fmt.Errorf("creating the ID of a session note: %w", err)
	}
	e.noteID, e.underWay = hex.EncodeToString(id), true
	if err := l.add(e); err != nil {
		return err
	}
	if err := l.store.PutNote(ctx, e.noteID, e.Note); err != nil {
		l.discard(e)
		return fmt.Errorf("storing the note of a login before it is sent: %w", err)
	}
	return nil
}

// add checks the pause and adds the entry in one step, so that concurrent Logins count.
func (l *Ledger) add(e *entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = l.clock.Now()
	if err := l.checkPause(e); err != nil {
		return err
	}
	l.entries = append(l.entries, e)
	return nil
}

// attemptsOf returns the attempts of a login that may cause a pause, the latest last. The caller
// holds mu.
func (l *Ledger) attemptsOf(login string) []Attempt {
	return without(l.allAttemptsOf(login), isPast)
}

func isPast(a Attempt) bool { return a.Past }

// allAttemptsOf returns the attempts of a login, the latest last. The caller holds mu.
func (l *Ledger) allAttemptsOf(login string) []Attempt {
	var attempts []Attempt
	for _, e := range l.entries {
		if e.Login == login {
			attempts = append(attempts, e.Attempt)
		}
	}
	slices.SortStableFunc(attempts, byTime)
	return attempts
}

func byTime(a, b Attempt) int { return a.At.Compare(b.At) }

// loginSucceeded clears earlier refusals, and stores the SessionID if keep is set. The
// session must not be used if that fails. It may still turn out to be dead.
func (l *Ledger) loginSucceeded(e *entry, sessionID string, keep bool) error {
	var n Note
	l.update(func() (changed bool) {
		e.SessionID = sessionID
		n = e.Note
		return l.clear(e.Credential, func(other *entry) bool { return other.Outcome == Refused && e.outweighs(other) })
	})
	if !keep {
		return nil
	}
	return l.putNote(e.noteID, n)
}

// callSucceeded clears all earlier attempts: the session of e works. Lost Logins with
// the same credential were not refused, so they are deleted.
func (l *Ledger) callSucceeded(e *entry) {
	l.update(func() (changed bool) {
		before := len(l.entries)
		l.entries = slices.DeleteFunc(l.entries, func(other *entry) bool {
			return other == e || e.outweighs(other) && other.Outcome != Refused && other.Credential == e.Credential
		})
		return l.clear(e.Credential, e.outweighs) || len(l.entries) < before-1
	})
}

// CredentialReplaced tells that the credential of the login was replaced by another
// that is known to work. Attempts that the old one cleared do not count against it.
func (l *Ledger) CredentialReplaced(login, credential string) {
	l.update(func() (changed bool) {
		return l.clear(credential, func(e *entry) bool { return e.Login == login && e.ClearedBy != "" })
	})
}

// loginFailed records the outcome of a failed Login.
func (l *Ledger) loginFailed(e *entry, outcome Outcome) {
	if outcome == unsent {
		l.discard(e)
		return
	}
	stored := l.update(func() (changed bool) {
		e.Outcome, e.At, e.underWay = outcome, l.clock.Now(), false
		return true
	})
	if stored { // otherwise the note tells the next process
		l.deleteNote(e.noteID)
	}
}

// discard removes a Login that was not sent.
func (l *Ledger) discard(e *entry) {
	l.mu.Lock()
	l.remove(e)
	l.mu.Unlock()
	l.deleteNote(e.noteID)
}

// sessionEnded records the end of a session. It becomes a leftover if ECGrid did not
// answer the Logout, and a lost Login if it was dead at its first use.
func (l *Ledger) sessionEnded(e *entry, answered, wasAlive bool) {
	var n Note
	stored := l.update(func() (changed bool) {
		l.remove(e)
		n = e.Note
		n.At = l.clock.Now()
		if !wasAlive {
			e.Outcome, e.At, e.underWay = Lost, n.At, false
			l.entries = append(l.entries, e)
		}
		return !wasAlive
	})
	switch {
	case !answered:
		l.addLeftover(e.noteID, n)
	case stored:
		l.deleteNote(e.noteID)
	}
}

// outweighs tells whether a success of e clears another attempt. It does not clear
// what failed after e was sent, nor an attempt of a config write with another credential that may
// still cause a pause.
func (e *entry) outweighs(other *entry) bool {
	return other.Login == e.Login && !other.underWay && !other.At.After(e.At) &&
		(!other.FromWrite || other.Past || other.Credential == e.Credential)
}

// clear sets ClearedBy of the matching attempts. The caller holds mu.
func (l *Ledger) clear(by string, matches func(*entry) bool) (changed bool) {
	for _, e := range l.entries {
		if e.ClearedBy != by && matches(e) {
			e.ClearedBy, changed = by, true
		}
	}
	return changed
}

// remove removes an entry. The caller holds mu.
func (l *Ledger) remove(e *entry) {
	l.entries = slices.DeleteFunc(l.entries, func(other *entry) bool { return other == e })
}

// update runs change with mu held, and stores the attempts if they changed. If that
// fails, they stay in memory, and the notes of failed Logins stay stored.
func (l *Ledger) update(change func() (changed bool)) (stored bool) {
	l.mu.Lock()
	changed := change()
	l.mu.Unlock()
	if !changed {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	err := l.storeAttempts(ctx)
	if err != nil {
		l.log.Warn("could not store failed logins", "error", err)
	}
	return err == nil
}

func (l *Ledger) storeAttempts(ctx context.Context) error {
	if err := l.writing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.writing.Release(1)
	attempts := l.failedAttempts(l.storedCredentials(ctx))
	if l.stored == 0 && len(attempts) == 0 {
		return nil
	}
	if err := l.store.PutAttempts(ctx, attempts); err != nil {
		return err
	}
	l.stored = len(attempts)
	return nil
}

// storedCredentials reports of an attempt whether its credential is stored, or may be if that
// cannot be read.
func (l *Ledger) storedCredentials(ctx context.Context) (isStored func(Attempt) bool) {
	login, marks, err := l.store.StoredCredentials(ctx)
	return func(a Attempt) bool {
		return err != nil || a.Login == login && slices.Contains(marks, a.Credential)
	}
}

// failedAttempts returns the attempts that must be stored.
func (l *Ledger) failedAttempts(isStored func(Attempt) bool) (attempts []Attempt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.prune(isStored)
	for _, e := range l.entries {
		if !e.underWay {
			attempts = append(attempts, e.Attempt)
		}
	}
	return attempts
}
