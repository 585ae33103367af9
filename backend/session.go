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

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// maxConcurrentCalls bounds the calls at ECGrid at once: Vault revokes up to
	// 180 leases of a mount side by side.
	maxConcurrentCalls = 16
	// logoutTimeout bounds one Logout, and with it every end of a session: Vault
	// unmounts and seals with its locks held.
	logoutTimeout = 3 * time.Second
	// loginTimeout bounds one Login. Requests wait for it no longer than for any
	// other call.
	loginTimeout = time.Minute
	// drainTimeout is what requests in flight get to finish before their session ends.
	drainTimeout = time.Second
)

// errSessionClosed: this session's config was replaced; there is a newer one to use.
var errSessionClosed = errors.New("the config was replaced")

// session is the one ECGrid session that all requests on a config share. It is
// opened when a request needs it and logged out when none has for a while:
// ECGrid allows about 5 open sessions a user and never closes them dependably.
type session struct {
	client ecgrid.Client
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
	pause    pause

	loginBegan time.Time // the last one
}

func newSession(client ecgrid.Client, config Config, clock Clock, log hclog.Logger) *session {
	return &session{
		client:   client,
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

	dead, err := s.tryOnce(ctx, call)
	if !dead {
		return err
	}
	if dead, err = s.tryOnce(ctx, call); !dead || errors.Is(err, ecgrid.ErrServerFault) {
		return err
	}
	return ecgrid.ErrSessionExpired // a fault of a dead session says nothing else
}

// tryOnce runs call with the shared session, and drops that where it is dead.
func (s *session) tryOnce(ctx context.Context, call func(context.Context, string) error) (dead bool, _ error) {
	id, err := s.acquire(ctx)
	if err != nil {
		return false, err
	}
	dead, err = s.judge(ctx, id, s.limited(ctx, id, call))
	if dead {
		s.drop(id)
	}
	return dead, err
}

// useAPIKey has no session to replace: a dead key is the credential refused.
func (s *session) useAPIKey(ctx context.Context, call func(ctx context.Context, sessionID string) error) error {
	dead, err := s.judge(ctx, s.config.APIKey, s.limited(ctx, s.config.APIKey, call))
	if dead && !errors.Is(err, ecgrid.ErrServerFault) {
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
		return s.whoAmI(ctx, sessionID)
	})
}

// whoAmI tells whether a session, or an API key, is alive.
func (s *session) whoAmI(ctx context.Context, sessionID string) error {
	_, err := s.client.WhoAmI(ctx, sessionID)
	return err
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
	ecgrid.ErrAuthentication,
	ecgrid.ErrAccessDenied,
	ecgrid.ErrNotFound,
	ecgrid.ErrFault,
	ecgrid.ErrServerFault,
}

// judge tells whether a call failed because its session is dead. Where the failure
// does not say, WhoAmI does, also for a session that was just opened: behind a
// changing egress address that one is dead too. The error is the call's, or
// WhoAmI's where that gave no verdict: then the call's own fault proves nothing.
func (s *session) judge(ctx context.Context, id string, err error) (dead bool, _ error) {
	if errors.Is(err, ecgrid.ErrSessionExpired) {
		return true, err
	}
	if !isAny(err, suspicious) {
		return false, err
	}
	probe := s.limited(ctx, id, s.whoAmI)
	switch {
	case probe == nil:
		return false, err
	case isRefusal(probe), isAny(probe, faultless):
		return true, err
	default:
		return false, probe
	}
}

// faultless are the answers of WhoAmI that blame nobody. Together with a call that
// failed too they are a dead session on a server that does not say so.
var faultless = []error{ecgrid.ErrServerFault, ecgrid.ErrEmptyResult}

// isRefusal tells a fault that blames the credential or the SessionID from one
// that blames ECGrid or the way there.
func isRefusal(err error) bool {
	return isAny(err, []error{
		ecgrid.ErrAuthentication,
		ecgrid.ErrAccessDenied,
		ecgrid.ErrNotFound,
		ecgrid.ErrFault,
		ecgrid.ErrSessionExpired,
	})
}

// wasSent tells a call that ECGrid may have carried out.
func wasSent(err error) bool {
	var failed *ecgrid.Error
	return errors.As(err, &failed) && failed.Sent
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

// acquire gives the open SessionID, or opens one. The Login goes on when the
// request is given up, or waits no longer: what it brings has to be used or logged
// out.
func (s *session) acquire(ctx context.Context) (id string, err error) {
	s.mu.Lock()
	id, closed := s.id, s.closed
	s.mu.Unlock()
	switch {
	case closed: // it may be logged out at any moment
		return "", errSessionClosed
	case id != "":
		return id, nil
	}
	waiting, cancel := context.WithTimeout(ctx, s.config.RequestTimeout)
	defer cancel()
	select {
	case r := <-s.logins.DoChan("", s.login):
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	case <-waiting.Done():
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", s.abandonLogin()
	}
}

// abandonLogin lets the next request try a Login of its own, if the one under way
// has had its time.
func (s *session) abandonLogin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if !s.loginBegan.IsZero() && now.Sub(s.loginBegan) >= s.config.RequestTimeout {
		s.logins.Forget("")
		s.pause.doubtful(now)
		s.loginBegan = time.Time{} // once, whoever else waits for it
	}
	return &ecgrid.Error{Op: "Login", Kind: ecgrid.ErrTimeout, Sent: true}
}

// login opens the session unless there is one by now. It runs under singleflight.
func (s *session) login() (_ any, err error) {
	defer Recovered(s.log, &err)
	id, began, err := s.beforeLogin()
	if id != "" || err != nil {
		return id, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), loginTimeout)
	defer cancel()
	id, err = s.client.Login(ctx, s.config.Username, s.config.Password)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		return "", s.loginFailed(err, began)
	}
	s.pause = pause{}
	switch {
	case s.closed:
		s.sendOff(id)
		return "", errSessionClosed
	case s.id != "": // an abandoned Login came to its end after the next one
		s.sendOff(id)
		return s.id, nil
	}
	s.id = id
	s.startIdle()
	return id, nil
}

// beforeLogin waits until no Logout is under way, so that there is never more
// than one session, and tells what speaks against a Login.
func (s *session) beforeLogin() (id string, began time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.leaving != nil {
		leaving := s.leaving
		s.mu.Unlock()
		<-leaving
		s.mu.Lock()
	}
	if s.closed {
		return "", began, errSessionClosed
	}
	if s.id != "" {
		return s.id, began, nil
	}
	now := s.clock.Now()
	if left := s.pause.left(now); left > 0 {
		return "", began, pausedFor(left)
	}
	s.loginBegan = now
	return "", now, nil
}

// loginFailed starts or doubles the pause where the login itself was refused. A
// full session table looks the same and is treated the same. So is, from the third
// in a row on, a Login that may have been carried out: each may have left a
// session open that nobody can log out. Holds mu.
func (s *session) loginFailed(err error, began time.Time) error {
	now := s.clock.Now()
	switch {
	case isRefusal(err):
		s.pause.refused(now)
		s.log.Warn("ECGrid refused the login; logins are paused", "username", s.config.Username, "pause", s.pause.length)
		return fmt.Errorf("%w %q", ErrLoginRefused, s.config.Username)
	case wasSent(err) && now.Sub(began) < s.config.RequestTimeout:
		s.pause.doubtful(now) // after that it was abandoned, and counted
	}
	return err
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

// logoutUnused ends the session if no request uses it within drainTimeout, and
// waits for the Logout.
func (s *session) logoutUnused(ctx context.Context) {
	s.awaitUnused(ctx)
	s.mu.Lock()
	if s.id != "" && s.users == 0 {
		s.logoutCurrent()
	}
	leaving := s.leaving
	s.mu.Unlock()
	wait(ctx, leaving)
}

// awaitUnused waits until no request uses the session, for drainTimeout at the most.
func (s *session) awaitUnused(ctx context.Context) {
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
func (s *session) logoutCurrent() {
	id := s.id
	s.id = ""
	s.stopIdle()
	s.sendOff(id)
}

// sendOff logs a session out in the background. Holds mu.
func (s *session) sendOff(id string) {
	before, done := s.leaving, make(chan struct{})
	s.leaving = done
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
	defer Recovered(s.log, &err)
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	if err = s.client.Logout(ctx, id); err != nil && !isRefusal(err) {
		s.log.Warn("a session could not be logged out and may stay open at ECGrid", "username", s.config.Username, "error", err)
	}
}

// close ends the session for good: no more logins, a moment for the requests in
// flight, Logout. It is idempotent and bounded by ctx.
func (s *session) close(ctx context.Context) {
	s.mu.Lock()
	s.closed = true
	s.stopIdle()
	s.mu.Unlock()

	// A Login under way has to end first; with none, this returns at once.
	select {
	case <-s.logins.DoChan("", s.login):
	case <-ctx.Done():
	}
	s.awaitUnused(ctx)

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
