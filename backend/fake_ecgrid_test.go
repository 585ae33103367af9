// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// fakeECGrid is ECGrid in memory. The comment in kit_test.go says which rules it keeps to.
type fakeECGrid struct {
	policy  string // what Vault's password policy generates
	tainted atomic.Bool
	events  eventLog // what Vault was told

	mu sync.Mutex // guards the following
	fakeState
	latency     time.Duration
	maxSessions int
	users       []ecgrid.User
	nextID      int

	fail  map[string]error  // by operation: it fails and has no effect
	lost  map[string]error  // by operation: it takes effect and then fails
	fault error             // answers each change at once. It is applied only if applyAfter has a time for it
	hooks map[string]func() // by operation: called during the call
	onAny func(op string)   // called during every call
	// applyAfter delays the next changes of keys and passwords.
	applyAfter    []time.Duration
	delayed       map[string]bool // the keys of delayed changes
	comparesEarly bool
	// lifetime is what a Login states, lives is how long its session lives; 0 is for ever.
	lifetime, lives time.Duration
	// returnsOldKey makes a GenerateAPIKey return the key that it should replace.
	returnsOldKey bool
	// onReplace is called when a user's key is about to be replaced.
	onReplace func(ctx context.Context, userID int32, key string)
}

// fakeState is what tests look at.
type fakeState struct {
	password string
	keys     map[int32]string // by UserID
	sessions map[string]bool  // open ones, by SessionID
	calls    map[string]int   // by operation
	changes  []string         // the new keys and passwords, in the order of their changes
	refused  []refusal
}

// refusal is a Login with a wrong password or into a full session table.
type refusal struct {
	byOperator bool // the password is that of a config write
	at         time.Time
}

// operatorsKey marks the context of a Login with the password of a config write.
type operatorsKey struct{}

// operatorsTypo begins a password that is never stored.
const operatorsTypo = "typo"

func newFake() *fakeECGrid {
	return &fakeECGrid{
		latency:     10 * time.Millisecond,
		maxSessions: 5,
		fail:        map[string]error{},
		lost:        map[string]error{},
		hooks:       map[string]func(){},
		delayed:     map[string]bool{},
		fakeState: fakeState{
			password: "right",
			keys:     map[int32]string{5001: "key-5001", 5002: "key-5002"},
			sessions: map[string]bool{},
			calls:    map[string]int{},
		},
	}
}

// now returns a copy of the state.
func (f *fakeECGrid) now() fakeState {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.fakeState
	s.keys, s.sessions, s.calls = maps.Clone(s.keys), maps.Clone(s.sessions), maps.Clone(s.calls)
	s.changes, s.refused = slices.Clone(s.changes), slices.Clone(s.refused)
	return s
}

// set changes the fake under its lock.
func (f *fakeECGrid) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// failWith makes an operation fail without effect; nil ends that.
func (f *fakeECGrid) failWith(op string, err error) { f.set(func() { f.fail[op] = err }) }

// on has do called during each call of an operation; nil ends that.
func (f *fakeECGrid) on(op string, do func()) { f.set(func() { f.hooks[op] = do }) }

func checkChanges(t *testing.T, f *fakeECGrid, want int) {
	t.Helper()
	if n := len(f.now().changes); n != want {
		t.Errorf("%d keys and passwords were replaced, want %d", n, want)
	}
}

func checkCalls(t *testing.T, f *fakeECGrid, op string, want int) {
	t.Helper()
	if n := f.now().calls[op]; n != want {
		t.Errorf("%s was called %d times, want %d", op, n, want)
	}
}

func checkSessions(t *testing.T, f *fakeECGrid, most int) {
	t.Helper()
	if n := len(f.now().sessions); n > most {
		t.Errorf("%d sessions are open, want at most %d", n, most)
	}
}

// checkRefused checks that ECGrid refused at most so many logins in any 15 minutes. Those
// with the password of a config write do not count.
func checkRefused(t *testing.T, f *fakeECGrid, most int) {
	t.Helper()
	ours := slices.DeleteFunc(f.now().refused, func(r refusal) bool { return r.byOperator })
	for i, first := range ours {
		n := 0
		for _, r := range ours[i:] {
			if r.at.Sub(first.at) < 15*time.Minute {
				n++
			}
		}
		if n > most {
			t.Errorf("%d logins were refused within 15 minutes, want at most %d", n, most)
			return
		}
	}
}

// opError returns the failure of a call that was sent; nil for nil.
func opError(op string, kind error) error {
	if kind == nil {
		return nil
	}
	return &ecgrid.Error{Op: op, Kind: kind, Sent: true}
}

var (
	// noSession is the credential of a call that needs no session.
	noSession = ecgrid.Credential{Value: "none"}
	// goodAPIKey needs no session either.
	goodAPIKey = ecgrid.Credential{Value: "api-key", IsAPIKey: true}
)

// call is what all operations begin with.
func (f *fakeECGrid) call(ctx context.Context, op string, by ecgrid.Credential) error {
	f.mu.Lock()
	f.calls[op]++
	err, hook, onAny, latency := f.fail[op], f.hooks[op], f.onAny, f.latency
	f.mu.Unlock()
	if hook != nil {
		hook()
	}
	if onAny != nil {
		onAny(op)
	}
	select {
	case <-time.After(latency):
	case <-ctx.Done():
		return opError(op, ecgrid.ErrTimeout)
	}
	if err != nil {
		return opError(op, err)
	}
	if by != noSession && by != goodAPIKey && !f.now().sessions[by.Value] {
		return opError(op, ecgrid.ErrSessionExpired)
	}
	return nil
}

func (f *fakeECGrid) Login(ctx context.Context, _, password string) (ecgrid.LoginResult, error) {
	if err := f.call(ctx, "Login", noSession); err != nil {
		return ecgrid.LoginResult{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if password != f.password || len(f.sessions) >= f.maxSessions {
		byOperator := strings.HasPrefix(password, operatorsTypo) || ctx.Value(operatorsKey{}) == true
		f.refused = append(f.refused, refusal{byOperator, time.Now()})
		return ecgrid.LoginResult{}, opError("Login", ecgrid.ErrAuthentication)
	}
	f.nextID++
	id := fmt.Sprintf("session-%d", f.nextID)
	f.sessions[id] = true
	if f.lives > 0 {
		time.AfterFunc(f.lives, func() { f.set(func() { delete(f.sessions, id) }) })
	}
	return ecgrid.LoginResult{SessionID: id, Lifetime: f.lifetime}, nil
}

func (f *fakeECGrid) Logout(ctx context.Context, by ecgrid.Credential) error {
	if err := f.call(ctx, "Logout", noSession); err != nil {
		return err
	}
	f.set(func() { delete(f.sessions, by.Value) })
	return nil
}

func (f *fakeECGrid) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	return ecgrid.Session{UserID: 100}, f.call(ctx, "WhoAmI", by)
}

func (f *fakeECGrid) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	if err := f.call(ctx, "UserGetAPIKey", by); err != nil {
		return "", err
	}
	key, ok := f.now().keys[userID]
	switch {
	case !ok:
		return "", opError("UserGetAPIKey", ecgrid.ErrNotFound)
	case key == "":
		return "", opError("UserGetAPIKey", ecgrid.ErrEmptyResult)
	}
	return key, nil
}

func (f *fakeECGrid) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	if err := f.call(ctx, "GenerateAPIKey", by); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.keys[userID]
	if !ok {
		return "", opError("GenerateAPIKey", ecgrid.ErrNotFound)
	}
	if f.returnsOldKey {
		return old, nil
	}
	if f.onReplace != nil {
		f.onReplace(ctx, userID, old)
	}
	delayed, key := len(f.applyAfter) > 0, ""
	err := f.apply(ctx, "GenerateAPIKey", func() error {
		f.nextID++
		key = fmt.Sprintf("key-%d-%d", userID, f.nextID)
		f.keys[userID], f.delayed[key] = key, delayed
		f.changes = append(f.changes, key)
		return nil
	})
	return key, err
}

func (f *fakeECGrid) ChangePassword(ctx context.Context, by ecgrid.Credential, old, new string) error {
	if err := f.call(ctx, "ChangePassword", by); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.password
	return f.apply(ctx, "ChangePassword", func() error {
		if !f.comparesEarly {
			was = f.password
		}
		if old != was {
			return opError("ChangePassword", ecgrid.ErrAccessDenied)
		}
		f.password = new
		f.changes = append(f.changes, new)
		return nil
	})
}

// apply applies a change now or later. The caller holds mu, which is free while apply waits.
func (f *fakeECGrid) apply(ctx context.Context, op string, change func() error) error {
	if len(f.applyAfter) == 0 {
		if f.fault != nil {
			return opError(op, f.fault)
		}
		return cmp.Or(change(), opError(op, f.lost[op]))
	}
	answer := make(chan error, 1)
	time.AfterFunc(f.applyAfter[0], func() {
		f.set(func() { answer <- cmp.Or(change(), opError(op, f.lost[op])) })
	})
	f.applyAfter = f.applyAfter[1:]
	if f.fault != nil {
		return opError(op, f.fault)
	}
	f.mu.Unlock()
	defer f.mu.Lock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return opError(op, ecgrid.ErrTimeout)
	}
}

func (f *fakeECGrid) UserList(ctx context.Context, by ecgrid.Credential) ([]ecgrid.User, error) {
	return f.users, f.call(ctx, "UserList", by)
}

func (f *fakeECGrid) Version(ctx context.Context) (string, error) {
	return "4.1", f.call(ctx, "Version", noSession)
}

func (f *fakeECGrid) Close() {}
