// Package backend is what the engine means: what is stored, when ECGrid is asked,
// what its answers amount to. It knows neither Vault's request fields nor SOAP.
package backend

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/salt"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Options are what an Engine gets from outside.
type Options struct {
	Connect ecgrid.Connector
	Clock   Clock
	Random  io.Reader
	Logger  hclog.Logger
	// PasswordFromPolicy makes a password by a Vault password policy.
	PasswordFromPolicy func(ctx context.Context, policy string) (string, error)
	// MaxLeaseTTL is the mount's.
	MaxLeaseTTL func() time.Duration
	// Tainted tells that the mount is being removed.
	Tainted func() bool
}

// Engine is one mount: one stored config and what lives in memory because of it.
// All methods are safe for concurrent use.
type Engine struct {
	Options

	// configLock is held from before the read that a change of the config depends
	// on until the change is stored and in use. A Login may be made under it, so
	// waiting for it ends with the request.
	configLock *semaphore.Weighted
	rolesLock  *semaphore.Weighted // held for the read and the write of a role
	users      *userLocks
	live       atomic.Pointer[account]
	recovery   pause // between tries to settle a rotate-root; under configLock

	accountsMu sync.Mutex
	accounts   map[*account]struct{} // all that may hold a session, the live one among them
	closed     bool

	nextReap time.Time // only Tick looks at it

	saltMu sync.Mutex
	salt   *salt.Salt
}

// New makes the Engine of a mount. It does no I/O.
func New(o Options) *Engine {
	return &Engine{
		Options:    o,
		configLock: semaphore.NewWeighted(1),
		rolesLock:  semaphore.NewWeighted(1),
		users:      newUserLocks(),
		accounts:   map[*account]struct{}{},
	}
}

// account is one config with its client, its session and its keys. It never
// changes; a config write makes another.
type account struct {
	config  Config
	client  ecgrid.Client
	session *session
	keys    *keys

	ownUserID atomic.Int32 // of the api_key; 0 is not asked yet
}

func (e *Engine) newAccount(c Config) (*account, error) {
	client, err := e.Connect(c.endpoint())
	if err != nil {
		return nil, Invalid("ECGrid cannot be reached like this: %v", err)
	}
	session := newSession(client, c, e.Clock, e.Logger)
	a := &account{
		config:  c,
		client:  client,
		session: session,
		keys:    newKeys(client, session, c, e.Clock, e.Logger),
	}
	e.accountsMu.Lock()
	defer e.accountsMu.Unlock()
	if e.closed {
		return nil, ErrClosed
	}
	e.accounts[a] = struct{}{}
	return a, nil
}

// closeAccount logs out and lets go of the connections; bounded at logoutTimeout.
func (e *Engine) closeAccount(a *account) {
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	a.session.close(ctx)
	a.client.Close()
	e.accountsMu.Lock()
	defer e.accountsMu.Unlock()
	delete(e.accounts, a)
}

// account gives the one in use, made from storage when there is none yet.
func (e *Engine) account(ctx context.Context, storage logical.Storage) (*account, error) {
	if a := e.live.Load(); a != nil {
		return a, nil
	}
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer e.configLock.Release(1)
	if a := e.live.Load(); a != nil {
		return a, nil
	}
	if err := e.recoverRoot(ctx, storage); err != nil {
		return nil, err
	}
	c, err := e.ReadConfig(ctx, storage)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, ErrNotConfigured
	}
	return e.lockedAccount(*c)
}

// lockedAccount gives the one in use, made from c when there is none. Holds configLock.
func (e *Engine) lockedAccount(c Config) (*account, error) {
	if a := e.live.Load(); a != nil {
		return a, nil
	}
	a, err := e.newAccount(c)
	if err != nil {
		return nil, err
	}
	e.live.Store(a)
	return a, nil
}

// withAccount runs do with the account in use, and again where the config was
// replaced under it.
func (e *Engine) withAccount(ctx context.Context, storage logical.Storage, do func(*account) error) error {
	for ctx.Err() == nil {
		a, err := e.account(ctx, storage)
		if err != nil {
			return err
		}
		if err = do(a); !errors.Is(err, errSessionClosed) {
			return err
		}
		e.live.CompareAndSwap(a, nil) // whoever put it there, it is of no use
	}
	return ctx.Err()
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

// swap puts next, or nothing, in the place of the account in use and logs that one out.
func (e *Engine) swap(next *account) {
	if old := e.live.Swap(next); old != nil {
		e.closeAccount(old)
	}
}

// Invalidate forgets what was read from a storage key that another node has changed.
func (e *Engine) Invalidate(key string) {
	switch key {
	case ConfigStorageKey:
		go e.swap(nil) // Vault waits for no Logout here
	case salt.DefaultLocation:
		e.saltMu.Lock()
		defer e.saltMu.Unlock()
		e.salt = nil
	}
}

// Close ends the mount in this process: it logs out, bounded at logoutTimeout, and
// opens no session any more. It is idempotent.
func (e *Engine) Close() {
	e.accountsMu.Lock()
	e.closed = true
	open := slices.Collect(maps.Keys(e.accounts))
	e.accountsMu.Unlock()
	e.live.Store(nil)

	var wg sync.WaitGroup
	for _, a := range open {
		wg.Go(func() { e.closeAccount(a) })
	}
	wg.Wait()
}
