// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/backend/metrics"
	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// keys reads users' API keys over one link. Overlapping reads of one user share a call.
type keys struct {
	client   ecgrid.Client
	session  *session.Session
	users    *users
	cacheTTL time.Duration // 0: nothing is cached
	deadline time.Duration
	clock    Clock
	log      hclog.Logger
	reads    metrics.Reads

	mu     sync.Mutex // guards the following
	cached map[int32]cachedKey
	calls  map[callID]*keyCall
}

type cachedKey struct {
	key        string
	generation generation
	until      time.Time
}

// callID is what reads that may share a call have in common: the user's key was not
// replaced between them.
type callID struct {
	userID     int32
	generation generation
}

// keyCall is one call to ECGrid that reads share. It is canceled if all of them give up.
type keyCall struct {
	id      callID
	ctx     context.Context // not that of a read
	cancel  context.CancelFunc
	done    chan struct{} // closed when key or err is set
	waiting int           // reads; guarded by keys.mu
	key     string
	err     error
}

func newKeys(client ecgrid.Client, s *session.Session, c Config, u *users, clock Clock, log hclog.Logger, reads metrics.Reads) *keys {
	return &keys{
		client:   client,
		session:  s,
		users:    u,
		cacheTTL: c.KeyCacheTTL,
		deadline: c.requestDeadline(),
		clock:    clock,
		log:      log,
		reads:    reads,
		cached:   map[int32]cachedKey{},
		calls:    map[callID]*keyCall{},
	}
}

// get returns the user's key, from the cache if key_cache_ttl allows it.
func (k *keys) get(ctx context.Context, userID int32) (string, error) {
	if key, ok := k.fromCache(userID); ok {
		k.reads.Cached.Inc()
		return key, nil
	}
	return k.fetch(ctx, userID)
}

// fetch asks ECGrid within the deadline of a request. If a read joined a call late and
// that call ran out of time, the read makes a call of its own.
func (k *keys) fetch(ctx context.Context, userID int32) (string, error) {
	call, joined := k.join(userID, false)
	if !joined {
		k.reads.Asked.Inc()
		return k.lead(ctx, call)
	}
	waiting, cancel := context.WithTimeout(ctx, k.deadline)
	defer cancel()
	key, err := k.wait(waiting, call)
	if waiting.Err() == nil && meaningOf(err).outOfTime {
		k.reads.Asked.Inc()
		call, _ = k.join(userID, true)
		go k.lead(context.Background(), call) // this read may not have all the time of the call
		return k.wait(waiting, call)
	}
	k.reads.Shared.Inc()
	return key, err
}

// join returns the call that is running for the user, or begins one. While the user's
// key is being replaced no call is shared: a later read may have to return the new key.
func (k *keys) join(userID int32, own bool) (call *keyCall, joined bool) {
	id := callID{userID, k.users.generation(userID)}
	k.mu.Lock()
	defer k.mu.Unlock()
	if running := k.calls[id]; running != nil && !own {
		running.waiting++
		return running, true
	}
	call = &keyCall{id: id, done: make(chan struct{}), waiting: 1}
	call.ctx, call.cancel = context.WithTimeout(context.Background(), k.deadline)
	if id.generation.isStable() {
		k.calls[id] = call
	}
	return call, false
}

// lead makes a call that was just begun. If ctx ends, it goes on as long as other reads
// wait for it.
func (k *keys) lead(ctx context.Context, call *keyCall) (string, error) {
	stop := context.AfterFunc(ctx, func() { k.leave(call) })
	defer stop()
	defer call.cancel()
	call.key, call.err = k.ask(call.ctx, call.id)
	k.mu.Lock()
	k.remove(call)
	close(call.done)
	k.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return "", fmt.Errorf("user %d: %w", call.id.userID, err)
	}
	return call.key, call.err
}

// remove keeps later reads from joining a call. The caller holds mu.
func (k *keys) remove(call *keyCall) {
	if k.calls[call.id] == call {
		delete(k.calls, call.id)
	}
}

// wait waits for another read's call as long as ctx lasts.
func (k *keys) wait(ctx context.Context, call *keyCall) (string, error) {
	select {
	case <-call.done:
		return call.key, call.err
	case <-ctx.Done():
	}
	k.leave(call)
	return "", fmt.Errorf("user %d: %w", call.id.userID, ctx.Err())
}

// leave gives a call up for one read. The last one cancels it.
func (k *keys) leave(call *keyCall) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if call.waiting--; call.waiting == 0 {
		call.cancel()
		k.remove(call)
	}
}

func (k *keys) ask(ctx context.Context, id callID) (key string, err error) {
	defer panics.Recover(k.log, &err)
	err = k.session.Use(ctx, func(ctx context.Context, by ecgrid.Credential) (err error) {
		key, err = k.client.UserGetAPIKey(ctx, by, id.userID)
		if errors.Is(err, ecgrid.ErrEmptyResult) {
			return ErrNoKey
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("user %d: %w", id.userID, err)
	}
	k.cache(id, key)
	return key, nil
}

func (k *keys) fromCache(userID int32) (string, bool) {
	if k.cacheTTL == 0 {
		return "", false
	}
	now := k.clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.cached[userID]
	if !ok || !now.Before(c.until) || !k.users.isCacheable(userID, c.generation, now) {
		delete(k.cached, userID)
		return "", false
	}
	return c.key, true
}

// cache keeps a key, unless it was or may have been replaced since it was asked for.
func (k *keys) cache(id callID, key string) {
	now := k.clock.Now()
	if k.cacheTTL == 0 || !k.users.isCacheable(id.userID, id.generation, now) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cached[id.userID] = cachedKey{key: key, generation: id.generation, until: now.Add(k.cacheTTL)}
}

// flush empties the cache.
func (k *keys) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.cached)
}

// removeExpired removes from the cache what must not be served any more.
func (k *keys) removeExpired() {
	now := k.clock.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.cached, func(_ int32, c cachedKey) bool { return !now.Before(c.until) })
}

// ParseUserID reads a UserID in its one canonical spelling: decimal, 1 to 2147483647
// (xs:int), no sign, no leading zero. Another spelling of the same user would bypass a
// policy on this one.
func ParseUserID(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != s {
		return 0, Invalid("the user ID must be a plain decimal number from 1 to 2147483647, without sign, spaces or leading zeros")
	}
	return int32(n), nil
}
