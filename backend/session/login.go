// SPDX-License-Identifier: MPL-2.0

package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// loginInFlight is a Login that requests wait for.
type loginInFlight struct {
	started   time.Time
	replaces  *openSession  // the session that it renews, or nil
	fromWrite bool          // for a config write, even if its client hangs up
	done      chan struct{} // closed when open and err are set
	open      *openSession
	err       error
}

// errSlowLogin is for a request that cannot wait for a Login any longer.
var errSlowLogin = &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrTimeout, Sent: true}

// acquire returns the open session, or waits for a Login. The Login goes on if the
// request ends first; otherwise it could leave a session open.
func (s *Session) acquire(ctx context.Context) (*openSession, error) {
	joined := time.Now()
	for {
		open, login, err := s.currentOrLogin()
		if login == nil {
			return open, err
		}
		select {
		case <-login.done:
			return login.open, login.err
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(s.maxLoginWait() - time.Since(login.started)):
		}
		s.abandon(login)
		// A request that joined late has time left for another Login.
		if time.Since(joined) >= s.maxLoginWait() {
			return nil, errSlowLogin
		}
	}
}

// maxLoginWait is how long a request waits for a Login, including a Logout before it.
func (s *Session) maxLoginWait() time.Duration { return s.RequestTimeout + s.maxLogoutWait() }

// maxLogoutWait is how long a Login waits for Logouts that hang.
func (s *Session) maxLogoutWait() time.Duration { return min(LogoutTimeout, s.RequestTimeout/2) }

// currentOrLogin returns the open session, or else the Login in flight. It starts one
// if there is none.
func (s *Session) currentOrLogin() (*openSession, *loginInFlight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // the open session may be logged out at any moment
		return nil, nil, ErrClosed
	}
	s.renewIfDue()
	if s.current != nil {
		return s.current, nil, nil
	}
	s.startLogin(nil)
	return nil, s.login, nil
}

// startLogin starts a Login, unless one is in flight. The caller holds mu.
func (s *Session) startLogin(replaces *openSession) {
	if s.login != nil {
		return
	}
	s.login = &loginInFlight{started: time.Now(), replaces: replaces, fromWrite: s.fromWrite.Load(), done: make(chan struct{})}
	go s.runLogin(s.login)
}

// abandon lets the next request start another Login: this one takes too long.
func (s *Session) abandon(login *loginInFlight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.login == login {
		s.login = nil
	}
}

func (s *Session) runLogin(login *loginInFlight) {
	open, err := s.tryCandidates(login.fromWrite)
	if login.replaces != nil && errors.Is(err, ErrRefused) {
		s.Ledger.renewalRefused(s.Login)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		open, err = s.setCurrent(login, open)
	}
	login.open, login.err = open, err
	if s.login == login {
		s.login = nil
	}
	close(login.done)
}

// setCurrent makes a new session the shared one, or logs it out if it is not needed
// any more. The caller holds mu.
func (s *Session) setCurrent(login *loginInFlight, open *openSession) (*openSession, error) {
	switch {
	case s.closed:
		s.logoutAsync(open)
		return nil, ErrClosed
	case s.current != nil && s.current != login.replaces: // open is from an abandoned Login
		s.logoutAsync(open)
		return s.current, nil
	case s.current != nil:
		s.retire(s.current)
	}
	s.current, s.password = open, open.password
	s.scheduleIdleLogout()
	if open.password != s.candidates[0].Password && s.Switched != nil {
		go s.Switched()
	}
	return open, nil
}

// tryCandidates logs in with the first candidate that ECGrid accepts.
func (s *Session) tryCandidates(fromWrite bool) (open *openSession, err error) {
	defer panics.Recover(s.Logger, &err)
	ctx, cancel := context.WithTimeout(context.Background(), LoginTimeout)
	defer cancel()
	if err := s.prepareLogin(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	candidates, password, closed := s.candidates, s.password, s.closed
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if fromWrite { // the write needs to know about its own password only
		return s.tryLogin(ctx, candidates[0], true, true)
	}
	var paused error // of the first paused candidate
	skipPause := false
	for _, c := range s.Ledger.loginOrder(s.Login, candidates, password) {
		open, err = s.tryLogin(ctx, c, false, skipPause)
		if errors.Is(err, ErrPaused) {
			paused = cmp.Or(paused, err)
			continue
		}
		if !errors.Is(err, ErrRefused) {
			return open, err
		}
		skipPause = true
	}
	return nil, cmp.Or(paused, err)
}

// prepareLogin does the Logouts that come before a Login, because of ECGrid's limit on
// open sessions. It does not wait long for those that hang.
func (s *Session) prepareLogin(ctx context.Context) error {
	if err := s.Ledger.load(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.maxLogoutWait())
	defer cancel()
	s.Ledger.awaitLogouts(ctx, s.Login)
	s.Ledger.logoutLeftovers(ctx, s.Endpoint)
	return nil
}

// tryLogin sends one Login. SkipPause ignores the pause after failed Logins, but not
// their limit in a window.
func (s *Session) tryLogin(ctx context.Context, c Candidate, fromWrite, skipPause bool) (*openSession, error) {
	a := Attempt{Login: s.Login, Credential: c.Mark, FromWrite: fromWrite}
	e := &entry{Note: Note{Attempt: a, Endpoint: s.Endpoint}, skipPause: skipPause}
	lost, err := s.Ledger.check(e)
	if err != nil {
		return nil, err
	}
	if lost {
		if err := s.ping(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.Ledger.begin(ctx, e); err != nil {
		return nil, err
	}
	open := &openSession{password: c.Password, loginSent: s.Clock.Now(), entry: e}
	opened, err := s.callLogin(ctx, c.Password)
	if err != nil {
		return nil, s.loginFailed(e, err)
	}
	s.countLogin(succeeded)
	open.credential.Value, open.lifetime = opened.SessionID, opened.Lifetime
	if err := s.Ledger.loginSucceeded(e, opened.SessionID, s.IdleTimeout > 0); err != nil {
		s.logoutAsync(open)
		return nil, err
	}
	return open, nil
}

func (s *Session) callLogin(ctx context.Context, password string) (opened ecgrid.LoginResult, err error) {
	defer panics.Recover(s.Logger, &err)
	return s.Client.Login(ctx, s.LoginName, password)
}

// loginFailed records a failed Login and returns the error of the request.
func (s *Session) loginFailed(e *entry, err error) error {
	outcome := Lost
	switch verdict := s.Classify(err); {
	case !ecgrid.MayBeSent(err):
		outcome = unsent
	case verdict.Refusal:
		outcome = Refused
	case verdict.Faulted:
		outcome = Faulted
	}
	s.Ledger.loginFailed(e, outcome)
	s.countLogin(outcome)
	if outcome != Refused {
		return err
	}
	s.Logger.Warn("ECGrid refused the login", "username", s.LoginName)
	return fmt.Errorf("%w %q", ErrRefused, s.LoginName)
}

// loginResults are the names of outcomes, for metrics.
var loginResults = map[Outcome]string{succeeded: "ok", Refused: "refused", Lost: "lost", Faulted: "faulted", unsent: "unsent"}

// LoginResults returns what LoginEnded may be called with.
func LoginResults() []string { return slices.Sorted(maps.Values(loginResults)) }

func (s *Session) countLogin(o Outcome) {
	if s.LoginEnded != nil {
		s.LoginEnded(loginResults[o])
	}
}

// ping fails if ECGrid does not answer. It calls Version, which needs no session. A
// fault is an answer too.
func (s *Session) ping(ctx context.Context) error {
	_, err := s.Client.Version(ctx)
	if v := s.Classify(err); v.Refusal || v.Inconclusive {
		return nil
	}
	return err
}

// Reopen replaces the session and returns the password of the new Login, which is the
// one that ECGrid has now. It ignores a Login that was sent before.
func (s *Session) Reopen(ctx context.Context) (password string, err error) {
	for started := s.Clock.Now(); ; {
		s.End(ctx)
		open, err := s.ensureOpen(ctx)
		switch {
		case err != nil:
			return "", err
		case !open.loginSent.Before(started):
			return open.password, nil
		}
	}
}

// awaitLogin waits for the Login in flight. It returns false if that is still in flight when
// ctx ends.
func (s *Session) awaitLogin(ctx context.Context) bool {
	s.mu.Lock()
	login := s.login
	s.mu.Unlock()
	if login == nil {
		return true
	}
	wait(ctx, login.done)
	return ctx.Err() == nil
}

func (s *Session) ensureOpen(ctx context.Context) (*openSession, error) {
	s.beginRequest()
	defer s.endRequest()
	return s.acquire(ctx)
}
