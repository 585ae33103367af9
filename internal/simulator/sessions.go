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
	full := capped && s.openOf(a.UserID) >= s.opts.SessionCap
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
	s.seen.secret(n.id)
	s.seen.sessionOpened(len(s.sessions))
	return n
}

// resolve is who a SessionID, or an API key in its place, stands for; nil is
// nobody. It counts as use of the session.
func (s *Simulator) resolve(id, ip string) *session {
	if a := s.userByKey(id); a != nil && a.alive() {
		now := s.opts.Clock()
		return &session{id: id, user: a, ip: ip, opened: now, used: now}
	}
	s.expire()
	n := s.sessions[id]
	if n == nil || n.ip != ip || !n.user.alive() {
		return nil
	}
	n.used = s.opts.Clock()
	return n
}

// expire forgets sessions nobody used for too long.
func (s *Simulator) expire() {
	now := s.opts.Clock()
	for id, n := range s.sessions {
		if now.Sub(n.used) >= s.opts.IdleTimeout {
			delete(s.sessions, id)
		}
	}
	for id, n := range s.tokens {
		if !now.Before(n.expires) {
			delete(s.tokens, id)
		}
	}
}

func (s *Simulator) openOf(userID int32) int {
	s.expire()
	count := 0
	for _, n := range s.sessions {
		if n.user.UserID == userID {
			count++
		}
	}
	return count
}

func (s *Simulator) closeAll(userID int32) int {
	count := 0
	for id, n := range s.sessions {
		if n.user.UserID == userID {
			delete(s.sessions, id)
			count++
		}
	}
	return count
}
