package simulator

import "time"

// session is one open session. SOAP sessions are bound to the client's IP, REST
// tokens are not.
type session struct {
	id      string
	user    *account
	ip      string
	event   int32
	opened  time.Time
	used    time.Time
	expires time.Time // REST tokens only
}

// authenticate is one login: the user, or nil where it is refused. A refusal
// never says why, as ECGrid's does not.
func (s *Simulator) authenticate(login, password string, capped bool) *account {
	a := s.userByLogin(login)
	if a == nil {
		s.seen.refusedLogins++
		return nil
	}
	s.expire()
	full := capped && a.open >= s.opts.SessionCap
	if !a.alive() || a.LockedOut || full || a.Password != password {
		s.refuse(a)
		return nil
	}
	a.refused = 0
	a.lastLogin = s.opts.Clock()
	return a
}

func (s *Simulator) refuse(a *account) {
	s.seen.refusedLogins++
	a.refused++
	if s.opts.LockoutAfter > 0 && a.refused >= s.opts.LockoutAfter {
		a.LockedOut = true
	}
}

func (s *Simulator) open(a *account, ip string) *session {
	now := s.opts.Clock()
	s.events++
	n := &session{id: newGUID(), user: a, ip: ip, event: s.events, opened: now, used: now}
	s.sessions[n.id] = n
	a.open++
	s.seen.secret(n.id)
	s.seen.sessionOpened(len(s.sessions))
	return n
}

// resolve is who a SessionID, or an API key in its place, stands for; nil is
// nobody. It counts as use of the session.
func (s *Simulator) resolve(id, ip string) *session {
	s.expire()
	if a := s.userByKey(id); a != nil && a.alive() {
		now := s.opts.Clock()
		return &session{id: id, user: a, ip: ip, opened: now, used: now}
	}
	n := s.sessions[id]
	if n == nil || n.ip != ip || !n.user.alive() {
		return nil
	}
	n.used = s.opts.Clock()
	return n
}

// expire forgets sessions nobody used for too long. It runs in every call, so it
// looks only when there may be one.
func (s *Simulator) expire() {
	now := s.opts.Clock()
	if now.Before(s.expireFrom) {
		return
	}
	s.expireFrom = now.Add(min(s.opts.IdleTimeout, tokenLife)) // the earliest end of what opens from now on
	for _, n := range s.sessions {
		if !s.outlives(n.used.Add(s.opts.IdleTimeout), now) {
			s.close(n)
		}
	}
	for id, n := range s.tokens {
		if !s.outlives(n.expires, now) {
			delete(s.tokens, id)
		}
	}
}

// outlives tells whether what ends then is there now, and has expire look again by then.
func (s *Simulator) outlives(end, now time.Time) bool {
	if !now.Before(end) {
		return false
	}
	if end.Before(s.expireFrom) {
		s.expireFrom = end
	}
	return true
}

// close ends a session; a key that stands for one has none to end.
func (s *Simulator) close(n *session) {
	if s.sessions[n.id] != n {
		return
	}
	delete(s.sessions, n.id)
	n.user.open--
}

// closeAll ends a user's sessions, everybody's where userID is 0, and tells how
// many there were.
func (s *Simulator) closeAll(userID int32) int {
	before := len(s.sessions)
	for _, n := range s.sessions {
		if userID == 0 || n.user.UserID == userID {
			s.close(n)
		}
	}
	return before - len(s.sessions)
}
