// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"maps"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// scheduleIdleLogout logs out after IdleTimeout if no request comes. A timer that runs
// already is not set anew for each request: logoutIdle waits for the rest. The caller
// holds mu.
func (s *Session) scheduleIdleLogout() {
	if s.current == nil || s.requests > 0 {
		return
	}
	if s.IdleTimeout == 0 {
		s.logoutCurrent()
		return
	}
	s.idleSince = s.Clock.Now()
	if s.stopTimer == nil {
		s.stopTimer = s.Clock.AfterFunc(s.IdleTimeout, s.logoutIdle)
	}
}

// logoutIdle logs out if the session was idle for IdleTimeout.
func (s *Session) logoutIdle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopTimer = nil
	if s.current == nil || s.requests > 0 { // the end of the requests sets the timer
		return
	}
	if rest := s.IdleTimeout - s.Clock.Now().Sub(s.idleSince); rest > 0 {
		s.stopTimer = s.Clock.AfterFunc(rest, s.logoutIdle)
		return
	}
	s.logoutCurrent()
}

// stopIdle stops the idle timer. The caller holds mu.
func (s *Session) stopIdle() {
	if s.stopTimer != nil {
		s.stopTimer()
		s.stopTimer = nil
	}
}

// drop takes a dead session out of use. It is logged out too, because it would stay
// open if it were alive after all.
func (s *Session) drop(o *openSession) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == o {
		o.dead = true
		s.logoutCurrent()
	}
}

// End lets requests finish, logs the session out, and waits for the Logout. The next
// request opens another session.
func (s *Session) End(ctx context.Context) {
	s.startLogout(ctx, false)
	s.Ledger.awaitLogouts(ctx, s.Login)
}

// EndIfUnused is like End, but leaves a session open that is in use.
func (s *Session) EndIfUnused(ctx context.Context) {
	s.startLogout(ctx, true)
	s.Ledger.awaitLogouts(ctx, s.Login)
}

// Close ends the Session for good: it prevents further Logins, lets requests finish,
// and logs out. It is idempotent and returns when ctx ends.
func (s *Session) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.stopIdle()
	inUse := s.current != nil
	s.mu.Unlock()
	done := s.Ledger.logoutStarted(s.Login) // the next Session waits from now on
	if inUse {                              // then the Login is a renewal, which may hang
		s.startLogout(ctx, false)
	}
	s.awaitLogin(ctx)
	s.startLogout(ctx, false)
	done()
	s.Ledger.awaitLogouts(ctx, s.Login)
}

// startLogout gives requests drainTimeout to finish, and then starts the Logout.
func (s *Session) startLogout(ctx context.Context, onlyIfUnused bool) {
	s.drain(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.requests > 0 && onlyIfUnused {
		return
	}
	if s.current != nil {
		s.logoutCurrent()
	}
	s.logoutRetiring()
}

// drain waits until no request uses the session, for drainTimeout at most.
func (s *Session) drain(ctx context.Context) {
	s.mu.Lock()
	if s.requests > 0 && s.drained == nil {
		s.drained = make(chan struct{})
	}
	drained := s.drained
	s.mu.Unlock()
	if drained != nil {
		ctx, cancel := context.WithTimeout(ctx, drainTimeout)
		defer cancel()
		wait(ctx, drained)
	}
}

// logoutCurrent takes the session out of use and logs it out. The caller holds mu.
func (s *Session) logoutCurrent() { s.logoutAsync(s.takeCurrent()) }

// takeCurrent takes the session out of use. The caller holds mu.
func (s *Session) takeCurrent() *openSession {
	open := s.current
	s.current = nil
	s.stopIdle()
	return open
}

// logoutAsync logs a session out in the background.
func (s *Session) logoutAsync(o *openSession) {
	done := s.Ledger.logoutStarted(s.Login)
	go func() {
		defer done()
		s.logout(o)
	}()
}

func (s *Session) logout(o *openSession) {
	ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
	defer cancel()
	err := callLogout(ctx, s.Client, o.credential.Value, s.Logger)
	answered := s.Ledger.logoutAnswered(err)
	if !answered {
		s.Logger.Warn("could not log out a session; the Logout is repeated before the next Login", "username", s.LoginName, "error", err)
	}
	s.mu.Lock()
	expired := o.isDue(s.Clock.Now()) // and unused
	wasAlive := o.worked || (err == nil || expired) && !o.dead
	s.mu.Unlock()
	s.Ledger.sessionEnded(o.entry, answered, wasAlive)
}

func callLogout(ctx context.Context, client ecgrid.Client, id string, log hclog.Logger) (err error) {
	defer panics.Recover(log, &err)
	return client.Logout(ctx, ecgrid.Credential{Value: id})
}

// logoutStarted makes the next Login wait until done is called. The Ledger keeps track
// of this because the next Login may be that of another Session.
func (l *Ledger) logoutStarted(login string) (done func()) {
	ended := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logouts[ended] = login
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.logouts, ended)
		close(ended)
	}
}

// awaitLogouts waits for all started Logouts of the login.
func (l *Ledger) awaitLogouts(ctx context.Context, login string) {
	l.mu.Lock()
	logouts := maps.Clone(l.logouts)
	l.mu.Unlock()
	for ended, of := range logouts {
		if of == login {
			wait(ctx, ended)
		}
	}
}

// wait blocks until c is closed or ctx ends.
func wait(ctx context.Context, c <-chan struct{}) {
	select {
	case <-c:
	case <-ctx.Done():
	}
}
