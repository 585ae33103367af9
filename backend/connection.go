// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/backend/metrics"
	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// connection is a config in use. It is immutable. A config write makes another one,
// which shares the link if the login and the endpoint are the same.
type connection struct {
	config Config
	*link
}

// link is one login at one endpoint: its client, its session and the keys read with it.
type link struct {
	client  ecgrid.Client
	session *session.Session
	keys    *keys
	// bulk limits lists and replacements of keys to half of the concurrent calls. The
	// other half is left to reads.
	bulk *semaphore.Weighted

	ownUserID atomic.Int32 // of the api_key; 0 until ECGrid was asked
}

// connections are the config in use and all links that may hold a session. The parts of
// the Engine embed them.
type connections struct {
	Options
	store      *store
	users      *users
	ledger     *session.Ledger
	background *background
	events     *eventQueue
	metrics    *metrics.Metrics
	// resolution is the background job that finds out which password ECGrid has after an
	// unconfirmed rotate-root. Its job is rootRotator.tryToResolve.
	resolution *retry

	mu         sync.Mutex // guards the following
	inUse      *connection
	generation int // changes whenever inUse is replaced or removed
	links      map[*link]struct{}
	closed     bool
}

// connect makes the connection of a config. It does not call ECGrid.
func (c *connections) connect(ctx context.Context, config Config) (*connection, error) {
	candidates, err := c.store.candidates(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := c.recallReplacements(ctx); err != nil {
		return nil, err
	}
	client, err := c.Connect(config.endpoint())
	if err != nil {
		return nil, Invalid("ECGrid cannot be reached with this config: %v", err)
	}
	s := session.New(session.Config{
		Client:         client,
		Endpoint:       config.endpoint(),
		Login:          config.login(),
		LoginName:      config.Username,
		Candidates:     candidates,
		APIKey:         config.APIKey,
		IdleTimeout:    config.SessionIdleTimeout,
		RequestTimeout: config.RequestTimeout,
		MaxConcurrent:  config.ConcurrentCalls(),
		Ledger:         c.ledger,
		Classify:       classify,
		LoginEnded:     c.metrics.Login,
		Switched:       func() { c.resolution.start(0) },
		Clock:          c.Clock,
		Logger:         c.Logger,
	})
	l := &link{client: client, session: s, keys: newKeys(client, s, config, c.users, c.Clock, c.Logger, c.metrics.Reads)}
	made := &connection{config: config, link: l}
	l.bulk = semaphore.NewWeighted(made.bulkCalls())
	return made, c.add(l)
}

func (c *connections) add(l *link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	if c.links == nil {
		c.links = map[*link]struct{}{}
	}
	c.links[l] = struct{}{}
	return nil
}

// current returns the connection in use, or nil.
func (c *connections) current() *connection {
	current, _ := c.state()
	return current
}

func (c *connections) state() (current *connection, generation int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inUse, c.generation
}

// currentOrStored returns the connection in use, and makes it from storage if there is
// none. It does not wait for a change of the config.
func (c *connections) currentOrStored(ctx context.Context) (*connection, error) {
	for ctx.Err() == nil {
		current, generation := c.state()
		if current != nil {
			return current, nil
		}
		config, err := c.store.config(ctx)
		if err != nil {
			return nil, err
		}
		if config == nil {
			return nil, ErrNotConfigured
		}
		made, err := c.connect(ctx, *config)
		if err != nil {
			return nil, err
		}
		if c.useIfUnchanged(made, generation) {
			c.resolvePending(made)
			return made, nil
		}
		c.disconnect(made.link)
	}
	return nil, ctx.Err()
}

// useIfUnchanged puts a connection made from storage into use, unless the config was
// replaced since.
func (c *connections) useIfUnchanged(made *connection, generation int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.generation != generation || c.inUse != nil {
		return false
	}
	c.inUse = made
	return true
}

// setCurrent puts next, or nothing, into use. It logs the old connection out, unless both
// have the same link.
func (c *connections) setCurrent(next *connection) {
	old := c.swap(next)
	switch {
	case old == nil:
	case next != nil && next.link == old.link:
		next.keys.flush()
	default:
		c.disconnect(old.link)
	}
	c.resolvePending(next)
}

func (c *connections) swap(next *connection) (old *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, c.inUse = c.inUse, next
	c.generation++
	return old
}

// resolvePending resolves an unconfirmed rotate-root in the background.
func (c *connections) resolvePending(current *connection) {
	if current != nil && current.config.unresolved() != nil {
		c.resolution.start(firstRetryAfter)
	}
}

// storeConfig stores a config even if the request is canceled. If storing fails, the config may
// be stored all the same; then the next request makes its connection from storage.
func (c *connections) storeConfig(ctx context.Context, config Config) error {
	err := c.store.putConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		c.setCurrent(nil)
	}
	return err
}

// withConnection runs do with the connection in use, and again if the config was replaced
// meanwhile.
func (c *connections) withConnection(ctx context.Context, do func(*connection) error) error {
	for ctx.Err() == nil {
		current, err := c.currentOrStored(ctx)
		if err != nil {
			return err
		}
		if err = do(current); !errors.Is(err, session.ErrClosed) {
			return err
		}
		c.discard(current)
	}
	return ctx.Err()
}

// discard removes a closed connection, unless another one is in use by now.
func (c *connections) discard(closed *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inUse == closed {
		c.inUse = nil
	}
}

// use runs a call with the session of the connection, within the deadline of a request.
func (c *connection) use(ctx context.Context, call session.Call) error {
	ctx, cancel := context.WithTimeout(ctx, c.config.requestDeadline())
	defer cancel()
	return c.session.Use(ctx, call)
}

// bulkCalls is how many concurrent calls are not reserved for reads.
func (c *connection) bulkCalls() int64 { return int64(max(1, c.config.ConcurrentCalls()/2)) }

// acquireBulk waits for n of the concurrent calls that are not reserved for reads.
func (c *connection) acquireBulk(ctx context.Context, n int64) (release func(), err error) {
	if err := c.bulk.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { c.bulk.Release(n) }, nil
}

// useOnce is use for a call that must not be repeated.
func (c *connection) useOnce(ctx context.Context, call session.Call) (begun bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.requestDeadline())
	defer cancel()
	return c.session.UseOnce(ctx, call)
}

// invalidate discards the connection in use. Vault does not wait for the Logout.
func (c *connections) invalidate() {
	if old := c.swap(nil); old != nil {
		c.background.run(func(context.Context) { c.disconnect(old.link) })
	}
}

// disconnect logs out and closes the kept connections, within session.LogoutTimeout.
func (c *connections) disconnect(l *link) {
	ctx, cancel := context.WithTimeout(context.Background(), session.LogoutTimeout)
	defer cancel()
	l.session.Close(ctx)
	l.client.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.links, l)
}

// allLinks returns the links that may hold a session.
func (c *connections) allLinks() []*link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.links))
}

// close disconnects all links side by side. No connection is made after it.
func (c *connections) close() {
	c.mu.Lock()
	c.closed, c.inUse = true, nil
	c.mu.Unlock()
	var all sync.WaitGroup
	for _, l := range c.allLinks() {
		all.Go(func() { c.disconnect(l) })
	}
	all.Wait()
}

// refuseOwnUser returns ErrOwnKey for the user whose API key the config uses. Without a
// config it refuses nobody.
func (c *connections) refuseOwnUser(ctx context.Context, userID int32) error {
	err := c.withConnection(ctx, func(current *connection) error { return current.refuseOwnUser(ctx, userID) })
	if errors.Is(err, ErrNotConfigured) {
		return nil
	}
	return err
}

func (c *connection) refuseOwnUser(ctx context.Context, userID int32) error {
	if c.config.APIKey == "" {
		return nil
	}
	own := c.ownUserID.Load()
	if own == 0 {
		err := c.use(ctx, func(ctx context.Context, by ecgrid.Credential) error {
			me, err := c.client.WhoAmI(ctx, by)
			own = me.UserID
			return err
		})
		if err != nil {
			return err
		}
		c.ownUserID.Store(own)
	}
	if own == userID {
		return fmt.Errorf("user %d: %w", userID, ErrOwnKey)
	}
	return nil
}
