// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"time"
)

const (
	// A session is renewed renewalMargin before its lifetime ends. One of less than four
	// minutes is renewed after three quarters.
	renewalMargin = time.Minute
	// minLifetime is the shortest lifetime that is believed. A session with a shorter one
	// is used until ECGrid refuses it, so that a wrong clock causes no series of Logins.
	minLifetime = 10 * time.Second
)

// renewAfter is the age at which a session is renewed. It is 0 if it need not be.
func (o *openSession) renewAfter() time.Duration {
	if o.lifetime < minLifetime {
		return 0
	}
	return max(o.lifetime-renewalMargin, o.lifetime/4*3)
}

// isDue reports whether the session should be renewed by now.
func (o *openSession) isDue(now time.Time) bool {
	after := o.renewAfter()
	return after > 0 && now.Sub(o.loginSent) >= after
}

// renewIfDue starts the renewal of a session that nears its end, and takes one that is past it
// out of use. The caller holds mu.
func (s *Session) renewIfDue() {
	o, now := s.current, s.Clock.Now()
	if o == nil || !o.isDue(now) {
		return
	}
	if now.Sub(o.loginSent) >= o.lifetime {
		s.retire(s.takeCurrent())
		return
	}
	// A renewal that fails is not repeated: the session still works, and refused Logins
	// count.
	if !o.renewal && s.held == 0 && !s.Ledger.isRenewalRefused(s.Login) {
		o.renewal = true
		s.startLogin(o)
	}
}

// renewalRefused records that ECGrid refused a renewal. It may allow one session only.
func (l *Ledger) renewalRefused(login string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusedRenewals[login] = l.clock.Now()
}

// isRenewalRefused reports whether the sessions of a login are used to their end, since a
// renewal was refused within a day.
func (l *Ledger) isRenewalRefused(login string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, refused := l.refusedRenewals[login]
	return refused && l.clock.Now().Sub(at) < forgetAfter
}

// HoldRenewals keeps the session that is in use until release is called or its lifetime
// ends. A renewal that is due or in flight is waited for, and it is an error if that takes too
// long. A change of the password needs that: it could make ECGrid refuse the Login of a
// renewal.
func (s *Session) HoldRenewals(ctx context.Context) (release func(), err error) {
	s.mu.Lock()
	s.renewIfDue()
	s.held++
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.maxLoginWait())
	defer cancel()
	if !s.awaitLogin(ctx) {
		err = errSlowLogin
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.held--
	}, err
}

// retire takes a renewed session out of use. It is logged out after the calls that use it:
// some of them must not be repeated. The caller holds mu.
func (s *Session) retire(o *openSession) {
	if o.inUse == 0 {
		s.logoutAsync(o)
		return
	}
	s.logoutRetiring() // one that is used for longer than a lifetime
	s.retiring = o
}

// logoutRetiring logs out the retiring session, if there is one. The caller holds mu.
func (s *Session) logoutRetiring() {
	if s.retiring != nil {
		s.logoutAsync(s.retiring)
		s.retiring = nil
	}
}

// beginCall counts a call with a session. It returns false if that is not in use any more.
func (s *Session) beginCall(o *openSession) bool {
	if o == s.apiKey {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != o {
		return false
	}
	o.inUse++
	return true
}

func (s *Session) endCall(o *openSession) {
	if o == s.apiKey {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.inUse--; o.inUse == 0 && s.retiring == o {
		s.logoutRetiring()
	}
}
