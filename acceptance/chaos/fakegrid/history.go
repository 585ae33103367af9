// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"maps"
	"slices"
	"time"
)

// Span is a password or key and the time during which ECGrid accepted it. To is zero
// while it still does.
type Span struct {
	Value    string
	From, To time.Time
}

// Dead reports whether it was replaced at or before t.
func (s Span) Dead(t time.Time) bool { return !s.To.IsZero() && !s.To.After(t) }

func replaced(spans []Span, value string, now time.Time) []Span {
	if len(spans) > 0 {
		spans[len(spans)-1].To = now
	}
	return append(spans, Span{Value: value, From: now})
}

// Refusal is a refused Login.
type Refusal struct {
	At       time.Time
	Login    string
	Reason   Reason
	Orphaned int // orphaned sessions that were open then
}

// Reason is why a Login was refused. ECGrid does not tell the client.
type Reason string

// The reasons. If there are several, the first in refusalReason counts.
const (
	TableFull  Reason = "the session table is full"
	LockedOut  Reason = "locked out"
	Superseded Reason = "an old password"
	Unknown    Reason = "an unknown password or one that is not yet valid"
)

// KeyChange is a GenerateAPIKey that was applied. A late one was not answered.
type KeyChange struct {
	Requested, At time.Time
	Late          bool
}

// SessionTimes is when a session or token was opened and last used.
type SessionTimes struct{ At, Used time.Time }

// PendingChanges is how many changes will still be applied.
func (g *Grid) PendingChanges() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pending
}

// Keys is the history of a user's keys. It is empty for a user without a key.
func (g *Grid) Keys(id int) []Span {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.byID(id).keys)
}

// Passwords is the history of a login's passwords.
func (g *Grid) Passwords(login string) []Span {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.byLogin(login).passwords)
}

// KeyChanges are those of a user, in order.
func (g *Grid) KeyChanges(id int) []KeyChange {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.keyChanges[id])
}

// Refusals are all refused Logins, in order.
func (g *Grid) Refusals() []Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.refusals)
}

// RefusedSince counts the refused Logins of a login.
func (g *Grid) RefusedSince(login string, since time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusedSince(login, since)
}

// Logins is how many Logins arrived.
func (g *Grid) Logins() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logins
}

// MaxOpenSessions is the most sessions that a login had open at once.
func (g *Grid) MaxOpenSessions(login string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.maxOpen[login]
}

// OpenSessions are a login's sessions without the orphaned ones.
func (g *Grid) OpenSessions(login string) (all []SessionTimes) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire()
	for _, s := range g.sessions {
		if s.user.Login == login && !s.orphaned {
			all = append(all, SessionTimes{s.opened, s.used})
		}
	}
	return all
}

// OrphanSessions marks the sessions opened since then as orphaned, and those of Logins in
// flight: their client may not have seen the answer, or may have been unable to log out. The
// next use of a session takes the mark away.
func (g *Grid) OrphanSessions(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.orphanedAt = time.Now()
	for _, s := range g.sessions {
		if s.opened.After(since) {
			s.orphaned = true
		}
	}
}

// orphanInFlight marks the session that a request opened if it came before OrphanSessions.
func (g *Grid) orphanInFlight(q *request) {
	g.mu.Lock()
	inFlight := q.arrived.Before(g.orphanedAt)
	g.mu.Unlock()
	if inFlight {
		g.orphan(q.opened)
	}
}

func (g *Grid) orphan(sessionID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sessions[sessionID]; s != nil {
		s.orphaned = true
	}
}

// Secrets are all passwords, keys and SessionIDs that ever existed or were sent.
func (g *Grid) Secrets() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Collect(maps.Keys(g.secrets))
}

func (g *Grid) addSecrets(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range secrets {
		g.secrets[s] = struct{}{}
	}
}

// Violations counts by rule what requests did against the WSDL or the REST documentation.
func (g *Grid) Violations() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.violations)
}

func (g *Grid) addViolation(rule string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.violations[rule]++
}
