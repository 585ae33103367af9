// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	workers     = 4 // of each mount
	maxHeld     = 8 // leases of a worker
	think       = 100 * time.Millisecond
	afterFailed = 250 * time.Millisecond
)

// load are clients that read keys of one mount and renew their leases. Each asks one node,
// which forwards to the active one, and another node after a failure.
type load struct {
	cluster *cluster
	mount   string
	stop    chan struct{}
	workers []*worker
	all     sync.WaitGroup
	stopped sync.Once

	mu         sync.Mutex
	requests   int
	failures   map[string]int // by what the client saw
	lastFailed time.Time
	gap        time.Duration // the longest that a client went without an answer
}

// worker is one client.
type worker struct {
	*load
	node   int
	held   []string  // lease IDs
	lastOK time.Time // guarded by load.mu
}

func startLoad(c *cluster, mount string) *load {
	l := &load{cluster: c, mount: mount, stop: make(chan struct{}), failures: map[string]int{}}
	for i := range workers {
		w := &worker{load: l, node: i, lastOK: time.Now()}
		l.workers = append(l.workers, w)
		l.all.Go(w.run)
	}
	return l
}

func (w *worker) run() {
	pause := time.Duration(0)
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(pause):
		}
		pause = think
		if !w.step() {
			pause = afterFailed
		}
	}
}

// step reads a key, or renews a lease if the worker has enough.
func (w *worker) step() bool {
	if len(w.held) >= maxHeld && rand.IntN(2) > 0 {
		_, ok := w.send("renewal", http.MethodPost, "sys/leases/renew", fields{"lease_id": w.held[rand.IntN(len(w.held))]})
		return ok
	}
	r, ok := w.send("read", http.MethodGet, fmt.Sprintf("%s/keys/%d", w.mount, firstReadUser+rand.IntN(readUsers)), nil)
	if ok && len(w.held) < maxHeld {
		w.held = append(w.held, r.LeaseID)
	}
	return ok
}

// send sends a request once. If it fails, the next one goes to another node.
func (w *worker) send(kind, method, path string, body any) (vaulttest.Response, bool) {
	n := w.cluster.nodes[w.node%len(w.cluster.nodes)]
	r, err := n.Do(method, path, body)
	w.count(kind, r, err)
	if err == nil && r.OK() {
		return r, true
	}
	w.node++
	return r, false
}

func (w *worker) count(kind string, r vaulttest.Response, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	w.requests++
	if err == nil && r.OK() {
		w.gap = max(w.gap, now.Sub(w.lastOK))
		w.lastOK = now
		return
	}
	w.lastFailed = now
	if err != nil {
		w.failures[kind+" without an answer"]++
		return
	}
	w.failures[fmt.Sprintf("%s %d", kind, r.Status)]++
}

// reset forgets what was counted so far.
func (l *load) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requests, l.failures, l.gap, l.lastFailed = 0, map[string]int{}, 0, time.Time{}
}

// awaitAll waits until every client has had an answer since a time.
func (l *load) awaitAll(t *testing.T, since time.Time) {
	t.Helper()
	await(t, patience, "all clients have answers", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !slices.ContainsFunc(l.workers, func(w *worker) bool { return w.lastOK.Before(since) })
	})
}

// end stops the clients. It may be called again.
func (l *load) end() {
	l.stopped.Do(func() { close(l.stop) })
	l.all.Wait()
}

// failed returns how many requests failed, and how.
func (l *load) failed() (n int, how string) {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(l.failures)) {
		n += l.failures[kind]
		kinds = append(kinds, fmt.Sprintf("%d × %s", l.failures[kind], kind))
	}
	return n, strings.Join(kinds, ", ")
}

// lostLeases returns how many leases the clients hold, and how many of those Vault does not
// know or does not renew any more. The keys of the load are never rotated.
func (l *load) lostLeases(t *testing.T) (held, lost int) {
	t.Helper()
	active := l.cluster.active(t)
	for _, w := range l.workers {
		for _, id := range w.held {
			held++
			r, err := active.Do(http.MethodPost, "sys/leases/renew", fields{"lease_id": id})
			must(t, err)
			if !r.OK() {
				t.Logf("a lease is lost: %d %s", r.Status, r.Errors)
				lost++
			}
		}
	}
	return held, lost
}
