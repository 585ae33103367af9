package simulator

import "maps"

// What follows happens behind a client's back: as if an administrator, or time,
// had done it at ECGrid.

// User is a user as it is now, with its credentials.
func (s *Simulator) User(userID int32) (User, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a == nil {
		return User{}, false
	}
	return a.User, true
}

// Users are all users as they are now, by UserID.
func (s *Simulator) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []User
	for _, a := range s.sortedUsers() {
		all = append(all, a.User)
	}
	return all
}

// Update changes a user in any way but its UserID, and tells whether there is one.
func (s *Simulator) Update(userID int32, change func(*User)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a == nil {
		return false
	}
	s.change(a, func() {
		change(&a.User)
		a.UserID = userID
	})
	return true
}

// Delete forgets a user and its sessions.
func (s *Simulator) Delete(userID int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a == nil {
		return
	}
	s.closeAll(userID)
	maps.DeleteFunc(s.tokens, func(_ string, n *session) bool { return n.user == a })
	s.unindex(a)
	delete(s.users, userID)
}

// SetPassword changes a user's password, without asking the rule.
func (s *Simulator) SetPassword(userID int32, password string) bool {
	return s.Update(userID, func(u *User) { u.Password = password })
}

// ReplaceKey gives a user a new API key; the old one is dead. "" is no such user.
func (s *Simulator) ReplaceKey(userID int32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a == nil {
		return ""
	}
	return s.replaceKey(a)
}

// KillSessions ends all SOAP sessions of a user, or of everybody where userID is
// 0, and tells how many there were.
func (s *Simulator) KillSessions(userID int32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeAll(userID)
}

// FillSessions opens sessions of a user from elsewhere until its table is full,
// so that its next Login is refused. It tells how many it opened.
func (s *Simulator) FillSessions(userID int32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a == nil {
		return 0
	}
	s.expire()
	opened := 0
	for ; a.open < s.opts.SessionCap; opened++ {
		s.open(a, "192.0.2.1")
	}
	return opened
}
