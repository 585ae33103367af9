// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// world is Vault, ECGrid and the nodes of one mount, for TestRandomly.
type world struct {
	*testing.T
	f       *fakeECGrid
	storage logical.Storage
	reader  *Engine    // reads storage for the test
	plan    *rand.Rand // decides what is done next
	running sync.WaitGroup

	mu      sync.Mutex // guards the following
	luck    *rand.Rand // decides what fails
	storm   bool       // steps fail
	leases  []*vaultLease
	counted map[string]bool // fingerprints of all keys that ever had a counted lease
	noted   map[string]bool // SessionIDs that were ever noted in storage
	active  *node
	nodes   []*node
	log     []string
	// unwritten: the password was changed to outside at ECGrid's own site, and config
	// does not have it yet.
	unwritten bool
	outside   string
	// outsideKey is the last key that somebody else has set.
	outsideKey   string
	outsideKeyAt time.Time
}

// node is a process on one node of Vault.
type node struct {
	*Engine
	*process
	standby  chan struct{}   // closed when the node is not the active one any more
	rotating map[int32]int   // replacements by request or schedule, by UserID
	open     map[string]bool // sessions that it has and has not begun to log out
	ticking  bool
	writing  int // config writes with a password that are in progress
}

// isGone reports whether Vault does not hear the answers of the node any more.
func (n *node) isGone() bool { return n.isDead() || isClosed(n.standby) }

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{T: t, counted: map[string]bool{}, noted: map[string]bool{}, plan: newRand(seed, 1), luck: newRand(seed, 2)}
	var storage logical.Storage
	w.f, w.reader, storage = configured(t, func(c *Config) { c.KeyCacheTTL = time.Minute })
	w.storage = observedStorage{storage, w}
	w.f.maxSessions = 1000 // killed processes leave theirs open
	if seed%2 == 0 {       // sessions have an end, which may not be the one that they state
		w.f.lifetime, w.f.lives = time.Duration(w.plan.IntN(600e9)), time.Minute+time.Duration(w.plan.IntN(1200e9))
	}
	w.f.onReplace = w.onReplace
	for name, patch := range map[string]RolePatch{
		"a": {UserID: ptr(int32(5001))}, "b": {UserID: ptr(int32(5001))}, "c": {UserID: ptr(int32(5002))},
		"s": {UserID: ptr(int32(5002)), Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}},
	} {
		patch.RotateOnRevoke = ptr(true)
		writeRole(t, w.reader, name, patch)
	}
	w.startNode()
	return w
}

// with runs do under the lock.
func (w *world) with(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// logf logs a line with its time. The caller holds mu.
func (w *world) logf(format string, args ...any) {
	w.log = append(w.log, time.Now().Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// startNode starts a process, which becomes the active node.
func (w *world) startNode() {
	n := &node{standby: make(chan struct{}), rotating: map[int32]int{}, open: map[string]bool{}}
	n.process = newProcess(w.storage, w.f, func(s step) error { return w.step(n, s) })
	n.Engine = testEngineAt(w.T, w.f, n.process, connectTo(observedClient{n.process, w, n}))
	n.Start()
	w.with(func() { w.active, w.nodes = n, append(w.nodes, n) })
}

// replaceNode ends the active process. Vault starts another after a while.
func (w *world) replaceNode(name string, end func(*node), after time.Duration) {
	w.with(func() {
		end(w.active)
		for _, l := range w.leases {
			l.busy = false
		}
		w.logf("%s", name)
	})
	time.Sleep(after)
	w.startNode()
}

// step takes some time, and fails now and then in a storm. A node that is not active can
// write nothing to storage.
func (w *world) step(n *node, s step) (err error) {
	var latency time.Duration
	w.with(func() {
		latency = time.Duration(w.luck.IntN(20e6))
		if w.storm && w.luck.IntN(12) == 0 {
			err = w.failure(s)
		}
	})
	if s.op != "Get" {
		time.Sleep(latency)
	}
	if isClosed(n.standby) && (s.op == "Put" || s.op == "Delete") {
		return errAny
	}
	return err
}

// failure returns the failure of a step. A refused login is not one of these.
func (w *world) failure(s step) error {
	kind := unconfirmedErrors[w.luck.IntN(len(unconfirmedErrors))]
	switch {
	case !s.isECGrid():
		return errAny
	case s.op == "UserGetAPIKey", // an empty result means a user without a key
		(s.op == "Login" || s.op == "Logout") && kind == ecgrid.ErrFault, // would be a refusal
		s.op == "Login" && s.done && kind == ecgrid.ErrServerFault:       // ECGrid does not answer a refusal so
		kind = ecgrid.ErrTimeout
	}
	return opError(s.op, kind)
}

// observedStorage sees which keys get a counted lease and which sessions are noted.
type observedStorage struct {
	logical.Storage
	w *world
}

func (s observedStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	s.w.with(func() {
		parts := strings.Split(entry.Key, "/")
		switch {
		case len(parts) == 4 && parts[0]+"/" == holderPrefix:
			s.w.counted[hmacPrefix+parts[2]] = true
		case parts[0]+"/" == sessionPrefix:
			var note session.Note
			check(s.w.T, entry.DecodeJSON(&note))
			s.w.noted[note.SessionID] = true
		}
	})
	return s.Storage.Put(ctx, entry)
}

// observedClient sees the sessions of a node, and tells the fake ECGrid which node calls.
type observedClient struct {
	ecgrid.Client
	w *world
	n *node
}

// nodeKey is the context key of the node that calls.
type nodeKey struct{}

func (c observedClient) Login(ctx context.Context, name, password string) (ecgrid.LoginResult, error) {
	byOperator := false
	c.w.with(func() { byOperator = c.n.writing > 0 && password == c.w.outside })
	opened, err := c.Client.Login(context.WithValue(ctx, operatorsKey{}, byOperator), name, password)
	if err != nil || c.n.isGone() {
		return opened, err
	}
	c.w.with(func() {
		c.n.open[opened.SessionID] = true
		c.w.logf("login %s (%d open)", opened.SessionID, len(c.n.open))
		if len(c.n.open) > c.w.mostSessions(c.n) {
			c.w.Errorf("a process has %d sessions with %d config writes in progress", len(c.n.open), c.n.writing)
		}
	})
	return opened, nil
}

// mostSessions is how many sessions a process may have: one is being renewed, and each config
// write tries another.
func (w *world) mostSessions(n *node) int {
	if w.f.lifetime > 0 {
		return 2 + n.writing
	}
	return 1 + n.writing
}

func (c observedClient) Logout(ctx context.Context, by ecgrid.Credential) error {
	c.w.with(func() { delete(c.n.open, by.Value) })
	return c.Client.Logout(ctx, by)
}

func (c observedClient) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return c.Client.GenerateAPIKey(context.WithValue(ctx, nodeKey{}, c.n), by, userID)
}

// onReplace checks the replacements by revokes.
func (w *world) onReplace(ctx context.Context, userID int32, key string) {
	fingerprint, err := w.reader.store.fingerprint(context.Background(), key)
	check(w.T, err)
	w.with(func() {
		if n, ok := ctx.Value(nodeKey{}).(*node); !ok || n.rotating[userID] > 0 {
			return
		}
		if key == w.outsideKey && time.Since(w.outsideKeyAt) < time.Second {
			return // it was set between the read and the replacement
		}
		// Between the read and the replacement, a delayed one may be applied.
		if !w.counted[fingerprint] && !w.f.delayed[key] {
			w.Errorf("a revoke replaced %s, which never had a counted lease", key)
		}
		for _, l := range w.leases {
			if l.APIKey == key && l.isRunning() {
				w.Errorf("a revoke replaced %s, which still has lease %s", key, l.Lease.ID[:4])
			}
		}
		w.logf("replaced %s", key)
	})
}
