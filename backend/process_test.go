package backend

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// process is all that one process of the plugin touches: storage and ECGrid. Each
// operation has two steps: before it is carried out, and when its answer comes. at
// says what becomes of a step: an error is the operation's, and at may block.
type process struct {
	logical.Storage
	ecgrid.Client
	at func(step) error
}

type step struct {
	op     string
	done   bool // the answer comes
	ecgrid bool
}

// start gives a new process of the mount in storage.
func start(f *fakeECGrid, storage logical.Storage, at func(step) error) (*Engine, *process) {
	p := &process{Storage: storage, Client: f, at: at}
	return testEngineAt(f, p, func(ecgrid.Endpoint) (ecgrid.Client, error) { return p, nil }), p
}

func stepped[T any](p *process, s step, do func() (T, error)) (T, error) {
	var zero T
	if err := p.at(s); err != nil {
		return zero, err
	}
	result, err := do()
	s.done = true
	if broken := p.at(s); broken != nil {
		return zero, broken
	}
	return result, err
}

func steppedErr(p *process, s step, do func() error) error {
	_, err := stepped(p, s, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

func (p *process) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	return stepped(p, step{op: "Get"}, func() (*logical.StorageEntry, error) { return p.Storage.Get(ctx, key) })
}

func (p *process) List(ctx context.Context, prefix string) ([]string, error) {
	return stepped(p, step{op: "List"}, func() ([]string, error) { return p.Storage.List(ctx, prefix) })
}

func (p *process) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return steppedErr(p, step{op: "Put"}, func() error { return p.Storage.Put(ctx, entry) })
}

func (p *process) Delete(ctx context.Context, key string) error {
	return steppedErr(p, step{op: "Delete"}, func() error { return p.Storage.Delete(ctx, key) })
}

func (p *process) Login(ctx context.Context, name, password string) (string, error) {
	return stepped(p, step{op: "Login", ecgrid: true}, func() (string, error) { return p.Client.Login(ctx, name, password) })
}

func (p *process) Logout(ctx context.Context, id string) error {
	return steppedErr(p, step{op: "Logout", ecgrid: true}, func() error { return p.Client.Logout(ctx, id) })
}

func (p *process) WhoAmI(ctx context.Context, id string) (ecgrid.Session, error) {
	return stepped(p, step{op: "WhoAmI", ecgrid: true}, func() (ecgrid.Session, error) { return p.Client.WhoAmI(ctx, id) })
}

func (p *process) UserGetAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	return stepped(p, step{op: "UserGetAPIKey", ecgrid: true}, func() (string, error) { return p.Client.UserGetAPIKey(ctx, id, userID) })
}

func (p *process) GenerateAPIKey(ctx context.Context, id string, userID int32) (string, error) {
	return stepped(p, step{op: "GenerateAPIKey", ecgrid: true}, func() (string, error) { return p.Client.GenerateAPIKey(ctx, id, userID) })
}

func (p *process) ChangePassword(ctx context.Context, id, old, new string) error {
	return steppedErr(p, step{op: "ChangePassword", ecgrid: true}, func() error { return p.Client.ChangePassword(ctx, id, old, new) })
}

// trouble breaks the nth step, counted from 1: the process is killed there, or the
// step fails and all goes on.
type trouble struct {
	nth  int
	kill bool
	kind error // of a failure of ECGrid

	mu     sync.Mutex
	count  int
	sent   bool          // a change of the password was
	broken *step         // which it was
	dead   chan struct{} // closed when the process is killed
	buried chan struct{} // then what was killed may end
}

func newTrouble(nth int, kill bool, kind error) *trouble {
	return &trouble{nth: nth, kill: kill, kind: kind, dead: make(chan struct{}), buried: make(chan struct{})}
}

func (b *trouble) at(s step) error {
	b.mu.Lock()
	b.count++
	b.sent = b.sent || s.op == "ChangePassword"
	if b.count == b.nth {
		b.broken = &s
		if b.kill {
			close(b.dead)
		}
	}
	failed, killed := b.count == b.nth, b.kill && b.broken != nil
	b.mu.Unlock()
	switch {
	case killed:
		<-b.buried
		return errKilled
	case failed && s.op == "UserGetAPIKey" && b.kind == ecgrid.ErrEmptyResult:
		return opError(s.op, ecgrid.ErrBadAnswer) // an empty result there is a user without a key
	case failed && s.ecgrid:
		return opError(s.op, b.kind)
	case failed:
		return errAny
	}
	return nil
}

var errKilled = errors.New("the process is dead")

// run does what the process shall do until it ends or is killed.
func (b *trouble) run(do func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	select {
	case <-ended:
	case <-b.dead:
	}
}

// wasSent tells whether a change of the password was ordered.
func (b *trouble) wasSent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sent
}

func (b *trouble) isDead() bool {
	select {
	case <-b.dead:
		return true
	default:
		return false
	}
}

// over ends the trouble. It tells whether there was none: all steps have been seen.
func (b *trouble) over() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.broken == nil {
		b.nth = 0
	}
	return b.broken == nil
}

// calm is a process without trouble.
func calm(step) error { return nil }

// troubles are all ways in which a step may break.
func troubles() map[string]func(nth int) *trouble {
	all := map[string]func(int) *trouble{"killed": func(nth int) *trouble { return newTrouble(nth, true, nil) }}
	for _, kind := range inDoubt {
		all[kind.Error()] = func(nth int) *trouble { return newTrouble(nth, false, kind) }
	}
	return all
}

// inDoubt are the failures after which a change may have been made.
var inDoubt = []error{
	ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer,
	ecgrid.ErrEmptyResult, ecgrid.ErrServerFault, ecgrid.ErrFault,
}
