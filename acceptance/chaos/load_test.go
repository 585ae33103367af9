// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

const (
	login         = "vault@example.com"
	loginID       = 9000
	keyID         = 9001 // its API key is the login of the second mount
	cacheTTL      = 2 * time.Second
	firstPassword = "First-Passw0rd-of-the-login"

	leaseTTL  = 20 // seconds
	pause     = 100 * time.Millisecond
	maxHeld   = 20 // leases a worker
	workers   = 8
	rootPause = 4 * time.Second

	pluginStart = 30 * time.Second // at most

	maxRefused    = 3 // Logins in a refusedWindow, by the engine's contract
	refusedWindow = 15 * time.Minute
)

// mounts are two mounts of the engine. The first has a password, sessions and no cache. The
// second has an API key in the login's place and a cache.
var mounts = []string{"ecgrid", "cached"}

// source is a path that returns a user's key.
type source struct {
	mount   string // "" is the first
	path    string
	user    int
	role    fields // nil for keys/<user_id>
	counted bool
	rotate  bool // only an operator rotates it
	rare    bool // read rarely, so that its last lease often ends
}

var sources = []source{
	{path: "keys/7001", user: 7001, rotate: true},
	{path: "keys/7002", user: 7002, rotate: true},
	{path: "keys/7003", user: 7003},
	{path: "creds/plain", user: 7004, role: fields{"ttl": leaseTTL}, rotate: true},
	{path: "creds/counted", user: 7101, role: fields{"ttl": 15, "rotate_on_revoke": true}, counted: true},
	{path: "creds/counted-too", user: 7102, role: fields{"ttl": 5, "rotate_on_revoke": true}, counted: true, rare: true},
	{mount: "cached", path: "keys/7301", user: 7301, rotate: true},
	{mount: "cached", path: "keys/7302", user: 7302},
	{path: "creds/timed", user: 7201, role: fields{"ttl": leaseTTL, "rotation_period": "1m"}},
}

// at is a path of the source's mount.
func (s source) at(path string) string {
	if s.mount == "" {
		return mounts[0] + "/" + path
	}
	return s.mount + "/" + path
}

// maxAge is how old a key from this mount may be.
func (s source) maxAge() time.Duration {
	if s.mount == "cached" {
		return readOverlap + cacheTTL
	}
	return readOverlap
}

func (s source) roleName() string { return s.path[len("creds/"):] }

func users() []fakegrid.User {
	all := []fakegrid.User{
		{ID: loginID, Login: login, Password: firstPassword, AuthLevel: "NetworkAdmin", NetworkID: 1},
		{ID: keyID, Login: "by key", Password: "Another-Passw0rd", AuthLevel: "NetworkAdmin", NetworkID: 1},
	}
	for _, s := range sources {
		all = append(all, fakegrid.User{ID: s.user, Login: fmt.Sprint("user", s.user), Password: fmt.Sprint("Other-Passw0rd-", s.user), AuthLevel: "General", NetworkID: 1})
	}
	return all
}

// load is the work of all clients.
type load struct {
	grid    *fakegrid.Server
	v       *vault
	checker *checker
	seed    uint64

	// After so many refused Logins the operator does not rotate-root for a while. A
	// rotate-root whose answer is lost costs one or more, since the engine has to try the
	// old password. Beyond maxRefused the engine only waits.
	maxRootRefused int

	deadline time.Time // of the recovery
	paused   bool      // by the engine, for longer than a short run can wait
	latest   time.Time // that the deadline may be
}

// isShort reports whether the run has no time to wait for the end of a pause.
func (l *load) isShort() bool { return l.maxRootRefused == 1 }

// run generates load until ctx ends.
func (l *load) run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { l.work(ctx, l.rng(i)) })
	}
	all.Go(func() { l.rotateKeys(ctx, l.rng(100)) })
	all.Go(func() { l.rotateRoot(ctx) })
	all.Go(func() { l.configure(ctx, l.rng(101)) })
	all.Wait()
}

func (l *load) rng(n int) *rand.Rand { return rand.New(rand.NewPCG(l.seed, uint64(n))) }

// wait returns false when ctx ends.
func wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func (l *load) work(ctx context.Context, rng *rand.Rand) {
	var held []*lease
	for wait(ctx, pause/2+time.Duration(rng.Int64N(int64(pause)))) {
		if len(held) > maxHeld {
			held = held[1:] // the first one expires
		}
		switch roll := rng.IntN(100); {
		case roll < 3:
			l.readAndHangUp(ctx, rng)
		case roll < 60 || len(held) == 0:
			if got := l.read(randomSource(rng)); got != nil {
				held = append(held, got)
			}
		case roll < 80:
			l.renew(held[rng.IntN(len(held))])
		default:
			i := rng.IntN(len(held))
			l.revoke(held[i])
			held = append(held[:i:i], held[i+1:]...)
		}
	}
}

func randomSource(rng *rand.Rand) source {
	for {
		if s := sources[rng.IntN(len(sources))]; !s.rare || rng.IntN(8) == 0 {
			return s
		}
	}
}

func (l *load) read(s source) *lease {
	began := time.Now()
	r := l.v.do(http.MethodGet, s.at(s.path), nil)
	l.checker.count("read", r.Status)
	if !r.OK() {
		return nil
	}
	key, _ := r.Data["api_key"].(string)
	l.checker.checkRead(s.user, key, began, s.maxAge())
	got := &lease{
		id: r.LeaseID, user: s.user, key: key, counted: s.counted,
		end: began.Add(time.Duration(r.LeaseDuration) * time.Second),
	}
	l.checker.addLease(got)
	return got
}

// readAndHangUp does not wait for the answer.
func (l *load) readAndHangUp(ctx context.Context, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(50))*time.Millisecond)
	defer cancel()
	s := randomSource(rng)
	l.v.doContext(ctx, http.MethodGet, s.at(s.path), nil)
}

func (l *load) renew(got *lease) {
	if !l.checker.isLive(got, 5*time.Second) {
		return
	}
	began := time.Now()
	r := l.v.do(http.MethodPost, "sys/leases/renew", fields{"lease_id": got.id})
	l.checker.count("renew", r.Status)
	switch {
	case r.OK():
		l.checker.leaseRenewed(got, began.Add(time.Duration(r.LeaseDuration)*time.Second))
	case r.Status != 0:
		l.checker.checkRefusedRenewal(got, began, r.Status)
	}
}

func (l *load) revoke(got *lease) {
	if !l.checker.isLive(got, 2*time.Second) {
		return
	}
	began := time.Now()
	r := l.v.do(http.MethodPost, "sys/leases/revoke", fields{"lease_id": got.id, "sync": true})
	l.checker.count("revoke", r.Status)
	l.checker.leaseEnded(got, began)
}

func (l *load) rotateKeys(ctx context.Context, rng *rand.Rand) {
	for wait(ctx, time.Second) {
		s := sources[rng.IntN(len(sources))]
		if !s.rotate {
			continue
		}
		began := time.Now()
		path := fmt.Sprint("rotate-key/", s.user)
		if s.role != nil {
			path = "rotate-role/" + s.roleName()
		}
		r := l.v.do(http.MethodPost, s.at(path), nil)
		l.checker.count("rotate-key, -role", r.Status)
		switch {
		case r.OK():
			l.checker.confirmRotation(s.user, began)
		case r.Status >= 500:
			l.checker.failRotation(s.user, began)
		}
	}
}

func (l *load) rotateRoot(ctx context.Context) {
	for wait(ctx, rootPause) {
		if l.grid.RefusedSince(login, time.Now().Add(-refusedWindow)) < l.maxRootRefused {
			l.checker.count("rotate-root", l.v.do(http.MethodPost, "ecgrid/rotate-root", nil).Status)
		}
	}
}

// configure changes settings that do not affect the login.
func (l *load) configure(ctx context.Context, rng *rand.Rand) {
	methods := []string{http.MethodPost, http.MethodPatch}
	for wait(ctx, 2*time.Second) {
		method, mount := methods[rng.IntN(len(methods))], mounts[rng.IntN(len(mounts))]
		l.checker.count("config "+method, l.v.do(method, mount+"/config", fields{"ttl": leaseTTL + rng.IntN(5)}).Status)
		l.checker.count("config read", l.v.do(http.MethodGet, mount+"/config", nil).Status)
		l.checker.count("status", l.v.do(http.MethodGet, mount+"/status", nil).Status)
		l.checker.count("list", l.v.do("LIST", mount+"/keys", nil).Status)
	}
}

// disturb kills something, or takes it down, at regular intervals.
func (l *load) disturb(ctx context.Context, every time.Duration) {
	kinds := []struct {
		name string
		do   func() error
	}{
		{"plugin killed", func() error { l.killPlugin(); return l.awaitPlugin() }},
		{"ECGrid refuses", func() error { l.grid.TakeDown(3*time.Second, false); return nil }},
		{"plugin reloaded", func() error {
			defer l.orphanSessions(time.Now()) // Vault kills it a moment later
			l.v.do(http.MethodPut, "sys/plugins/reload/backend", fields{"plugin": pluginName})
			return nil
		}},
		{"Vault killed", func() error {
			began := time.Now()
			l.v.Kill()
			l.orphanSessions(began)
			return l.restart(l.v.Launch)
		}},
		{"ECGrid hangs", func() error { l.grid.TakeDown(3*time.Second, true); return nil }},
		{"Vault sealed", func() error {
			began := time.Now() // storage is sealed from then on, and the plugin ends later
			l.v.do(http.MethodPut, "sys/seal", nil)
			l.orphanSessions(began)
			return l.restart(func() error { return nil })
		}},
	}
	for i := 0; wait(ctx, every); i++ { // in order, so that a short run has each kind
		k := kinds[i%len(kinds)]
		l.checker.recordDisturbance(k.name, k.do)
	}
}

func (l *load) restart(launch func() error) error {
	if err := launch(); err != nil {
		return err
	}
	return l.v.Unseal()
}

func (l *load) killPlugin() {
	defer l.orphanSessions(time.Now())
	l.v.KillPlugins()
}

// awaitPlugin waits until each mount has a process again. Until then Vault answers, even to a
// renewal with 400, that it has none.
func (l *load) awaitPlugin() error {
	deadline := time.Now().Add(pluginStart)
	for _, mount := range mounts {
		for !l.v.do(http.MethodGet, mount+"/info", nil).OK() {
			if time.Now().After(deadline) {
				return errors.New("the plugin does not come back")
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// orphanSessions is for a process that could not store its SessionID any more, or not log
// out, because it was ended since then.
func (l *load) orphanSessions(since time.Time) { l.grid.OrphanSessions(since.Add(-2 * time.Second)) }
