package backend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"vault-plugin-ecgrid/internal/ecgridapi"
)

const (
	// maxConcurrentCalls bounds the calls at ECGrid at once: Vault revokes up to
	// 180 leases of a mount side by side.
	maxConcurrentCalls = 16
	// logoutTimeout bounds one Logout, and with it every end of a session: Vault
	// unmounts and seals with its locks held.
	logoutTimeout = 3 * time.Second
	// drainTimeout is what requests in flight get to finish before their session ends.
	drainTimeout = time.Second

	firstLoginPause = time.Second
	maxLoginPause   = 5 * time.Minute
)

// errSessionClosed: this session's config was replaced; there is a newer one to use.
var errSessionClosed = errors.New("the config was replaced")

// session is the one ECGrid session that all requests on a config share. It is
// opened when a request needs it and logged out when none has for a while:
// ECGrid allows about 5 open sessions a user and never closes them dependably.
type session struct {
	ecgrid ECGrid
	config Config
	clock  Clock
	log    hclog.Logger
	calls  *semaphore.Weighted
	logins singleflight.Group

	mu       sync.Mutex
	id       string        // the open SessionID; "" when there is none
	users    int           // requests in flight
	closed   bool          // no more logins
	leaving  chan struct{} // closed when every Logout under way is answered; nil when there is none
	drained  chan struct{} // closed when users falls to 0; nil when nobody waits for that
	stopIdle func() bool
	pause    time.Duration // after the last refused login; 0 when it was not refused
	pausedTo time.Time
}

func newSession(ecgrid ECGrid, config Config, clock Clock, log hclog.Logger) *session {
	return &session{
		ecgrid:   ecgrid,
		config:   config,
		clock:    clock,
		log:      log,
		calls:    semaphore.NewWeighted(maxConcurrentCalls),
		stopIdle: func() bool { return false },
	}
}

// use runs call with a live SessionID, or with the API key that stands for one.
// A session that turns out to be dead is replaced once, and the call repeated.
func (s *session) use(ctx context.Context, call func(ctx context.Context, sessionID string) error) error {
	if s.config.APIKey != "" {
		return s.useAPIKey(ctx, call)
	}
	s.enter()
	defer s.leave()

	id, fresh, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	err = s.limited(ctx, id, call)
	dead, err := s.judge(ctx, id, fresh, err)
	if !dead {
		return err
	}
	s.drop(id)
	if id, _, err = s.acquire(ctx); err != nil {
		return err
	}
	return s.limited(ctx, id, call)
}

// useAPIKey has no session to replace: a dead key is the credential refused.
func (s *session) useAPIKey(ctx context.Context, call func(ctx context.Context, sessionID string) error) error {
	err := s.limited(ctx, s.config.APIKey, call)
	dead, err := s.judge(ctx, s.config.APIKey, false, err)
	if dead {
		return fmt.Errorf("%w (api_key)", ErrLoginRefused)
	}
	return err
}

// verify tries the credential: a Login, whose session stays for the next request,
// or for an API key a WhoAmI.
func (s *session) verify(ctx context.Context) error {
	return s.use(ctx, func(ctx context.Context, sessionID string) error {
		if s.config.APIKey == "" {
			return nil
		}
		_, err := s.ecgrid.WhoAmI(ctx, sessionID)
		return err
	})
}

// limited runs one call at ECGrid under the semaphore.
func (s *session) limited(ctx context.Context, id string, call func(context.Context, string) error) error {
	if err := s.calls.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.calls.Release(1)
	return call(ctx, id)
}

// suspicious are the failures that could mean a dead session: which of them
// ECGrid really sends is not documented.
var suspicious = []error{
	ecgridapi.ErrAuthentication,
	ecgridapi.ErrAccessDenied,
	ecgridapi.ErrNotFound,
	ecgridapi.ErrFault,
	ecgridapi.ErrServerFault,
}

// judge tells whether a failed call failed because its session is dead. Where the
// failure does not say, WhoAmI does; a session that was opened for this very
// request is believed alive. The error is the call's, or WhoAmI's where that gave
// no verdict: then the call's own fault proves nothing.
func (s *session) judge(ctx context.Context, id string, fresh bool, err error) (dead bool, _ error) {
	if errors.Is(err, ecgridapi.ErrSessionExpired) {
		return true, err
	}
	if fresh || !isAny(err, suspicious) {
		return false, err
	}
	probe := s.limited(ctx, id, func(ctx context.Context, id string) error {
		_, err := s.ecgrid.WhoAmI(ctx, id)
		return err
	})
	switch {
	case probe == nil:
		return false, err
	case isRefusal(probe):
		return true, err
	default:
		return false, probe
	}
}

// isRefusal tells a fault that blames the credential or the SessionID from one
// that blames ECGrid or the way there.
func isRefusal(err error) bool {
	return isAny(err, []error{
		ecgridapi.ErrAuthentication,
		ecgridapi.ErrAccessDenied,
		ecgridapi.ErrNotFound,
		ecgridapi.ErrFault,
		ecgridapi.ErrSessionExpired,
	})
}

func isAny(err error, targets []error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

func (s *session) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	s.stopIdle()
}

func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	if s.users > 0 {
		return
	}
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
	s.startIdle()
}

// startIdle arranges the Logout of a session that nobody uses. Holds mu.
func (s *session) startIdle() {
	s.stopIdle()
	if s.id == "" || s.users > 0 {
		return
	}
	idle := s.config.SessionIdleTimeout
	if idle == 0 {
		s.logoutCurrent()
		return
	}
	id := s.id
	s.stopIdle = s.clock.AfterFunc(idle, func() { s.logoutIdle(id) })
}

// logoutIdle ends the session if it is still that one and still unused.
func (s *session) logoutIdle(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == id && s.users == 0 {
		s.logoutCurrent()
	}
}

// acquire gives the open SessionID, or opens one. Fresh means that it was opened
// while this request waited. The Login goes on when the request is given up: its
// session has to be known to be logged out.
func (s *session) acquire(ctx context.Context) (id string, fresh bool, err error) {
	s.mu.Lock()
	id = s.id
	s.mu.Unlock()
	if id != "" {
		return id, false, nil
	}
	select {
	case r := <-s.logins.DoChan("", s.login):
		if r.Err != nil {
			return "", false, r.Err
		}
		return r.Val.(string), true, nil
	case <-ctx.Done():
		return "", false, ctx.Err()
	}
}

// login opens the session unless there is one by now. It runs under singleflight.
func (s *session) login() (_ any, err error) {
	defer recovered(s.log, &err)
	if id, err := s.beforeLogin(); id != "" || err != nil {
		return id, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.RequestTimeout)
	defer cancel()
	id, err := s.ecgrid.Login(ctx, s.config.Username, s.config.Password)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return "", s.loginFailed(err)
	}
	s.pause = 0
	s.id = id
	if s.closed {
		s.logoutCurrent()
		return "", errSessionClosed
	}
	s.startIdle()
	return id, nil
}

// beforeLogin waits until no Logout is under way, so that there is never more
// than one session, and tells what speaks against a Login.
func (s *session) beforeLogin() (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.leaving != nil {
		leaving := s.leaving
		s.mu.Unlock()
		<-leaving
		s.mu.Lock()
	}
	if s.closed {
		return "", errSessionClosed
	}
	if s.id != "" {
		return s.id, nil
	}
	if left := s.pausedTo.Sub(s.clock.Now()); s.pause > 0 && left > 0 {
		return "", fmt.Errorf("%w, for %s more", ErrLoginPaused, left.Round(time.Second)+time.Second)
	}
	return "", nil
}

// loginFailed starts or doubles the pause where the login itself was refused. A
// full session table looks the same and is treated the same. Holds mu.
func (s *session) loginFailed(err error) error {
	if !isRefusal(err) {
		return err
	}
	s.pause = min(max(2*s.pause, firstLoginPause), maxLoginPause)
	s.pausedTo = s.clock.Now().Add(s.pause)
	s.log.Warn("ECGrid refused the login; logins are paused", "username", s.config.Username, "pause", s.pause)
	return fmt.Errorf("%w %q", ErrLoginRefused, s.config.Username)
}

// drop forgets a dead session, if it is still the current one. It is logged out
// all the same: where it is not as dead as it looked it would stay open for good.
func (s *session) drop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id == id {
		s.logoutCurrent()
	}
}

// logoutUnused ends the session now if no request uses it, and waits for the Logout.
func (s *session) logoutUnused(ctx context.Context) {
	s.mu.Lock()
	if s.id != "" && s.users == 0 {
		s.logoutCurrent()
	}
	leaving := s.leaving
	s.mu.Unlock()
	wait(ctx, leaving)
}

// logoutCurrent takes the session out of use and logs it out in the background.
// Holds mu.
func (s *session) logoutCurrent() {
	id, before, done := s.id, s.leaving, make(chan struct{})
	s.id, s.leaving = "", done
	s.stopIdle()
	go func() {
		s.logout(id)
		if before != nil {
			<-before
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.leaving == done {
			s.leaving = nil
		}
		close(done)
	}()
}

func (s *session) logout(id string) {
	var err error
	defer recovered(s.log, &err)
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	if err = s.ecgrid.Logout(ctx, id); err != nil && !isRefusal(err) {
		s.log.Warn("a session could not be logged out and may stay open at ECGrid", "username", s.config.Username, "error", err)
	}
}

// close ends the session for good: no more logins, a moment for the requests in
// flight, Logout. It is idempotent and bounded by ctx.
func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.stopIdle()
	drained := s.drained
	if s.users > 0 && drained == nil {
		drained = make(chan struct{})
		s.drained = drained
	}
	s.mu.Unlock()

	// A Login under way has to end first; with none, this returns at once.
	select {
	case <-s.logins.DoChan("", s.login):
	case <-ctx.Done():
	}
	draining, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	wait(draining, drained)

	s.mu.Lock()
	if s.id != "" {
		s.logoutCurrent()
	}
	leaving := s.leaving
	s.mu.Unlock()
	wait(ctx, leaving)
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
