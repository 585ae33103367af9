// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	workersPerMount = 3
	meanPause       = 60 * time.Millisecond
	keptLeases      = 20 // of each worker, to renew and revoke
)

// worker sends random requests to one mount.
type worker struct {
	*world
	mount  mount
	random *rand.Rand
	leases []string
}

// action is a request that a worker may send, and how often.
type action struct {
	name   string
	weight int
	do     func(*worker) vaulttest.Response
}

// actions are what consumers and operators do all day.
var actions = []action{
	{"read keys", 30, func(w *worker) vaulttest.Response {
		return w.lease(fmt.Sprintf("keys/%d", pick(w.random, w.mount.users)))
	}},
	{"read creds", 30, func(w *worker) vaulttest.Response { return w.lease("creds/" + w.anyRole("")) }},
	{"read static-creds", 8, func(w *worker) vaulttest.Response { return w.get("static-creds/" + w.anyRole(kindCounted)) }},
	{"renew", 12, func(w *worker) vaulttest.Response { return w.onLease("renew", false) }},
	{"revoke", 12, func(w *worker) vaulttest.Response { return w.onLease("revoke", true) }},
	{"list keys", 2, func(w *worker) vaulttest.Response { return w.v.do("LIST", w.mount.path+"/keys", nil) }},
	{"read config, status and info", 3, func(w *worker) vaulttest.Response {
		return w.get(pick(w.random, []string{"config", "status", "info"}))
	}},
	{"rotate-key", 2, func(w *worker) vaulttest.Response {
		return w.write(fmt.Sprintf("rotate-key/%d", pick(w.random, w.mount.users)), nil)
	}},
	{"rotate-role", 2, func(w *worker) vaulttest.Response { return w.write("rotate-role/"+w.anyRole(""), nil) }},
	{"write and delete a role", 2, (*worker).temporaryRole},
	{"write config", 1, func(w *worker) vaulttest.Response {
		return w.write("config", fields{"key_cache_ttl": pick(w.random, []string{"0", "2s"})})
	}},
}

func (w *world) runLoad(ctx context.Context, m mount, seed uint64) {
	wk := &worker{world: w, mount: m, random: rand.New(rand.NewPCG(seed, 1))}
	total := 0
	for _, a := range actions {
		total += a.weight
	}
	for ctx.Err() == nil {
		n := wk.random.IntN(total)
		for _, a := range actions {
			if n -= a.weight; n < 0 {
				w.countInPhase(a.name + outcome(a.do(wk)))
				break
			}
		}
		pause(ctx, time.Duration(wk.random.Int64N(int64(2*meanPause))))
	}
}

func outcome(r vaulttest.Response) string {
	switch {
	case r.OK():
		return ": done"
	case r.Status == 0:
		return ": no answer"
	}
	return fmt.Sprintf(": %d", r.Status)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (w *worker) get(path string) vaulttest.Response {
	return w.v.do(http.MethodGet, w.mount.path+"/"+path, nil)
}

func (w *worker) write(path string, body fields) vaulttest.Response {
	return w.v.do(http.MethodPost, w.mount.path+"/"+path, body)
}

// anyRole names a role of any kind but one.
func (w *worker) anyRole(but string) string {
	for {
		user := pick(w.random, w.mount.users)
		if kind := kindOf(user); kind != but {
			return w.mount.role(kind, user)
		}
	}
}

// lease reads a leased key.
func (w *worker) lease(path string) vaulttest.Response {
	r := w.get(path)
	if r.OK() && r.LeaseID != "" {
		w.leases = append(w.leases, r.LeaseID)
		w.leases = w.leases[max(0, len(w.leases)-keptLeases):]
	}
	return r
}

// onLease renews or revokes one of the latest leases. It may have ended already.
func (w *worker) onLease(what string, ends bool) vaulttest.Response {
	if len(w.leases) == 0 {
		return w.get("info")
	}
	i := w.random.IntN(len(w.leases))
	id := w.leases[i]
	if ends {
		w.leases = append(w.leases[:i:i], w.leases[i+1:]...)
	}
	return w.v.do(http.MethodPost, "sys/leases/"+what, fields{"lease_id": id})
}

func (w *worker) temporaryRole() vaulttest.Response {
	path := fmt.Sprintf("roles/temporary-%d", w.random.Uint32())
	if r := w.write(path, fields{"user_id": pick(w.random, w.mount.users), "rotation_period": "1h"}); !r.OK() {
		return r
	}
	for range 100 { // a failover may be in between
		r := w.v.do(http.MethodDelete, w.mount.path+"/"+path, nil)
		if r.OK() {
			return r
		}
		time.Sleep(100 * time.Millisecond)
	}
	return vaulttest.Response{}
}
