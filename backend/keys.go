package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// keys fetches users' API keys. Reads of one user that overlap share one call. What
// it remembers dies with its link.
type keys struct {
	client   ecgrid.Client
	session  *session.Session
	users    *users
	ttl      time.Duration // how long a key may be served from memory; 0 is not at all
	deadline time.Duration
	clock    Clock
	log      hclog.Logger

	mu      sync.Mutex
	cached  map[int32]cachedKey
	flights map[flightID]*keyFlight
}

type cachedKey struct {
	key        string
	generation int
	until      time.Time
}

// flightID is what reads have in common that may share a call: no key was replaced
// between them.
type flightID struct {
	userID     int32
	generation int
}

// keyFlight is one call that reads wait for. It ends early when nobody does any more.
type keyFlight struct {
	cancel  context.CancelFunc
	done    chan struct{}
	waiting int // under keys.mu
	key     string
	err     error
}

func newKeys(client ecgrid.Client, s *session.Session, c Config, u *users, clock Clock, log hclog.Logger) *keys {
	return &keys{
		client:   client,
		session:  s,
		users:    u,
		ttl:      c.KeyCacheTTL,
		deadline: c.requestDeadline(),
		clock:    clock,
		log:      log,
		cached:   map[int32]cachedKey{},
		flights:  map[flightID]*keyFlight{},
	}
}

// get gives the user's key, from memory where key_cache_ttl allows it.
func (k *keys) get(ctx context.Context, userID int32) (string, error) {
	if key, ok := k.fromCache(userID); ok {
		return key, nil
	}
	return k.fetch(ctx, userID)
}

// fetch asks ECGrid, within the deadline of a request. A read that joins a call late
// does not fail because that ran out of time: it makes one of its own then.
func (k *keys) fetch(ctx context.Context, userID int32) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, k.deadline)
	defer cancel()
	f, late := k.join(userID, false)
	key, err := k.await(ctx, userID, f)
	for late && err != nil && ctx.Err() == nil && isOutOfTime(err) {
		f, late = k.join(userID, true)
		key, err = k.await(ctx, userID, f)
	}
	return key, err
}

func isOutOfTime(err error) bool {
	return errors.Is(err, ecgrid.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// join gives the call under way, or begins one. While the user's key is being
// replaced nothing is shared: who asks later may have to see the new one.
func (k *keys) join(userID int32, own bool) (f *keyFlight, late bool) {
	generation, replacing := k.users.state(userID)
	id := flightID{userID, generation}
	k.mu.Lock()
	defer k.mu.Unlock()
	if under := k.flights[id]; under != nil && !own {
		under.waiting++
		return under, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.deadline)
	f = &keyFlight{cancel: cancel, done: make(chan struct{}), waiting: 1}
	if replacing == nil {
		k.flights[id] = f
	}
	go k.fly(ctx, id, f)
	return f, false
}

func (k *keys) fly(ctx context.Context, id flightID, f *keyFlight) {
	defer f.cancel()
	f.key, f.err = k.call(ctx, id)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.land(id, f)
	close(f.done)
}

// land has nobody join a call any more. Holds mu.
func (k *keys) land(id flightID, f *keyFlight) {
	if k.flights[id] == f {
		delete(k.flights, id)
	}
}

// await waits for a call as long as ctx lasts. The last one who gives up ends it.
func (k *keys) await(ctx context.Context, userID int32, f *keyFlight) (string, error) {
	select {
	case <-f.done:
		return f.key, f.err
	case <-ctx.Done():
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel()
		maps.DeleteFunc(k.flights, func(_ flightID, other *keyFlight) bool { return other == f })
	}
	return "", fmt.Errorf("user %d: %w", userID, ctx.Err())
}

func (k *keys) call(ctx context.Context, id flightID) (key string, err error) {
	defer panics.Recover(k.log, &err)
	err = k.session.Use(ctx, func(ctx context.Context, sessionID string) (err error) {
		key, err = k.client.UserGetAPIKey(ctx, sessionID, id.userID)
		if errors.Is(err, ecgrid.ErrEmptyResult) {
			return ErrNoKey
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("user %d: %w", id.userID, err)
	}
	k.remember(id, key)
	return key, nil
}

func (k *keys) fromCache(userID int32) (string, bool) {
	generation, _ := k.users.state(userID)
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.cached[userID]
	now := k.clock.Now()
	if !ok || !now.Before(c.until) || !k.users.mayCache(userID, c.generation, now) || c.generation != generation {
		delete(k.cached, userID)
		return "", false
	}
	return c.key, true
}

// remember keeps a key, unless it was or may be replaced since it was asked for.
func (k *keys) remember(id flightID, key string) {
	now := k.clock.Now()
	if k.ttl == 0 || !k.users.mayCache(id.userID, id.generation, now) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.cached[id.userID] = cachedKey{key: key, generation: id.generation, until: now.Add(k.ttl)}
}

// flush forgets all keys.
func (k *keys) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.cached)
}

// sweep forgets what must not be served any more.
func (k *keys) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	maps.DeleteFunc(k.cached, func(_ int32, c cachedKey) bool { return !now.Before(c.until) })
}

// ParseUserID reads a UserID in its one canonical spelling: decimal, 1 to
// 2147483647 (xs:int), no sign, no leading zero. Another spelling of the same
// user would pass a policy on this one.
func ParseUserID(s string) (int32, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != s {
		return 0, Invalid("the user ID has to be a plain decimal number from 1 to 2147483647, without sign, spaces or leading zeros")
	}
	return int32(n), nil
}

// ListUsers gives the users that the configured login can see, by UserID.
func (e *Engine) ListUsers(ctx context.Context) ([]ecgrid.User, error) {
	var users []ecgrid.User
	err := e.ask(ctx, func(ctx context.Context, a *account, sessionID string) (err error) {
		users, err = a.client.UserList(ctx, sessionID, "")
		return err
	})
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(users, func(u ecgrid.User) bool { return u.UserID < 1 })
	slices.SortFunc(users, func(a, b ecgrid.User) int { return cmp.Compare(a.UserID, b.UserID) })
	return slices.CompactFunc(users, func(a, b ecgrid.User) bool { return a.UserID == b.UserID }), nil
}
