package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/otherhand"
)

const (
	login     = "vault@example.com"
	loginID   = 9000
	keyID     = 9001 // whose API key the second mount uses as its login
	cacheTTL  = 2 * time.Second
	firstWord = "First-Passw0rd-of-the-login"

	leaseTTL  = 20 // seconds
	pause     = 100 * time.Millisecond
	mostHeld  = 20 // leases a worker
	workers   = 8
	rootPause = 4 * time.Second

	pace       = 3 // refused Logins in a paceWindow, says the engine's contract
	paceWindow = 15 * time.Minute
)

// mounts are two of the engine: one with a password, sessions and no cache, and
// one with an API key in the login's place and a cache.
var mounts = []string{"ecgrid", "cached"}

// source is something that gives a user's key.
type source struct {
	mount   string // the first, if it is empty
	path    string
	user    int
	role    fields // nil: keys/<user_id>
	counted bool
	rotate  bool // an operator rotates it too, and nothing else does
	rare    bool // read seldom, so that its last lease often ends
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

// stale is how old what a mount gives may be.
func (s source) stale() time.Duration {
	if s.mount == "cached" {
		return joining + cacheTTL
	}
	return joining
}

func (s source) roleName() string { return s.path[len("creds/"):] }

func users() []otherhand.User {
	all := []otherhand.User{
		{ID: loginID, Login: login, Password: firstWord, AuthLevel: "NetworkAdmin", NetworkID: 1},
		{ID: keyID, Login: "by key", Password: "Another-Passw0rd", AuthLevel: "NetworkAdmin", NetworkID: 1},
	}
	for _, s := range sources {
		all = append(all, otherhand.User{ID: s.user, Login: fmt.Sprint("user", s.user), Password: fmt.Sprint("Other-Passw0rd-", s.user), AuthLevel: "General", NetworkID: 1})
	}
	return all
}

// load is what goes on while it is bad.
type load struct {
	grid *otherhand.Server
	v    *vault
	b    *book
	seed uint64

	// A rotate-root whose answer is lost costs a refused Login, since the only way to
	// learn that the old password is dead is to try it, and one more each time that
	// the new one meets a misfortune. At so many the operator waits: what is left of
	// the pace is for that, or the rest of the run would only test the waiting.
	rootBudget int

	until time.Time // for what has to come right by itself
}

// run works until ctx ends.
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

// wait gives false when it is over.
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
		if len(held) > mostHeld {
			held = held[1:] // this one expires
		}
		switch roll := rng.IntN(100); {
		case roll < 3:
			l.hangUp(ctx, rng)
		case roll < 60 || len(held) == 0:
			if got := l.read(anySource(rng)); got != nil {
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

func anySource(rng *rand.Rand) source {
	for {
		if s := sources[rng.IntN(len(sources))]; !s.rare || rng.IntN(8) == 0 {
			return s
		}
	}
}

func (l *load) read(s source) *lease {
	began := time.Now()
	r := l.v.do(http.MethodGet, s.at(s.path), nil)
	l.b.count("read", r.Status)
	if !r.ok() {
		return nil
	}
	key, _ := r.Data["api_key"].(string)
	l.b.read(s.user, key, began, s.stale())
	got := &lease{
		id: r.LeaseID, user: s.user, key: key, counted: s.counted,
		end: began.Add(time.Duration(r.Duration) * time.Second),
	}
	l.b.add(got)
	return got
}

// hangUp is a client that does not wait for its answer.
func (l *load) hangUp(ctx context.Context, rng *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(50))*time.Millisecond)
	defer cancel()
	s := anySource(rng)
	l.v.doContext(ctx, http.MethodGet, s.at(s.path), nil)
}

func (l *load) renew(got *lease) {
	if !l.b.live(got, 5*time.Second) {
		return
	}
	began := time.Now()
	r := l.v.do(http.MethodPost, "sys/leases/renew", fields{"lease_id": got.id})
	l.b.count("renew", r.Status)
	switch {
	case r.ok():
		l.b.extended(got, began.Add(time.Duration(r.Duration)*time.Second))
	case r.Status != 0:
		l.b.refusedRenewal(got, began, r.Status)
	}
}

func (l *load) revoke(got *lease) {
	if !l.b.live(got, 2*time.Second) {
		return
	}
	r := l.v.do(http.MethodPost, "sys/leases/revoke", fields{"lease_id": got.id, "sync": true})
	l.b.count("revoke", r.Status)
	l.b.ended(got)
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
		l.b.count("rotate-key, -role", r.Status)
		switch {
		case r.ok():
			l.b.confirm(s.user, began)
		case r.Status >= 500:
			l.b.failed(s.user, began)
		}
	}
}

func (l *load) rotateRoot(ctx context.Context) {
	for wait(ctx, rootPause) {
		if l.grid.RefusedSince(login, time.Now().Add(-paceWindow)) < l.rootBudget {
			l.b.count("rotate-root", l.v.do(http.MethodPost, "ecgrid/rotate-root", nil).Status)
		}
	}
}

// configure is an operator who changes what has nothing to do with the login.
func (l *load) configure(ctx context.Context, rng *rand.Rand) {
	methods := []string{http.MethodPost, http.MethodPatch}
	for wait(ctx, 2*time.Second) {
		method, mount := methods[rng.IntN(len(methods))], mounts[rng.IntN(len(mounts))]
		l.b.count("config "+method, l.v.do(method, mount+"/config", fields{"ttl": leaseTTL + rng.IntN(5)}).Status)
		l.b.count("config read", l.v.do(http.MethodGet, mount+"/config", nil).Status)
		l.b.count("status", l.v.do(http.MethodGet, mount+"/status", nil).Status)
		l.b.count("list", l.v.do("LIST", mount+"/keys", nil).Status)
	}
}

// disturb kills something every now and then.
func (l *load) disturb(ctx context.Context, every time.Duration) {
	kinds := []struct {
		name string
		do   func() error
	}{
		{"plugin killed", l.killPlugin},
		{"ECGrid refuses", func() error { l.grid.Down(3*time.Second, false); return nil }},
		{"plugin reloaded", func() error {
			l.v.do(http.MethodPut, "sys/plugins/reload/backend", fields{"plugin": pluginName})
			l.excuse() // it is killed too, a moment later
			return nil
		}},
		{"Vault killed", func() error {
			l.v.kill()
			l.excuse()
			return l.comeBack(l.v.launch)
		}},
		{"ECGrid hangs", func() error { l.grid.Down(3*time.Second, true); return nil }},
		{"Vault sealed", func() error {
			l.v.do(http.MethodPut, "sys/seal", nil)
			l.excuse()
			return l.comeBack(func() error { return nil })
		}},
	}
	for i := 0; wait(ctx, every); i++ { // in this order, so that a short run meets each
		k := kinds[i%len(kinds)]
		l.b.disturbing(k.name, k.do)
	}
}

func (l *load) comeBack(launch func() error) error {
	if err := launch(); err != nil {
		return err
	}
	return l.v.unseal()
}

func (l *load) killPlugin() error {
	l.v.killPlugin()
	l.excuse()
	return nil
}

// excuse is for what died with a SessionID in its hand that it had not noted yet.
func (l *load) excuse() { l.grid.Excuse(time.Now().Add(-2 * time.Second)) }
