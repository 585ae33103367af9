// SPDX-License-Identifier: MPL-2.0

// Package backend decides what the engine does: what is stored, when ECGrid is called
// and what its answers mean. It knows neither Vault's request fields nor SOAP.
//
// An Engine is the sum of its parts. A part calls only those below it in this list:
//
//	configs      config_write.go      writes and deletes the config
//	rootRotator  rotate_root.go       changes the password of the login
//	leases       lease_issue.go       issues, renews and revokes leases
//	staticCreds  static_creds.go      reads the keys of roles without a lease
//	roles        roles.go             stores roles, rotates the keys of roles
//	keyRotator   rotate_key.go        replaces users' keys
//	holders      lease_holders.go     records the leases after which a key is replaced
//	connections  connection.go        the config in use, its session and its keys
//	users        key_replacements.go  which users' keys are being replaced
//	eventQueue   event_queue.go       sends what happened to Vault
//	store        storage.go           Vault's storage
package backend

import (
	"context"
	"encoding/binary"
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// Options are what an Engine needs from outside.
type Options struct {
	Storage logical.Storage
	Connect ecgrid.Connector
	Clock   Clock
	Random  io.Reader
	Logger  hclog.Logger
	// PasswordFromPolicy generates a password by a Vault password policy.
	PasswordFromPolicy func(ctx context.Context, policy string) (string, error)
	// DefaultLeaseTTL and MaxLeaseTTL return those of the mount; 0 if Vault did not say.
	DefaultLeaseTTL, MaxLeaseTTL func() time.Duration
	// Tainted reports whether the mount is being removed or moved.
	Tainted func() bool
	// Build are the labels of the metric of the build, and their values.
	Build map[string]string
	// Notify sends an event, or nil. It may take as long as ctx lasts.
	Notify func(ctx context.Context, e Event) error
}

// fraction returns a random number from 0 to 1, or 0 without randomness. It only spreads
// load.
func (o *Options) fraction() float64 {
	var b [4]byte
	if _, err := io.ReadFull(o.Random, b[:]); err != nil {
		return 0
	}
	return float64(binary.BigEndian.Uint32(b[:])) / (1 << 32)
}

// Engine is one mount. All methods are safe for concurrent use.
type Engine struct {
	*connections
	*configs
	*rootRotator
	*leases
	*staticCreds
	*roles
	*keyRotator

	inRound atomic.Bool // a round of Tick is running
}

// New returns the Engine of a mount. It does no I/O.
func New(o Options) *Engine {
	s, bg := newStore(o.Storage, newAgenda()), newBackground(o.Logger)
	counted := newMetrics(o.Build)
	o.Connect = measured(o.Connect, counted, o.Clock)
	var root *rootRotator
	c := &connections{
		Options:    o,
		store:      s,
		users:      newUsers(),
		ledger:     session.NewLedger(s, o.Connect, classify, o.Clock, o.Random, o.Logger),
		background: bg,
		metrics:    counted,
		events:     newEventQueue(o.Notify, o.Logger),
		resolution: newRetry(bg, func(ctx context.Context) bool { return root.tryToResolve(ctx) }),
	}
	root = &rootRotator{connections: c, lock: newConfigLock(s)}
	rotator := &keyRotator{c}
	r := &roles{connections: c, rotator: rotator, lock: semaphore.NewWeighted(1)}
	return &Engine{
		connections: c,
		configs:     &configs{c, root},
		rootRotator: root,
		leases:      &leases{connections: c, rotator: rotator, roles: r, holders: &holders{c}},
		staticCreds: &staticCreds{c, r},
		roles:       r,
		keyRotator:  rotator,
	}
}

// Start resolves, in the background, a rotate-root that a crash left unresolved. Vault
// waits for every mount here. Call it on the active node only.
func (e *Engine) Start() { e.resolution.start(0) }

// Invalidate forgets what was read from a storage key that another node has changed.
func (e *Engine) Invalidate(key string) {
	if e.store.invalidate(key) {
		e.invalidate()
	}
}

// Close ends the mount in this process. It logs out and sends the last events within
// session.LogoutTimeout, and no session is opened after it. It is idempotent.
func (e *Engine) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), session.LogoutTimeout)
	defer cancel()
	e.background.end()
	e.close()
	e.events.close(ctx)
}
