// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// verdicts are how backend classifies a failure.
var verdicts = map[error]Verdict{
	ecgrid.ErrSessionExpired: {Dead: true, Refusal: true},
	ecgrid.ErrAuthentication: {MaybeDead: true, Refusal: true},
	ecgrid.ErrAccessDenied:   {MaybeDead: true, Refusal: true},
	ecgrid.ErrNotFound:       {MaybeDead: true, Refusal: true},
	ecgrid.ErrFault:          {MaybeDead: true, Refusal: true},
	ecgrid.ErrServerFault:    {MaybeDead: true, Inconclusive: true, Faulted: true},
	ecgrid.ErrEmptyResult:    {Inconclusive: true},
}

func classify(err error) Verdict {
	for kind, v := range verdicts {
		if errors.Is(err, kind) {
			return v
		}
	}
	return Verdict{}
}

func opError(op string, kind error) error { return &ecgrid.Error{Op: op, Kind: kind, Sent: true} }

// fakeECGrid carries out every call that arrives, even if its caller is gone.
type fakeECGrid struct {
	mu sync.Mutex // guards the fields below

	// State.
	password string
	open     map[string]bool // by SessionID
	closing  map[string]bool // by SessionID: its Logout is under way
	lifetime time.Duration   // that a Login states
	cap      int             // of open sessions; 0: none

	// How calls go. Maps are by operation.
	decideDelay   func(op string) time.Duration // until a call is carried out
	answerDelay   func(op string) time.Duration // from then until the answer arrives
	fail          map[string]error              // it is not carried out
	lose          map[string]error              // it is carried out, and the caller gets this error
	down          error                         // no call arrives; ErrTimeout is silence
	deadFault     error                         // the answer to a dead session
	deadOnArrival bool                          // sessions are dead from the start
	logoutFault   error                         // the answer to the Logout of such a session
	onCall        func(op string)
	onLogin       func(decidedLogin)
	onOpen        func(sessionID string)

	// What happened.
	counts      map[string]int
	logins      []decidedLogin
	maxSessions int // open at once, without those whose Logout is under way
	calls       int // in progress
	maxCalls    int // at once
}

// decidedLogin is a Login that ECGrid accepted or refused.
type decidedLogin struct {
	at        time.Time
	password  string
	fromWrite bool
	refused   bool
}

func newFakeECGrid() *fakeECGrid {
	return &fakeECGrid{
		decideDelay: delay(5 * time.Millisecond), answerDelay: delay(5 * time.Millisecond),
		password: right, deadFault: ecgrid.ErrSessionExpired,
		open: map[string]bool{}, closing: map[string]bool{}, counts: map[string]int{},
		fail: map[string]error{}, lose: map[string]error{},
	}
}

func delay(d time.Duration) func(string) time.Duration {
	return func(string) time.Duration { return d }
}

// set changes fields while calls may be in progress.
func (f *fakeECGrid) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// slow makes each call of the operations take d, and other calls 5 ms.
func (f *fakeECGrid) slow(d time.Duration, ops ...string) {
	f.set(func() {
		f.decideDelay = func(op string) time.Duration {
			if slices.Contains(ops, op) {
				return d
			}
			return 5 * time.Millisecond
		}
	})
}

func (f *fakeECGrid) killSessions() { f.set(func() { clear(f.open) }) }

func (f *fakeECGrid) count(op string) (n int) {
	f.set(func() { n = f.counts[op] })
	return n
}

func (f *fakeECGrid) sessions() (n int) {
	f.set(func() { n = len(f.open) })
	return n
}

func (f *fakeECGrid) refused() (n int) {
	f.set(func() {
		for _, l := range f.logins {
			if l.refused {
				n++
			}
		}
	})
	return n
}

// tried returns the passwords of all Logins in order, without their prefix.
func (f *fakeECGrid) tried() (passwords []string) {
	f.set(func() {
		for _, l := range f.logins {
			passwords = append(passwords, l.password[len(secret):])
		}
	})
	return passwords
}

// call sends one call and waits for its answer until ctx ends.
func (f *fakeECGrid) call(ctx context.Context, op string, carryOut func() error) error {
	f.mu.Lock()
	f.counts[op]++
	f.calls++
	f.maxCalls = max(f.maxCalls, f.calls)
	down, onCall, decideDelay, answerDelay := f.down, f.onCall, f.decideDelay(op), f.answerDelay(op)
	f.mu.Unlock()
	defer f.set(func() { f.calls-- })
	if onCall != nil {
		onCall(op)
	}
	if down != nil && !errors.Is(down, ecgrid.ErrTimeout) {
		return down
	}
	answer := make(chan error, 1)
	if down == nil {
		go func() {
			time.Sleep(decideDelay)
			err := f.decide(op, carryOut)
			time.Sleep(answerDelay)
			answer <- err
		}()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return opError(op, ecgrid.ErrTimeout)
	}
}

func (f *fakeECGrid) decide(op string, carryOut func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[op]; err != nil {
		return opError(op, err)
	}
	err := carryOut()
	if lost := f.lose[op]; lost != nil {
		return opError(op, lost)
	}
	return err
}

// login carries out a Login. The caller holds mu.
func (f *fakeECGrid) login(password string, fromWrite bool) (id string, err error) {
	l := decidedLogin{at: time.Now(), password: password, fromWrite: fromWrite, refused: password != f.password || f.cap > 0 && len(f.open) >= f.cap}
	f.logins = append(f.logins, l)
	if f.onLogin != nil {
		f.onLogin(l)
	}
	if l.refused {
		return "", opError("Login", ecgrid.ErrAuthentication)
	}
	id = fmt.Sprintf("%ssession-%d", secret, len(f.logins))
	f.open[id] = true
	if f.onOpen != nil {
		f.onOpen(id)
	}
	n := 0
	for id := range f.open {
		if !f.closing[id] {
			n++
		}
	}
	f.maxSessions = max(f.maxSessions, n)
	return id, nil
}

// client is ECGrid as a process calls it.
type client struct {
	*process
	ecgrid.Client // operations that a session does not call
	fromWrite     bool
}

func (c *client) call(ctx context.Context, op string, timeout time.Duration, carryOut func() error) error {
	if err := c.step(op); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	err := c.ecgrid.call(ctx, op, carryOut)
	if killed := c.step(op + " done"); killed != nil {
		return killed
	}
	return err
}

// callWith makes a call that fails if its session is dead.
func (c *client) callWith(ctx context.Context, op, id string) error {
	return c.call(ctx, op, c.timeout, func() error {
		if c.ecgrid.open[id] && !c.ecgrid.deadOnArrival {
			return nil
		}
		return opError(op, c.ecgrid.deadFault)
	})
}

func (c *client) Login(ctx context.Context, _, password string) (ecgrid.LoginResult, error) {
	var id string
	err := c.call(ctx, "Login", LoginTimeout, func() (err error) {
		id, err = c.ecgrid.login(password, c.fromWrite)
		return err
	})
	if err != nil {
		return ecgrid.LoginResult{}, err
	}
	return ecgrid.LoginResult{SessionID: id, Lifetime: c.ecgrid.lifetime}, nil
}

func (c *client) Logout(ctx context.Context, by ecgrid.Credential) error {
	f, id := c.ecgrid, by.Value
	f.set(func() { f.closing[id] = true })
	return c.call(ctx, "Logout", c.timeout, func() error {
		if f.deadOnArrival {
			return f.logoutFault
		}
		if !f.open[id] {
			return opError("Logout", f.deadFault)
		}
		delete(f.open, id)
		return nil
	})
}

func (c *client) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	return ecgrid.Session{}, c.callWith(ctx, "WhoAmI", by.Value)
}

func (c *client) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, _ int32) (string, error) {
	return "", c.callWith(ctx, "UserGetAPIKey", by.Value)
}

func (c *client) Version(ctx context.Context) (string, error) {
	return "4.1", c.call(ctx, "Version", c.timeout, func() error { return nil })
}

func (c *client) Close() {}
