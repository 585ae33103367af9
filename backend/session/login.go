package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// flight is a Login that requests share.
type flight struct {
	done    chan struct{} // closed at its end
	began   time.Time
	brought bool // for who wrote the credential, even if he hangs up
	open    *opened
	err     error
}

// acquire gives the open session, or opens one. The Login goes on when the request
// is given up, or waits no longer: what it brings has to be used or logged out.
func (s *Session) acquire(ctx context.Context) (*opened, error) {
	joined := time.Now()
	for {
		open, f, err := s.join()
		if open != nil || err != nil {
			return open, err
		}
		overdue := time.NewTimer(s.patience() - time.Since(f.began))
		select {
		case <-f.done:
			overdue.Stop()
			return f.open, f.err
		case <-ctx.Done():
			overdue.Stop()
			return nil, ctx.Err()
		case <-overdue.C:
		}
		s.abandon(f)
		// Who came late has time left, for a Login of its own.
		if time.Since(joined) >= s.patience() {
			return nil, &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrTimeout, Sent: true}
		}
	}
}

// patience is how long a request waits for a Login, and for the Logout that may
// have to come before it.
func (s *Session) patience() time.Duration { return s.RequestTimeout + s.logoutPatience() }

// logoutPatience is how long a Login waits for a Logout that hangs.
func (s *Session) logoutPatience() time.Duration { return min(LogoutTimeout, s.RequestTimeout/2) }

// join gives the open session, or the Login under way, which it begins if need be.
func (s *Session) join() (*opened, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed: // it may be logged out at any moment
		return nil, nil, ErrClosed
	case s.open != nil:
		return s.open, nil, nil
	case s.flight == nil:
		s.flight = &flight{done: make(chan struct{}), began: time.Now(), brought: s.brought}
		go s.fly(s.flight)
	}
	return nil, s.flight, nil
}

// abandon lets the next request try a Login of its own: this one has had its time.
func (s *Session) abandon(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == f {
		s.flight = nil
	}
}

func (s *Session) fly(f *flight) {
	open, err := s.login(f.brought)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.open, f.err = s.adopt(open, err)
	if s.flight == f {
		s.flight = nil
	}
	close(f.done)
}

// adopt puts a session that was just opened into use, or logs it out where there is
// no use for it any more. Holds mu.
func (s *Session) adopt(open *opened, err error) (*opened, error) {
	switch {
	case err != nil:
		return nil, err
	case s.closed:
		s.sendOff(open)
		return nil, ErrClosed
	case s.open != nil: // an abandoned Login came to its end after the next one
		s.sendOff(open)
		return s.open, nil
	}
	s.open, s.current = open, open.password
	s.startIdle()
	if open.password != s.offered[0].Password && s.Switched != nil {
		go s.Switched()
	}
	return open, nil
}

// login tries the candidates in turn.
func (s *Session) login(brought bool) (open *opened, err error) {
	defer panics.Recover(s.Logger, &err)
	ctx, cancel := context.WithTimeout(context.Background(), LoginTimeout)
	defer cancel()
	if err := s.awaitLogouts(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	candidates, current, closed := s.offered, s.current, s.closed
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if brought { // no other will do for who wrote it
		return s.tryLogin(ctx, candidates[0], true, false)
	}
	var held error // the first that the pace does not allow now
	begun := false // the round, in which the pause is waived
	for _, c := range s.Ledger.inTurn(s.Login, candidates, current) {
		open, err = s.tryLogin(ctx, c, false, begun)
		switch {
		case errors.Is(err, ErrPaused):
			held = cmp.Or(held, err)
		case errors.Is(err, ErrRefused):
			begun = true
		default:
			return open, err
		}
	}
	return nil, cmp.Or(held, err)
}

// awaitLogouts has the Logouts done that must come before a Login, but waits not for
// long, and once for all, where they hang.
func (s *Session) awaitLogouts(ctx context.Context) error {
	if err := s.Ledger.load(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.logoutPatience())
	defer cancel()
	s.Ledger.awaitLeft(ctx, s.Login) // so that there is never more than one session
	s.Ledger.logoutOwed(ctx, s.Endpoint)
	return nil
}

// Offer adds passwords that the login may have from now on; those that are known are
// passed over.
func (s *Session) Offer(candidates []Candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range candidates {
		if slices.Contains(s.offered, c) {
			continue
		}
		// Right behind the first: it is likelier than what is only kept.
		s.offered = slices.Insert(slices.Clone(s.offered), 1, c)
	}
}

// Confirmed tells that the login has this password now, whatever it was opened with.
func (s *Session) Confirmed(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = password
}

// tryLogin is one Login, entered into the ledger before it is sent.
func (s *Session) tryLogin(ctx context.Context, candidate Candidate, brought, sameRound bool) (*opened, error) {
	a := Attempt{Login: s.Login, Credential: candidate.Mark, Brought: brought}
	lost, err := s.Ledger.check(a, sameRound)
	if err != nil {
		return nil, err
	}
	if lost {
		if err := s.answers(ctx); err != nil {
			return nil, err
		}
	}
	e, err := s.Ledger.begin(ctx, s.Endpoint, a, sameRound)
	if err != nil {
		return nil, err
	}
	sent := s.Clock.Now()
	id, err := s.callLogin(ctx, candidate.Password)
	if err == nil {
		open := &opened{id: id, password: candidate.Password, sent: sent, entry: e}
		if err := s.Ledger.opened(e, id, s.IdleTimeout > 0); err != nil {
			s.sendOff(open)
			return nil, err
		}
		return open, nil
	}
	outcome := s.outcome(err)
	s.Ledger.failed(e, outcome)
	if outcome == Refused {
		s.Logger.Warn("ECGrid refused the login", "username", s.LoginName)
		return nil, fmt.Errorf("%w %q", ErrRefused, s.LoginName)
	}
	return nil, err
}

func (s *Session) callLogin(ctx context.Context, password string) (id string, err error) {
	defer panics.Recover(s.Logger, &err)
	return s.Client.Login(ctx, s.LoginName, password)
}

// outcome is what a failed Login counts as.
func (s *Session) outcome(err error) Outcome {
	verdict := s.Judge(err)
	switch {
	case !ecgrid.MayBeSent(err):
		return unsent
	case verdict.Refusal:
		return Refused
	case errors.Is(err, ecgrid.ErrServerFault):
		return Faulted
	}
	return Lost
}

// answers tells whether ECGrid answers at all, by the one operation that needs no
// session: after a Login whose answer was lost, another is not sent into the dark.
func (s *Session) answers(ctx context.Context) error {
	_, err := s.Client.Version(ctx)
	if v := s.Judge(err); v.Refusal || v.Faultless { // a fault is an answer too
		return nil
	}
	return err
}

// Reopen ends the session, opens another, and tells with which password: it is the
// one that ECGrid has. What a Login tells that was sent before may be out of date.
func (s *Session) Reopen(ctx context.Context) (password string, err error) {
	for began := s.Clock.Now(); ; {
		s.End(ctx)
		open, err := s.touch(ctx)
		switch {
		case err != nil:
			return "", err
		case !open.sent.Before(began):
			return open.password, nil
		}
	}
}

// touch uses the session for nothing.
func (s *Session) touch(ctx context.Context) (*opened, error) {
	s.enter()
	defer s.leave()
	return s.acquire(ctx)
}

// MayDoubt is ErrTooSoon while it would be unwise to begin what may end in a doubt about
// the password: finding out costs Logins that are refused.
func (s *Session) MayDoubt() error {
	if left := s.Ledger.roomForDoubt(s.Login); left > 0 {
		return fmt.Errorf("%w, which holds this up for %s more", ErrTooSoon, inSeconds(left))
	}
	return nil
}

// Current is the password that the last session was opened with, or that was
// confirmed since; "" where there was none.
func (s *Session) Current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}
