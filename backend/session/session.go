// SPDX-License-Identifier: MPL-2.0

// Package session shares one ECGrid session among all requests of a login.
//
// ECGrid allows about 5 open sessions per user, does not reliably close abandoned
// ones, and may lock an account after refused logins. Therefore this package:
//
//   - opens a session when a request needs one (login.go);
//   - opens the next one before its lifetime ends, if ECGrid told it (renewal.go);
//   - checks with WhoAmI whether the session is alive after an unclear fault (call.go);
//   - logs out when the session is idle or closed (logout.go);
//   - paces Logins after failed ones (login_pacing.go);
//   - stores failed Logins for the next process (login_attempts.go);
//   - notes each session in storage, and logs out those that a killed process left
//     open (session_notes.go, leftover_sessions.go).
package session

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// LogoutTimeout bounds one Logout and the end of a Session. Vault unmounts and
	// seals with its locks held, so it must be short.
	LogoutTimeout = 3 * time.Second
	// LoginTimeout bounds one Login. It may be longer than the request that needs the
	// session: a Login that is cut off may leave a session open.
	LoginTimeout = time.Minute
	// drainTimeout is the time that requests have to finish before their session ends.
	drainTimeout = time.Second
)

// The errors of this package; match them with errors.Is.
var (
	// ErrRefused: ECGrid does not accept the login or the API key.
	ErrRefused = errors.New("ECGrid refused the login")
	// ErrPaused: too many recent Logins were refused or lost.
	ErrPaused = errors.New("logins are paused")
	// ErrTooSoon: after recent failed Logins, a password change could pause the login.
	ErrTooSoon = errors.New("logins were refused or not answered a short while ago")
	// ErrClosed: this Session was closed; use the one that replaced it.
	ErrClosed = errors.New("the session is closed")
)

// Clock tells the time. Tests replace it.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f in its own goroutine after d. Stop works as in time.Timer.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// Verdict is what a failed call says about its session.
type Verdict struct {
	Dead         bool // the session is dead
	MaybeDead    bool // WhoAmI has to tell whether it is
	Refusal      bool // ECGrid blames the credential or the SessionID
	Inconclusive bool // ECGrid answered without blaming the caller
	Faulted      bool // ECGrid says that it failed itself
}

// Candidate is a password that the login may have. Mark is a fingerprint of it.
type Candidate struct {
	Password string
	Mark     string
}

// Config is one login at one endpoint.
type Config struct {
	Client   ecgrid.Client
	Endpoint ecgrid.Endpoint
	// Login identifies the login in the Ledger. LoginName is what ECGrid calls it.
	Login, LoginName string
	// Candidates are tried in turn until ECGrid accepts one. There are several while
	// the result of a password change is unconfirmed.
	Candidates []Candidate
	// APIKey replaces the SessionID if it is set. There is no Login then.
	APIKey string
	// IdleTimeout is how long an unused session stays open. With 0 it is logged out
	// after the last request.
	IdleTimeout time.Duration
	// RequestTimeout is how long a request waits for a Login.
	RequestTimeout time.Duration
	// MaxConcurrent limits concurrent calls.
	MaxConcurrent int

	Ledger *Ledger
	// Classify tells what a failed call means.
	Classify func(error) Verdict
	// LoginEnded, if set, is called with one of LoginResults after each Login.
	LoginEnded func(result string)
	// Switched, if set, is called after a Login with a candidate other than the first.
	Switched func()
	Clock    Clock
	Logger   hclog.Logger
}

// Session is the shared session of a login. It is safe for concurrent use.
type Session struct {
	Config
	calls     *semaphore.Weighted // limits concurrent calls
	apiKey    *openSession        // stands for a session if there is an API key; else nil
	fromWrite atomic.Bool         // a config write verifies its credential

	mu         sync.Mutex     // guards the fields below
	candidates []Candidate    // Config.Candidates and added ones
	password   string         // what ECGrid last accepted; "" if unknown
	current    *openSession   // nil if no session is open
	retiring   *openSession   // was renewed and is still used by calls; or nil
	held       int            // no renewal is started while it is above 0
	login      *loginInFlight // nil if requests wait for none
	requests   int            // in progress
	drained    chan struct{}  // closed when requests falls to 0; nil if nobody waits for it
	closed     bool           // no more Logins
	idleSince  time.Time      // when requests fell to 0
	stopTimer  func() bool    // stops the idle timer; nil if it does not run
}

// openSession is a session that ECGrid opened.
type openSession struct {
	credential ecgrid.Credential
	password   string
	loginSent  time.Time
	lifetime   time.Duration // 0: it has no end that is known
	entry      *entry        // in the ledger
	worked     bool          // a call with it succeeded
	dead       bool          // a call with it showed that
	inUse      int           // calls with it that are in progress
	renewal    bool          // the Login that is to replace it was started
}

// New returns a Session without an open session. It does no I/O.
func New(c Config) *Session {
	s := &Session{
		Config:     c,
		candidates: c.Candidates,
		calls:      semaphore.NewWeighted(int64(c.MaxConcurrent)),
	}
	if c.APIKey != "" {
		s.apiKey = &openSession{credential: ecgrid.Credential{Value: c.APIKey, IsAPIKey: true}, worked: true}
	}
	return s
}

// OpenSessions returns how many sessions are open. An API key needs none.
func (s *Session) OpenSessions() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		n++
	}
	if s.retiring != nil {
		n++
	}
	return n
}

// AddCandidates adds passwords that the login may have from now on.
func (s *Session) AddCandidates(candidates []Candidate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range candidates {
		if !slices.Contains(s.candidates, c) {
			// Second in line: it is more likely than older candidates.
			s.candidates = slices.Insert(slices.Clone(s.candidates), 1, c)
		}
	}
}

// SetPassword records the password that a confirmed change gave the login.
func (s *Session) SetPassword(password string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.password = password
}

// Password returns the password of the last Login, or of a later SetPassword. It is ""
// before the first Login.
func (s *Session) Password() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.password
}
