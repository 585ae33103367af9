package backend

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// fakeECGrid keeps ECGrid's rules of sessions and keys in memory. Every call takes
// latency; under synctest that costs no time.
type fakeECGrid struct {
	latency time.Duration

	mu       sync.Mutex
	password string
	open     map[string]bool
	cap      int
	keys     map[int32]string
	users    []ecgrid.User
	fail     map[string]error // by operation, until deleted
	counts   map[string]int
	next     int
	policy   string // what the password policy makes
	tainted  atomic.Bool
	// lost are operations that are carried out and then fail.
	lost    map[string]error
	changes []string  // users' keys and passwords that were replaced, in order
	refused []refusal // logins with a wrong password, or into a full session table
	// late is how much later than its call each change lands; until then there is no
	// answer, and a client that does not wait keeps it from nothing.
	late   []time.Duration
	landed map[string]bool // keys that were made late
	// early compares the old password when the call comes, not when it lands.
	early  bool
	dead   error // what a dead session is answered with
	during func(op string)
	// replacing sees a user's key at the moment when the order to replace it comes.
	replacing func(ctx context.Context, userID int32, key string)
}

type refusal struct {
	brought bool // by an operator, just now
	at      time.Time
}

// operatorsKey marks a Login with what an operator has just brought.
type operatorsKey struct{}

func newFake() *fakeECGrid {
	return &fakeECGrid{
		latency:  10 * time.Millisecond,
		password: "right",
		open:     map[string]bool{},
		landed:   map[string]bool{},
		cap:      5,
		keys:     map[int32]string{5001: "key-5001", 5002: "key-5002"},
		fail:     map[string]error{},
		lost:     map[string]error{},
		counts:   map[string]int{},
		dead:     ecgrid.ErrSessionExpired,
	}
}

func opError(op string, kind error) error { return &ecgrid.Error{Op: op, Kind: kind, Sent: true} }

func (f *fakeECGrid) call(ctx context.Context, op string) error {
	f.mu.Lock()
	f.counts[op]++
	err, during, latency := f.fail[op], f.during, f.latency
	f.mu.Unlock()
	if during != nil {
		during(op)
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return opError(op, ecgrid.ErrTimeout)
	}
	if err != nil {
		return opError(op, err)
	}
	return nil
}

func (f *fakeECGrid) alive(op, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.open[id] && id != "api-key" {
		return opError(op, f.dead)
	}
	return nil
}

func (f *fakeECGrid) Login(ctx context.Context, _, password string) (string, error) {
	if err := f.call(ctx, "Login"); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if password != f.password || len(f.open) >= f.cap {
		brought := strings.HasPrefix(password, operatorsTypo) || ctx.Value(operatorsKey{}) == true
		f.refused = append(f.refused, refusal{brought, time.Now()})
		return "", opError("Login", ecgrid.ErrAuthentication)
	}
	f.next++
	id := fmt.Sprintf("session-%d", f.next)
	f.open[id] = true
	return id, nil
}

func (f *fakeECGrid) Logout(ctx context.Context, id string) error {
	if err := f.call(ctx, "Logout"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, id)
	return nil
}

func (f *fakeECGrid) WhoAmI(ctx context.Context, id string) (ecgrid.Session, error) {
	if err := f.call(ctx, "WhoAmI"); err != nil {
		return ecgrid.Session{}, err
	}
	return ecgrid.Session{UserID: 100}, f.alive("WhoAmI", id)
}

func (f *fakeECGrid) UserGetAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	if err := f.call(ctx, "UserGetAPIKey"); err != nil {
		return "", err
	}
	if err := f.alive("UserGetAPIKey", id); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	key, ok := f.keys[userID]
	switch {
	case !ok:
		return "", opError("UserGetAPIKey", ecgrid.ErrNotFound)
	case key == "":
		return "", opError("UserGetAPIKey", ecgrid.ErrEmptyResult)
	}
	return key, nil
}

func (f *fakeECGrid) GenerateAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	if err := f.call(ctx, "GenerateAPIKey"); err != nil {
		return "", err
	}
	if err := f.alive("GenerateAPIKey", id); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.keys[userID]; !ok {
		return "", opError("GenerateAPIKey", ecgrid.ErrNotFound)
	}
	if f.replacing != nil {
		f.replacing(ctx, userID, f.keys[userID])
	}
	late := len(f.late) > 0
	var key string
	err := f.land(ctx, "GenerateAPIKey", func() error {
		f.next++
		key = fmt.Sprintf("key-%d-%d", userID, f.next)
		f.keys[userID], f.landed[key] = key, late
		f.changes = append(f.changes, key)
		return f.answer("GenerateAPIKey")
	})
	return key, err
}

// land has a change made now, or late. Holds mu, but not while it waits.
func (f *fakeECGrid) land(ctx context.Context, op string, change func() error) error {
	if len(f.late) == 0 {
		return change()
	}
	var late time.Duration
	late, f.late = f.late[0], f.late[1:]
	answered := make(chan error, 1)
	go func() {
		time.Sleep(late)
		f.mu.Lock()
		defer f.mu.Unlock()
		answered <- change()
	}()
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return opError(op, ecgrid.ErrTimeout)
	}
}

func (f *fakeECGrid) ChangePassword(ctx context.Context, id, old, new string) error {
	if err := f.call(ctx, "ChangePassword"); err != nil {
		return err
	}
	if err := f.alive("ChangePassword", id); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.password
	return f.land(ctx, "ChangePassword", func() error {
		if !f.early {
			was = f.password
		}
		if old != was {
			return opError("ChangePassword", ecgrid.ErrAccessDenied)
		}
		f.password = new
		f.changes = append(f.changes, new)
		return f.answer("ChangePassword")
	})
}

// answer loses the answer of what was carried out. Holds mu.
func (f *fakeECGrid) answer(op string) error {
	if err := f.lost[op]; err != nil {
		return opError(op, err)
	}
	return nil
}

func (f *fakeECGrid) UserList(ctx context.Context, id, _ string) ([]ecgrid.User, error) {
	if err := f.call(ctx, "UserList"); err != nil {
		return nil, err
	}
	return f.users, f.alive("UserList", id)
}

func (f *fakeECGrid) Version(ctx context.Context) (string, error) {
	return "4.1", f.call(ctx, "Version")
}

func (f *fakeECGrid) Close() {}

func (f *fakeECGrid) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// key is the user's key of now.
func (f *fakeECGrid) key(userID int32) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.keys[userID]
}

// changed is how many keys and passwords were replaced.
func (f *fakeECGrid) changed() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.changes)
}

func (f *fakeECGrid) passwordOfNow() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.password
}

func (f *fakeECGrid) refusedLogins() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.refused)
}

// refusedIn is the most logins that were refused in any time so long, those left out
// that only an operator has tried.
func (f *fakeECGrid) refusedIn(window time.Duration) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	ours := slices.DeleteFunc(slices.Clone(f.refused), func(r refusal) bool { return r.brought })
	most := 0
	for i, first := range ours {
		n := 0
		for _, r := range ours[i:] {
			if r.at.Sub(first.at) < window {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// operatorsTypo begins a password that is never stored.
const operatorsTypo = "typo"

func (f *fakeECGrid) openSessions() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open)
}

// set changes the fake under its lock.
func (f *fakeECGrid) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// loses carries op out and then fails, until it is told nil.
func (f *fakeECGrid) loses(op string, err error) {
	f.set(func() { f.lost[op] = err })
}

// whenever has do called during every call.
func (f *fakeECGrid) whenever(do func(op string)) {
	f.set(func() { f.during = do })
}

// failWith makes op fail until it is told nil.
func (f *fakeECGrid) failWith(op string, err error) {
	f.set(func() { f.fail[op] = err })
}

// killSessions is what ECGrid does on expiry.
func (f *fakeECGrid) killSessions() {
	f.set(func() { clear(f.open) })
}

func (f *fakeECGrid) setKey(userID int32, key string) {
	f.set(func() { f.keys[userID] = key })
}

func testEngine(f *fakeECGrid, storage logical.Storage) *Engine {
	return testEngineAt(f, storage, func(ecgrid.Endpoint) (ecgrid.Client, error) { return f, nil })
}

func testEngineAt(f *fakeECGrid, storage logical.Storage, connect ecgrid.Connector) *Engine {
	return New(Options{
		Storage:            storage,
		Connect:            connect,
		Clock:              SystemClock{},
		Random:             rand.Reader,
		Logger:             hclog.NewNullLogger(),
		PasswordFromPolicy: func(context.Context, string) (string, error) { return f.policy, nil },
		DefaultLeaseTTL:    func() time.Duration { return 768 * time.Hour },
		MaxLeaseTTL:        func() time.Duration { return 768 * time.Hour },
		Tainted:            f.tainted.Load,
	})
}

// noManager is Community.
type noManager struct{}

func (noManager) Keep(context.Context, Schedule) bool { return false }

// configured gives an engine whose login is stored and not yet tried.
func configured(t *testing.T, f *fakeECGrid, change ...func(*Config)) (*Engine, *logical.InmemStorage) {
	t.Helper()
	c := defaultConfig()
	c.Username, c.Password = "login", "right"
	for _, ch := range change {
		ch(&c)
	}
	storage := new(logical.InmemStorage)
	e := testEngine(f, storage)
	if err := e.store.putConfig(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return e, storage
}

func ptr[T any](v T) *T { return &v }

// generation tells keys of user 5001 apart by age: the older, the smaller.
func (f *fakeECGrid) generation(key string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Index(f.changes, key)
}
