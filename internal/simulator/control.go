// SPDX-License-Identifier: MPL-2.0

package simulator

// The methods in this file act at ECGrid as an administrator or the passing of time
// would. Clients are not told.

// withUser runs do with the simulator locked. It returns false if there is no such user.
func (s *Simulator) withUser(userID int32, do func(*account)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.users[userID]
	if a != nil {
		do(a)
	}
	return a != nil
}

// User returns a user with its current credentials.
func (s *Simulator) User(userID int32) (u User, found bool) {
	found = s.withUser(userID, func(a *account) { u = a.User })
	return u, found
}

// Users returns all users by UserID, with their current credentials.
func (s *Simulator) Users() []User {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []User
	for _, a := range s.sortedUsers() {
		all = append(all, a.User)
	}
	return all
}

// Update changes a user except for its UserID. It returns false if there is no such user.
func (s *Simulator) Update(userID int32, change func(*User)) bool {
	return s.withUser(userID, func(a *account) {
		s.changeAccount(a, func() {
			change(&a.User)
			a.UserID = userID
		})
	})
}

// Delete removes a user and its sessions.
func (s *Simulator) Delete(userID int32) {
	s.withUser(userID, func(a *account) {
		s.closeSessions(userID)
		s.unindex(a)
		delete(s.users, userID)
		s.sorted = nil
	})
}

// SetPassword changes a user's password without checking the password rule.
func (s *Simulator) SetPassword(userID int32, password string) bool {
	return s.Update(userID, func(u *User) { u.Password = password })
}

// ReplaceKey gives a user a new API key, and the old one is dead. It returns "" if there is
// no such user.
func (s *Simulator) ReplaceKey(userID int32) (key string) {
	s.withUser(userID, func(a *account) { key = s.replaceKey(a) })
	return key
}

// KillSessions ends the SOAP sessions and REST tokens of a user, or of all users if userID
// is 0. It returns how many there were.
func (s *Simulator) KillSessions(userID int32) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeSessions(userID)
}

// FillSessions opens SOAP sessions of a user from another address until its session table
// is full and the next Login is refused, over REST too. It returns how many it opened.
func (s *Simulator) FillSessions(userID int32) (opened int) {
	s.withUser(userID, func(a *account) {
		s.expire()
		for ; a.openSessions < s.opts.SessionCap; opened++ {
			s.openSession(a, "192.0.2.1")
		}
	})
	return opened
}
