// SPDX-License-Identifier: MPL-2.0

package simulator

import "time"

// session is an open session: a SOAP session, which is bound to the client's IP and expires
// when it is idle, or a REST token, which expires at its time.
type session struct {
	id      string // SessionID or token
	user    *account
	ip      string
	event   int32
	opened  time.Time
	used    time.Time
	expires time.Time // tokens only
}

func (n *session) isToken() bool { return !n.expires.IsZero() }

// end is when the session expires if it is not used before.
func (n *session) end(idle time.Duration) time.Time {
	if n.isToken() {
		return n.expires
	}
	return n.used.Add(idle)
}

// authenticate returns the user, or nil if the login is refused. Like ECGrid, it does not
// say why.
func (s *Simulator) authenticate(login, password string) *account {
	a := s.userByLogin(login)
	if a == nil {
		s.journal.refusedLogins++
		return nil
	}
	s.expire()
	full := a.openSessions >= s.opts.SessionCap
	if !a.isActive() || a.LockedOut || full || a.Password != password {
		s.countRefusal(a)
		return nil
	}
	a.refusedLogins = 0
	a.lastLogin = s.opts.Clock()
	return a
}

func (s *Simulator) countRefusal(a *account) {
	s.journal.refusedLogins++
	a.refusedLogins++
	if s.opts.LockoutAfter > 0 && a.refusedLogins >= s.opts.LockoutAfter {
		a.LockedOut = true
	}
}

func (s *Simulator) openSession(a *account, ip string) *session {
	now := s.opts.Clock()
	n := &session{id: newGUID(), user: a, ip: ip, opened: now, used: now}
	s.addSession(n)
	return n
}

func (s *Simulator) addSession(n *session) {
	s.events++
	n.event = s.events
	s.sessions[n.id] = n
	n.user.openSessions++
	s.journal.addSecrets(n.id)
	s.journal.sessionOpened(len(s.sessions))
}

// sessionFor returns the session of a SessionID, or one for an API key in its place. It
// returns nil if there is none. It counts as a use of the session.
func (s *Simulator) sessionFor(id, ip string) *session {
	s.expire()
	if a := s.userByKey(id); a != nil && a.isActive() {
		now := s.opts.Clock()
		return &session{id: id, user: a, ip: ip, opened: now, used: now}
	}
	n := s.sessions[id]
	if n == nil || n.isToken() || n.ip != ip || !n.user.isActive() {
		return nil
	}
	n.used = s.opts.Clock()
	return n
}

// expire ends sessions that were idle too long, and tokens at their time. Every call runs it, so it returns early
// if no session can have expired.
func (s *Simulator) expire() {
	now := s.opts.Clock()
	if now.Before(s.nextExpiry) {
		return
	}
	s.nextExpiry = now.Add(min(s.opts.IdleTimeout, s.opts.TokenLife)) // of sessions opened from now on
	for _, n := range s.sessions {
		if !s.isValidUntil(n.end(s.opts.IdleTimeout), now) {
			s.closeSession(n)
		}
	}
}

// isValidUntil reports whether a session with this end is still valid. It makes expire
// look again at that time.
func (s *Simulator) isValidUntil(end, now time.Time) bool {
	if !now.Before(end) {
		return false
	}
	if end.Before(s.nextExpiry) {
		s.nextExpiry = end
	}
	return true
}

// closeSession does nothing for an API key in a session's place.
func (s *Simulator) closeSession(n *session) {
	if s.sessions[n.id] != n {
		return
	}
	delete(s.sessions, n.id)
	n.user.openSessions--
}

// closeSessions ends the sessions of a user, or of all users if userID is 0. It returns
// how many there were.
func (s *Simulator) closeSessions(userID int32) int {
	before := len(s.sessions)
	for _, n := range s.sessions {
		if userID == 0 || n.user.UserID == userID {
			s.closeSession(n)
		}
	}
	return before - len(s.sessions)
}

// resetUser ends all sessions of a user and resets the count of refused logins (WSDL,
// UserReset). It does not unlock.
func (s *Simulator) resetUser(a *account) {
	s.closeSessions(a.UserID)
	a.refusedLogins = 0
}
