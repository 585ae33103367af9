// Package session keeps the one ECGrid session that all requests of a login share.
//
// ECGrid allows about 5 open sessions a user, closes forgotten ones undependably and
// may lock an account after refused logins. So a session is opened when a request
// needs it, shared, doubted when a fault could mean that it is dead, and logged out
// when it is idle; Logins that were refused or lost are kept apart; and what a
// killed process would leave behind is noted where the next one finds it.
//
// Use runs a call that may be repeated, UseOnce one that must not be. A Session that
// is closed answers ErrClosed: there is a newer one to use.
package session

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// LogoutTimeout bounds one Logout, and with it every end of a session: Vault
	// unmounts and seals with its locks held.
	LogoutTimeout = 3 * time.Second
	// LoginTimeout bounds one Login, which may outlive the request that needs it: a
	// session that nobody learns of stays open. Requests wait for it no longer than
	// for any other call.
	LoginTimeout = time.Minute
	// drainTimeout is what requests in flight get to finish before their session ends.
	drainTimeout = time.Second
)

// The refusals of this package; match with errors.Is.
var (
	// ErrRefused: ECGrid does not take the login or the API key.
	ErrRefused = errors.New("ECGrid refused the login")
	// ErrPaused: too many Logins were refused or lost a short while ago.
	ErrPaused = errors.New("logins are paused")
	// ErrTooSoon: the login was refused lately, and what is to begin may cost more of that.
	ErrTooSoon = errors.New("logins were refused or not answered a short while ago")
	// ErrClosed: this session was ended for good.
	ErrClosed = errors.New("the session was ended for good")
)

// Clock is where the time is from, so that tests need no sleeps.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f in its own goroutine after d; stop is as of time.Timer.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Verdict is what a failed call says of the session it was made with.
type Verdict struct {
	Dead      bool // it is dead
	MayBeDead bool // WhoAmI has to tell
	Refusal   bool // ECGrid blames the credential or the SessionID
	Faultless bool // ECGrid answered, and blames nobody
}

// Candidate is a password that the login may have. Mark tells it from others
// without telling what it is.
type Candidate struct {
	Password string
	Mark     string
}

// Config is one login at one endpoint.
type Config struct {
	Client   ecgrid.Client
	Endpoint ecgrid.Endpoint
	// Login names the login among those of the Ledger; LoginName is ECGrid's word
	// for it.
	Login, LoginName string
	// Candidates are tried in turn until one is not refused. There are several while
	// it is not known which one ECGrid has.
	Candidates []Candidate
	// APIKey stands for a SessionID where it is set; then there is no Login.
	APIKey string
	// IdleTimeout is how long an unused session stays open; 0 is not at all.
	IdleTimeout time.Duration
	// RequestTimeout is how long a request waits for a Login.
	RequestTimeout time.Duration
	// MaxConcurrent is how many calls are made at once.
	MaxConcurrent int

	Ledger *Ledger
	// Judge tells what a failure means.
	Judge func(error) Verdict
	// Switched is called, if set, when another candidate than the first was taken.
	Switched func()
	Clock    Clock
	Logger   hclog.Logger
}

// Session is safe for concurrent use.
type Session struct {
	Config
	calls *semaphore.Weighted

	mu       sync.Mutex
	open     *opened       // nil when there is none
	users    int           // requests in flight
	closed   bool          // no more logins
	brought  bool          // the credential is being tried for who wrote it
	offered  []Candidate   // Config.Candidates, and those of Offer
	current  string        // the password that the login was last seen to have; "" before that
	flight   *flight       // the Login under way that requests wait for
	drained  chan struct{} // closed when users falls to 0; nil when nobody waits for that
	stopIdle func() bool
}

// opened is an open session.
type opened struct {
	id       string
	password string    // that it was opened with
	sent     time.Time // its Login
	entry    *entry
	proven   bool // a call with it succeeded
	dead     bool // a call with it showed that
}

// New makes a Session. It does no I/O.
func New(c Config) *Session {
	return &Session{
		Config:   c,
		offered:  c.Candidates,
		calls:    semaphore.NewWeighted(int64(c.MaxConcurrent)),
		stopIdle: func() bool { return false },
	}
}

// Call is one call to ECGrid.
type Call func(ctx context.Context, sessionID string) error

// Use runs call with a live SessionID, or with the API key that stands for one. A
// session that turns out to be dead is replaced once, and the call repeated.
func (s *Session) Use(ctx context.Context, call Call) error {
	s.enter()
	defer s.leave()
	dead, _, err := s.once(ctx, call)
	if !dead || s.APIKey != "" {
		return err
	}
	if dead, _, err = s.once(ctx, call); !dead || s.Judge(err).Faultless {
		return err
	}
	return ecgrid.ErrSessionExpired // a fault of a dead session says nothing else
}

// UseOnce runs a call that must not be repeated. The error is the call's own; begun
// is false where it never came to the call.
func (s *Session) UseOnce(ctx context.Context, call Call) (begun bool, err error) {
	s.enter()
	defer s.leave()
	var own error
	_, begun, err = s.once(ctx, func(ctx context.Context, id string) error {
		own = call(ctx, id)
		return own
	})
	if begun {
		return true, own
	}
	return false, err
}

// Verify tries the credential: a Login, whose session stays for the next request,
// or for an API key a WhoAmI. Brought tells that a write has just brought it: then
// it is tried at once, unless it was refused too often itself.
func (s *Session) Verify(ctx context.Context, brought bool) error {
	s.setBrought(brought)
	defer s.setBrought(false)
	err := s.Use(ctx, s.WhoAmI)
	if s.APIKey == "" && s.isOpen() { // the login works, whatever WhoAmI could tell
		return nil
	}
	return err
}

func (s *Session) setBrought(brought bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.brought = brought
}

func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open != nil
}

// WhoAmI is a Call that tells whether a session, or an API key, is alive.
func (s *Session) WhoAmI(ctx context.Context, sessionID string) error {
	_, err := s.Client.WhoAmI(ctx, sessionID)
	return err
}

// once runs call with the shared session, and drops that where it is dead.
func (s *Session) once(ctx context.Context, call Call) (dead, begun bool, err error) {
	if s.APIKey != "" {
		return s.onceWithKey(ctx, call)
	}
	open, err := s.acquire(ctx)
	if err != nil {
		return false, false, err
	}
	if begun, err = s.limited(ctx, open.id, call); !begun {
		return false, false, err
	}
	if err == nil {
		s.prove(open)
		return false, true, nil
	}
	is, err := s.judge(ctx, open.id, err)
	switch is {
	case isDead:
		s.drop(open)
	case isAlive:
		s.prove(open)
	}
	return is == isDead, true, err
}

// onceWithKey has no session to replace: a dead key is the credential refused.
func (s *Session) onceWithKey(ctx context.Context, call Call) (dead, begun bool, err error) {
	begun, err = s.limited(ctx, s.APIKey, call)
	if err == nil || !begun {
		return false, begun, err
	}
	is, err := s.judge(ctx, s.APIKey, err)
	if is == isDead && !s.Judge(err).Faultless {
		err = fmt.Errorf("%w (api_key)", ErrRefused)
	}
	return is == isDead, true, err
}

// limited runs one call under the bound of calls at once.
func (s *Session) limited(ctx context.Context, id string, call Call) (begun bool, err error) {
	if err := s.calls.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer s.calls.Release(1)
	return true, call(ctx, id)
}

// state is what is known of a session after a call with it.
type state int

const (
	isUnknown state = iota
	isAlive
	isDead
)

// judge tells whether a call failed because its session is dead. Where the failure
// does not say, WhoAmI does, also for a session that was just opened: behind a
// changing egress address that one is dead too. The error is the call's, or
// WhoAmI's where that gave no verdict: then the call's own fault proves nothing.
func (s *Session) judge(ctx context.Context, id string, err error) (state, error) {
	verdict := s.Judge(err)
	switch {
	case verdict.Dead:
		return isDead, err
	case !verdict.MayBeDead:
		return isUnknown, err
	}
	_, probe := s.limited(ctx, id, s.WhoAmI)
	if probe == nil {
		return isAlive, err
	}
	if v := s.Judge(probe); v.Refusal || v.Faultless {
		return isDead, err
	}
	return isUnknown, probe
}

// prove notes that a call with the session succeeded: the login is well.
func (s *Session) prove(o *opened) {
	s.mu.Lock()
	known := o.proven
	o.proven = true
	s.mu.Unlock()
	if !known {
		s.Ledger.worked(o.entry)
	}
}

func (s *Session) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users++
	s.stopIdle()
}

func (s *Session) leave() {
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
func (s *Session) startIdle() {
	s.stopIdle()
	if s.open == nil || s.users > 0 {
		return
	}
	if s.IdleTimeout == 0 {
		s.logoutCurrent()
		return
	}
	open := s.open
	s.stopIdle = s.Clock.AfterFunc(s.IdleTimeout, func() { s.logoutIdle(open) })
}

// logoutIdle ends the session if it is still that one and still unused.
func (s *Session) logoutIdle(o *opened) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == o && s.users == 0 {
		s.logoutCurrent()
	}
}
