// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// process is one process of the plugin: all its operations on storage and on ECGrid.
type process struct {
	logical.Storage
	ecgrid.Client
	// at sees each step, if it is not nil. It may block. Its error becomes that of the
	// operation.
	at           func(step) error
	dead, buried chan struct{}
}

// step is one half of an operation: the call or its answer.
type step struct {
	op   string
	key  string // of the entry in storage; "" for ECGrid
	done bool   // the operation was carried out, and its answer comes
}

func (s step) isECGrid() bool { return s.key == "" }

var errKilled = errors.New("the process was killed")

func newProcess(storage logical.Storage, client ecgrid.Client, at func(step) error) *process {
	return &process{Storage: storage, Client: client, at: at, dead: make(chan struct{}), buried: make(chan struct{})}
}

// startProcess returns an engine of the mount in storage that runs as a process.
func startProcess(t *testing.T, f *fakeECGrid, storage logical.Storage, at func(step) error) (*Engine, *process) {
	p := newProcess(storage, f, at)
	e := testEngineAt(t, f, p, connectTo(p))
	t.Cleanup(func() {
		if p.isDead() {
			close(p.buried)
			e.Close()
			time.Sleep(2 * time.Minute)
		}
	})
	return e, p
}

func (p *process) kill() { close(p.dead) }

func (p *process) isDead() bool { return isClosed(p.dead) }

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (p *process) pass(s step) (err error) {
	if p.at != nil {
		err = p.at(s)
	}
	if p.isDead() {
		<-p.buried
		return errKilled
	}
	return err
}

func stepped[T any](p *process, s step, do func() (T, error)) (T, error) {
	var zero T
	if err := p.pass(s); err != nil {
		return zero, err
	}
	result, err := do()
	s.done = true
	if broken := p.pass(s); broken != nil {
		return zero, broken
	}
	return result, err
}

func steppedErr(p *process, s step, do func() error) error {
	return errOf(stepped(p, s, func() (struct{}, error) { return struct{}{}, do() }))
}

func (p *process) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	return stepped(p, step{op: "Get", key: key}, func() (*logical.StorageEntry, error) { return p.Storage.Get(ctx, key) })
}

func (p *process) List(ctx context.Context, prefix string) ([]string, error) {
	return stepped(p, step{op: "List", key: prefix}, func() ([]string, error) { return p.Storage.List(ctx, prefix) })
}

func (p *process) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return steppedErr(p, step{op: "Put", key: entry.Key}, func() error { return p.Storage.Put(ctx, entry) })
}

func (p *process) Delete(ctx context.Context, key string) error {
	return steppedErr(p, step{op: "Delete", key: key}, func() error { return p.Storage.Delete(ctx, key) })
}

func (p *process) Login(ctx context.Context, name, password string) (ecgrid.LoginResult, error) {
	return stepped(p, step{op: "Login"}, func() (ecgrid.LoginResult, error) { return p.Client.Login(ctx, name, password) })
}

func (p *process) Logout(ctx context.Context, by ecgrid.Credential) error {
	return steppedErr(p, step{op: "Logout"}, func() error { return p.Client.Logout(ctx, by) })
}

func (p *process) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	return stepped(p, step{op: "WhoAmI"}, func() (ecgrid.Session, error) { return p.Client.WhoAmI(ctx, by) })
}

func (p *process) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return stepped(p, step{op: "UserGetAPIKey"}, func() (string, error) { return p.Client.UserGetAPIKey(ctx, by, userID) })
}

func (p *process) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return stepped(p, step{op: "GenerateAPIKey"}, func() (string, error) { return p.Client.GenerateAPIKey(ctx, by, userID) })
}

func (p *process) ChangePassword(ctx context.Context, by ecgrid.Credential, old, new string) error {
	return steppedErr(p, step{op: "ChangePassword"}, func() error { return p.Client.ChangePassword(ctx, by, old, new) })
}

// unconfirmedErrors are the failures after which a change may have been applied.
var unconfirmedErrors = []error{
	ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer,
	ecgrid.ErrEmptyResult, ecgrid.ErrServerFault, ecgrid.ErrFault,
}

// breakEachStep runs a test again and again, with another step broken each time: the
// process is killed there, or the step fails in one of the ways. There must be at least
// so many steps.
func breakEachStep(t *testing.T, least int, test func(t *testing.T, b *breakage)) {
	for _, err := range append([]error{nil}, unconfirmedErrors...) {
		t.Run(fmt.Sprint(cmp.Or(err, errKilled)), func(t *testing.T) {
			t.Parallel()
			for nth := 1; !t.Failed(); nth++ {
				b := &breakage{nth: nth, err: err}
				synctest.Test(t, func(t *testing.T) { test(t, b) })
				if b.broken != nil {
					continue
				}
				if nth < least {
					t.Errorf("the process made only %d steps", nth)
				}
				return
			}
		})
	}
}

// breakage breaks the nth step of a process, counted from 1. The step fails with err. If
// err is nil, the process is killed.
type breakage struct {
	nth     int
	err     error
	process *process

	mu     sync.Mutex // guards the following
	count  int
	broken *step
	over   bool
}

func (b *breakage) String() string { return fmt.Sprintf("broken at step %d, %+v", b.nth, b.broken) }

// run starts a process and runs do in it, until do ends or the process is killed. After
// that no step is broken.
func (b *breakage) run(t *testing.T, f *fakeECGrid, storage logical.Storage, do func(e *Engine)) (e *Engine, killed bool) {
	e, b.process = startProcess(t, f, storage, b.at)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do(e)
	}()
	select {
	case <-ended:
	case <-b.process.dead:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
	return e, b.process.isDead()
}

func (b *breakage) at(s step) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count++
	if b.count != b.nth || b.over {
		return nil
	}
	b.broken = &s
	switch {
	case b.err == nil:
		b.process.kill()
		return nil
	case s.op == "UserGetAPIKey" && b.err == ecgrid.ErrEmptyResult:
		return opError(s.op, ecgrid.ErrBadAnswer) // an empty result means a user without a key
	case s.isECGrid():
		return opError(s.op, b.err)
	}
	return errAny
}
