package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// All that must never be told begins like this: passwords, keys, SessionIDs.
const (
	secret = "secret-"
	right  = secret + "right"
	wrong  = secret + "wrong"
	other  = secret + "other"
)

var (
	errKilled = errors.New("the process was killed")
	errStore  = errors.New("storage failed")
)

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }

// verdicts are what backend makes of a failure.
var verdicts = map[error]Verdict{
	ecgrid.ErrSessionExpired: {Dead: true, Refusal: true},
	ecgrid.ErrAuthentication: {MayBeDead: true, Refusal: true},
	ecgrid.ErrAccessDenied:   {MayBeDead: true, Refusal: true},
	ecgrid.ErrNotFound:       {MayBeDead: true, Refusal: true},
	ecgrid.ErrFault:          {MayBeDead: true, Refusal: true},
	ecgrid.ErrServerFault:    {MayBeDead: true, Faultless: true},
	ecgrid.ErrEmptyResult:    {Faultless: true},
}

func judge(err error) Verdict {
	for kind, v := range verdicts {
		if errors.Is(err, kind) {
			return v
		}
	}
	return Verdict{}
}

// sentLogin is a Login that ECGrid decided on.
type sentLogin struct {
	at       time.Time
	password string
	brought  bool
	refused  bool
}

// fake is ECGrid. What arrived there goes on whatever becomes of the caller.
type fake struct {
	mu            sync.Mutex
	before, after func(op string) time.Duration // until ECGrid decides, and until its answer is there
	password      string
	open          map[string]bool
	leaving       map[string]bool // a Logout of theirs is under way
	fail          map[string]error
	lose          map[string]error // by operation: it is carried out, and then this
	down          error            // nothing arrives; ErrTimeout is silence
	dead          error            // the answer to a dead session
	arriveDead    bool
	logoutDead    error // the answer to its Logout
	during        func(op string)
	decided       func(sentLogin)
	counts        map[string]int
	logins        []sentLogin
	most          int // sessions at once, those with a Logout under way excepted
	calls         int
	mostCalls     int
	next          int
}

func newFake() *fake {
	short := func(string) time.Duration { return 5 * time.Millisecond }
	return &fake{
		before: short, after: short, password: right, dead: ecgrid.ErrSessionExpired,
		open: map[string]bool{}, leaving: map[string]bool{}, counts: map[string]int{},
		fail: map[string]error{}, lose: map[string]error{},
	}
}

func opError(op string, kind error) error { return &ecgrid.Error{Op: op, Kind: kind, Sent: true} }

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// slow has every call of the operations take so long.
func (f *fake) slow(d time.Duration, ops ...string) {
	f.set(func() {
		f.before = func(op string) time.Duration {
			if strings.Contains(strings.Join(ops, " "), op) {
				return d
			}
			return 5 * time.Millisecond
		}
	})
}

func (f *fake) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

func (f *fake) sessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

func (f *fake) refused() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, l := range f.logins {
		if l.refused {
			n++
		}
	}
	return n
}

// kill ends all sessions at ECGrid.
func (f *fake) kill() { f.set(func() { clear(f.open) }) }

// call sends one call and waits for its answer as a real client does.
func (f *fake) call(ctx context.Context, op string, timeout time.Duration, decide func() error) error {
	f.mu.Lock()
	f.counts[op]++
	f.calls++
	f.mostCalls = max(f.mostCalls, f.calls)
	down, during, before, after := f.down, f.during, f.before(op), f.after(op)
	f.mu.Unlock()
	defer f.set(func() { f.calls-- })
	if during != nil {
		during(op)
	}
	if down != nil && !errors.Is(down, ecgrid.ErrTimeout) {
		return down
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer := make(chan error, 1)
	if down == nil {
		go func() {
			time.Sleep(before)
			err := f.decide(op, decide)
			time.Sleep(after)
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

func (f *fake) decide(op string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail[op]; err != nil {
		return opError(op, err)
	}
	err := do()
	if lost := f.lose[op]; lost != nil {
		return opError(op, lost)
	}
	return err
}

// login decides on a Login. Holds mu.
func (f *fake) login(password string, brought bool) (id string, err error) {
	l := sentLogin{at: time.Now(), password: password, brought: brought, refused: password != f.password}
	f.logins = append(f.logins, l)
	if f.decided != nil {
		f.decided(l)
	}
	if l.refused {
		return "", opError("Login", ecgrid.ErrAuthentication)
	}
	f.next++
	id = fmt.Sprintf("%ssession-%d", secret, f.next)
	f.open[id] = true
	f.measure()
	return id, nil
}

// measure counts the sessions that are open and not about to end. Holds mu.
func (f *fake) measure() {
	n := 0
	for id := range f.open {
		if !f.leaving[id] {
			n++
		}
	}
	f.most = max(f.most, n)
}

func (f *fake) alive(op, id string) error {
	if f.open[id] && !f.arriveDead {
		return nil
	}
	return opError(op, f.dead)
}

// store is Vault's storage; it outlives the processes.
type store struct {
	mu       sync.Mutex
	attempts []byte
	notes    map[string][]byte
	fail     map[string]bool // by method
	accesses int
}

func (s *store) noted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.notes)
}

// written counts the accesses that succeeded.
func (s *store) written() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accesses
}

// process is one life of the plugin: its client and its access to storage end with
// it. What ECGrid has got by then it still does.
type process struct {
	*testing.T
	*fake
	store   *store
	step    func(what string) // before and after each write and each call
	broken  func(method string) bool
	dead    chan struct{}
	killed  atomic.Bool
	ledger  *Ledger
	timeout time.Duration
	log     *logBuffer
}

func newProcess(t *testing.T, f *fake, s *store) *process {
	p := &process{T: t, fake: f, store: s, dead: make(chan struct{}), timeout: 15 * time.Second, log: &logBuffer{}}
	p.ledger = NewLedger(p, p.connect, judge, systemClock{}, rand.Reader, p.logger())
	t.Cleanup(func() {
		if strings.Contains(p.log.String(), secret) {
			t.Error("the log tells a secret")
		}
	})
	return p
}

// oneProcess is what most tests need.
func oneProcess(t *testing.T) (*process, *fake) {
	f := newFake()
	return newProcess(t, f, &store{notes: map[string][]byte{}}), f
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (p *process) logger() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: p.log})
}

func (p *process) kill() {
	if p.killed.CompareAndSwap(false, true) {
		close(p.dead)
	}
}

// restart is the next life, after a kill.
func (p *process) restart() *process {
	p.kill()
	next := newProcess(p.T, p.fake, p.store)
	next.timeout, next.broken = p.timeout, p.broken
	return next
}

func (p *process) connect(ecgrid.Endpoint) (ecgrid.Client, error) { return &client{process: p}, nil }

// at is a step at which the process may die.
func (p *process) at(what string) error {
	if p.step != nil {
		p.step(what)
	}
	if p.killed.Load() {
		return errKilled
	}
	return nil
}

// access is one access to storage. Like Vault's it takes time.
func (p *process) access(ctx context.Context, method string, do func() error) error {
	if err := p.at(method); err != nil {
		return err
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	case <-p.dead:
		return errKilled
	}
	broken := p.broken != nil && p.broken(method)
	err := func() error {
		p.store.mu.Lock()
		defer p.store.mu.Unlock()
		if broken || p.store.fail[method] {
			return errStore
		}
		p.store.accesses++
		return do()
	}()
	if err != nil {
		return err
	}
	return p.at(method + " done")
}

func (p *process) Attempts(ctx context.Context) (all []Attempt, err error) {
	err = p.access(ctx, "Attempts", func() error {
		if p.store.attempts == nil {
			return nil
		}
		return json.Unmarshal(p.store.attempts, &all)
	})
	return all, err
}

func (p *process) PutAttempts(ctx context.Context, attempts []Attempt) error {
	return p.access(ctx, "PutAttempts", func() (err error) {
		p.store.attempts, err = json.Marshal(attempts)
		return err
	})
}

func (p *process) Notes(ctx context.Context) (map[string]Note, error) {
	notes := map[string]Note{}
	err := p.access(ctx, "Notes", func() error {
		for id, raw := range maps.Clone(p.store.notes) {
			var n Note
			if err := json.Unmarshal(raw, &n); err != nil {
				return err
			}
			notes[id] = n
		}
		return nil
	})
	return notes, err
}

func (p *process) PutNote(ctx context.Context, id string, n Note) error {
	return p.access(ctx, "PutNote", func() (err error) {
		p.store.notes[id], err = json.Marshal(n)
		return err
	})
}

func (p *process) DeleteNote(ctx context.Context, id string) error {
	return p.access(ctx, "DeleteNote", func() error {
		delete(p.store.notes, id)
		return nil
	})
}

// client is ECGrid as a process sees it.
type client struct {
	*process
	ecgrid.Client // what a session does not call
	brought       bool
}

func (c *client) do(ctx context.Context, op string, timeout time.Duration, decide func() error) error {
	if err := c.at(op); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		var err error
		defer func() {
			if recover() != nil {
				err = errPanic
			}
			answer <- err
		}()
		err = c.call(ctx, op, timeout, decide)
	}()
	select {
	case err := <-answer:
		if errors.Is(err, errPanic) {
			panic(secret + "panic")
		}
		if killed := c.at(op + " done"); killed != nil {
			return killed
		}
		return err
	case <-c.dead:
		return errKilled
	}
}

var errPanic = errors.New("the call panics")

func (c *client) Login(ctx context.Context, _, password string) (string, error) {
	var id string
	err := c.do(ctx, "Login", LoginTimeout, func() (err error) {
		id, err = c.login(password, c.brought)
		return err
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (c *client) Logout(ctx context.Context, id string) error {
	c.set(func() { c.leaving[id] = true })
	return c.do(ctx, "Logout", c.timeout, func() error {
		if c.arriveDead {
			return c.logoutDead
		}
		if !c.open[id] {
			return opError("Logout", c.fake.dead)
		}
		delete(c.open, id)
		return nil
	})
}

func (c *client) WhoAmI(ctx context.Context, id string) (ecgrid.Session, error) {
	return ecgrid.Session{}, c.do(ctx, "WhoAmI", c.timeout, func() error { return c.alive("WhoAmI", id) })
}

func (c *client) UserGetAPIKey(ctx context.Context, id string, _ int32) (string, error) {
	return "", c.do(ctx, "UserGetAPIKey", c.timeout, func() error { return c.alive("UserGetAPIKey", id) })
}

func (c *client) Version(ctx context.Context) (string, error) {
	return "4.1", c.do(ctx, "Version", c.timeout, func() error { return nil })
}

func (c *client) Close() {}

func passwords(all ...string) (candidates []Candidate) {
	for _, p := range all {
		candidates = append(candidates, Candidate{Password: p, Mark: "mark of " + strings.TrimPrefix(p, secret)})
	}
	return candidates
}

// session is a new one on the ledger of the process, as after a reload of the config.
func (p *process) session(change ...func(*Config)) *Session {
	c := Config{
		Client: &client{process: p}, Login: "server login", LoginName: "login", Candidates: passwords(right),
		IdleTimeout: time.Minute, RequestTimeout: p.timeout, MaxConcurrent: 64,
		Ledger: p.ledger, Judge: judge, Clock: systemClock{}, Logger: p.logger(),
	}
	for _, ch := range change {
		ch(&c)
	}
	return New(c)
}

func with(all ...string) func(*Config) { return func(c *Config) { c.Candidates = passwords(all...) } }

func idle(d time.Duration) func(*Config) { return func(c *Config) { c.IdleTimeout = d } }

// bring is a write to config that brings a password.
func (p *process) bring(ctx context.Context, password string, change ...func(*Config)) (*Session, error) {
	s := p.session(append(change, with(password), func(c *Config) { c.Client = &client{process: p, brought: true} })...)
	return s, s.Verify(ctx, true)
}

// brings is bring of a write that is not stored.
func (p *process) brings(password string) error {
	s, err := p.bring(context.Background(), password)
	end(s)
	return told(p, err)
}

// told checks that an error tells no secret.
func told(p *process, err error) error {
	if err != nil && strings.Contains(err.Error(), secret) {
		p.Error("an error tells a secret")
	}
	return err
}

func key(s *Session) Call {
	return func(ctx context.Context, id string) error {
		_, err := s.Client.UserGetAPIKey(ctx, id, 5001)
		return err
	}
}

func read(s *Session) error { return readWithin(context.Background(), s) }

func readWithin(ctx context.Context, s *Session) error {
	err := s.Use(ctx, key(s))
	if err != nil && strings.Contains(err.Error(), secret) {
		panic("an error tells a secret")
	}
	return err
}

// end closes a session as the engine does.
func end(s *Session) {
	ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
	defer cancel()
	s.Close(ctx)
}

func atOnce(n int, do func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(do)
	}
	all.Wait()
}

// bubble runs a test in virtual time. Whatever goroutine is left at its end fails it.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, test)
	})
}
