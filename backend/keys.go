package backend

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/helper/salt"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/singleflight"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// keys fetches users' API keys. Reads of one user that overlap share one call.
// What it remembers dies with its account, that is with every config change.
type keys struct {
	client   ecgrid.Client
	session  *session
	ttl      time.Duration // how long a key may be served from memory; 0 is not at all
	deadline time.Duration
	clock    Clock
	log      hclog.Logger
	flights  singleflight.Group

	mu         sync.Mutex
	cached     map[int32]cachedKey
	generation map[int32]int // how often the user's key was replaced here
}

type cachedKey struct {
	key   string
	until time.Time
}

func newKeys(client ecgrid.Client, s *session, c Config, clock Clock, log hclog.Logger) *keys {
	return &keys{
		client:     client,
		session:    s,
		ttl:        c.KeyCacheTTL,
		deadline:   c.requestDeadline(),
		clock:      clock,
		log:        log,
		cached:     map[int32]cachedKey{},
		generation: map[int32]int{},
	}
}

// get gives the user's key, from memory where key_cache_ttl allows it.
func (k *keys) get(ctx context.Context, userID int32) (string, error) {
	if key, ok := k.fromCache(userID); ok {
		return key, nil
	}
	return k.fetch(ctx, userID)
}

// fetch asks ECGrid. The call goes on when this request is given up: others may
// wait for it too.
func (k *keys) fetch(ctx context.Context, userID int32) (string, error) {
	generation := k.generationOf(userID)
	flight := k.flights.DoChan(fmt.Sprintf("%d/%d", userID, generation), func() (any, error) { return k.call(userID, generation) })
	select {
	case r := <-flight:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (k *keys) call(userID int32, generation int) (key string, err error) {
	defer Recovered(k.log, &err)
	ctx, cancel := context.WithTimeout(context.Background(), k.deadline)
	defer cancel()
	err = k.session.use(ctx, func(ctx context.Context, sessionID string) (err error) {
		key, err = k.client.UserGetAPIKey(ctx, sessionID, userID)
		if errors.Is(err, ecgrid.ErrEmptyResult) {
			return ErrNoKey
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("user %d: %w", userID, err)
	}
	k.remember(userID, key, generation)
	return key, nil
}

func (k *keys) fromCache(userID int32) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c, ok := k.cached[userID]
	if !ok || !k.clock.Now().Before(c.until) {
		delete(k.cached, userID)
		return "", false
	}
	return c.key, true
}

func (k *keys) generationOf(userID int32) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation[userID]
}

// remember keeps a key, unless it was replaced while it was fetched.
func (k *keys) remember(userID int32, key string, generation int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ttl == 0 || k.generation[userID] != generation {
		return
	}
	k.cached[userID] = cachedKey{key: key, until: k.clock.Now().Add(k.ttl)}
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
func (e *Engine) ListUsers(ctx context.Context, storage logical.Storage) ([]ecgrid.User, error) {
	var users []ecgrid.User
	err := e.ask(ctx, storage, func(ctx context.Context, a *account, sessionID string) (err error) {
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

// fingerprint is a keyed hash of a key, good for telling whether it is still the
// same: the key itself is never stored.
func (e *Engine) fingerprint(ctx context.Context, storage logical.Storage, key string) (string, error) {
	s, err := e.mountSalt(ctx, storage)
	if err != nil {
		return "", err
	}
	return s.GetIdentifiedHMAC(key), nil
}

// isFingerprintOf compares in constant time.
func isFingerprintOf(fingerprint, other string) bool {
	return hmac.Equal([]byte(fingerprint), []byte(other))
}

// mountSalt is made once a mount and stored.
func (e *Engine) mountSalt(ctx context.Context, storage logical.Storage) (*salt.Salt, error) {
	e.saltMu.Lock()
	defer e.saltMu.Unlock()
	if e.salt != nil {
		return e.salt, nil
	}
	s, err := salt.NewSalt(ctx, storage, &salt.Config{HMAC: sha256.New, HMACType: "hmac-sha256"})
	if err != nil {
		return nil, fmt.Errorf("reading the mount's salt: %w", err)
	}
	e.salt = s
	return s, nil
}
