// Package backend is what the engine means: what is stored, when ECGrid is asked,
// what its answers amount to. It knows neither Vault's request fields nor SOAP.
package backend

import (
	"context"
	"encoding/binary"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// Options are what an Engine gets from outside.
type Options struct {
	Storage logical.Storage
	Connect ecgrid.Connector
	Clock   Clock
	Random  io.Reader
	Logger  hclog.Logger
	// PasswordFromPolicy makes a password by a Vault password policy.
	PasswordFromPolicy func(ctx context.Context, policy string) (string, error)
	// DefaultLeaseTTL and MaxLeaseTTL are the mount's; 0 where they could not be asked.
	DefaultLeaseTTL, MaxLeaseTTL func() time.Duration
	// Tainted tells that the mount is being removed or moved.
	Tainted func() bool
}

// Engine is one mount: one stored config and what lives in memory because of it.
// All methods are safe for concurrent use.
type Engine struct {
	Options
	store  *store
	agenda *agenda
	ledger *session.Ledger
	users  *users

	// configLock is held from before the read that a change of the config depends
	// on until the change is stored and in use. A Login, or a change of the password,
	// may be made under it, so waiting for it ends with the request. Reads of keys,
	// of the config and of roles never wait for it.
	configLock *semaphore.Weighted
	rolesLock  *semaphore.Weighted // held for the read and the write of a role, never for a call
	accounts   accounts

	round    atomic.Bool // a round of Tick is under way
	settling atomic.Bool // settleInBackground runs
	wake     chan struct{}
	breakOff atomic.Pointer[context.CancelFunc] // of what settles in the background now

	life context.Context // ends with Close
	end  context.CancelFunc
}

// New makes the Engine of a mount. It does no I/O.
func New(o Options) *Engine {
	a := newAgenda()
	e := &Engine{
		Options:    o,
		store:      newStore(o.Storage, a),
		agenda:     a,
		users:      newUsers(),
		configLock: semaphore.NewWeighted(1),
		rolesLock:  semaphore.NewWeighted(1),
	}
	e.ledger = session.NewLedger(e.store, o.Connect, judge, o.Clock, o.Random, o.Logger)
	e.wake = make(chan struct{}, 1)
	e.life, e.end = context.WithCancel(context.Background())
	return e
}

// Start settles, in the background, what a crash left open: Vault's take-over waits
// for every mount. It is for the active node.
func (e *Engine) Start() { e.settleInBackground(0) }

// Invalidate forgets what was read from a storage key that another node has changed.
func (e *Engine) Invalidate(key string) {
	if !e.store.invalidate(key) {
		return
	}
	if old := e.accounts.swap(nil); old != nil {
		e.inBackground(func(context.Context) { e.closeLink(old.link) }) // Vault waits for no Logout here
	}
}

// Close ends the mount in this process: it logs out, bounded at
// session.LogoutTimeout, and opens no session any more. It is idempotent.
func (e *Engine) Close() {
	e.end()
	links := e.accounts.close()
	var all sync.WaitGroup
	for _, l := range links {
		all.Go(func() { e.closeLink(l) })
	}
	all.Wait()
}

// inBackground runs do beside the requests; its context ends with the Engine.
func (e *Engine) inBackground(do func(ctx context.Context)) {
	go func() {
		var err error
		defer panics.Recover(e.Logger, &err)
		do(e.life)
	}()
}

// fraction is random, from 0 to 1; 0 where there is no randomness, since it only
// spreads load.
func (e *Engine) fraction() float64 {
	var b [4]byte
	if _, err := io.ReadFull(e.Random, b[:]); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
}
