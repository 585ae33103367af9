package session

import (
	"context"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// drop forgets a dead session, if it is still the current one. It is logged out all
// the same: where it is not as dead as it looked it would stay open for good.
func (s *Session) drop(o *opened) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == o {
		o.dead = true
		s.logoutCurrent()
	}
}

// End logs the session out, after a moment for the requests in flight, and waits
// for that. The next request opens another.
func (s *Session) End(ctx context.Context) {
	s.endAfterUse(ctx)
	s.Ledger.awaitLeft(ctx, s.Login)
}

func (s *Session) endAfterUse(ctx context.Context) {
	s.awaitUnused(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != nil {
		s.logoutCurrent()
	}
}

// EndUnused is End for a session that no request uses; one in use is left alone.
func (s *Session) EndUnused(ctx context.Context) {
	s.awaitUnused(ctx)
	s.mu.Lock()
	if s.open != nil && s.users == 0 {
		s.logoutCurrent()
	}
	s.mu.Unlock()
	s.Ledger.awaitLeft(ctx, s.Login)
}

// Close ends the session for good: no more logins, a moment for the requests in
// flight, Logout. It is idempotent and bounded by ctx.
func (s *Session) Close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.stopIdle()
	under := s.flight
	s.mu.Unlock()
	left := s.Ledger.leaves(s.Login) // from now on: who comes after this one waits
	if under != nil {                // a Login under way has to end first
		wait(ctx, under.done)
	}
	s.endAfterUse(ctx)
	left()
	s.Ledger.awaitLeft(ctx, s.Login)
}

// awaitUnused waits until no request uses the session, for drainTimeout at the most.
func (s *Session) awaitUnused(ctx context.Context) {
	s.mu.Lock()
	if s.users > 0 && s.drained == nil {
		s.drained = make(chan struct{})
	}
	drained := s.drained
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	wait(ctx, drained)
}

// logoutCurrent takes the session out of use and logs it out. Holds mu.
func (s *Session) logoutCurrent() {
	open := s.open
	s.open = nil
	s.stopIdle()
	s.sendOff(open)
}

// sendOff logs a session out in the background. Holds mu.
func (s *Session) sendOff(o *opened) {
	left := s.Ledger.leaves(s.Login)
	go func() {
		defer left()
		s.logout(o)
	}()
}

func (s *Session) logout(o *opened) {
	ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
	defer cancel()
	err := callLogout(ctx, s.Client, o.id, s.Logger)
	s.mu.Lock()
	left := left{answered: err == nil || s.Judge(err).Refusal, clean: err == nil && !o.dead || o.proven}
	s.mu.Unlock()
	if !left.answered {
		s.Logger.Warn("a session could not be logged out; that is tried again before the next Login", "username", s.LoginName, "error", err)
	}
	s.Ledger.left(o.entry, left)
}

func callLogout(ctx context.Context, client ecgrid.Client, id string, log hclog.Logger) (err error) {
	defer panics.Recover(log, &err)
	return client.Logout(ctx, id)
}

// wait blocks until c is closed or ctx ends; a nil c is not waited for.
func wait(ctx context.Context, c <-chan struct{}) {
	if c == nil {
		return
	}
	select {
	case <-c:
	case <-ctx.Done():
	}
}
