// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const (
	usersPerMount = 12
	leaseTTL      = 20 * time.Second
	network       = 100
)

// mount is one mount of the engine, with users and a login of its own.
type mount struct {
	path      string
	transport string
	storage   string
	admin     int32
	users     []int32
}

// login is the ECGridOS LoginName of the config.
func (m mount) login() string { return "soak-" + m.path }

// role names the role of a user. Each user has one of these kinds.
func (m mount) role(kind string, user int32) string { return fmt.Sprintf("%s-%d", kind, user) }

const (
	kindPlain     = "plain"
	kindCounted   = "counted"
	kindScheduled = "scheduled"
)

var kinds = []struct {
	name   string
	fields fields
}{
	{kindPlain, fields{"ttl": leaseTTL.String()}},
	{kindCounted, fields{"ttl": leaseTTL.String(), "rotate_on_revoke": true}},
	{kindScheduled, fields{"rotation_period": "1m"}},
}

// kindOf spreads the users over the kinds.
func kindOf(user int32) string { return kinds[int(user)%len(kinds)].name }

// world is a Vault with two mounts, one for each transport, and their ECGrid.
type world struct {
	v      *vault
	grid   *simulator.Server
	mounts []mount
	began  time.Time

	mu      sync.Mutex
	phase   string
	samples []sample
	counts  map[string]int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{began: time.Now(), counts: map[string]int{}, mounts: []mount{
		{path: "soap", transport: simulator.TransportSOAP, admin: 1001},
		{path: "rest", transport: simulator.TransportREST, admin: 1002},
	}}
	var users []simulator.User
	for i := range w.mounts {
		m := &w.mounts[i]
		users = append(users, simulator.User{UserID: m.admin, LoginName: m.login(), NetworkID: network, AuthLevel: "NetworkAdmin"})
		for n := range int32(usersPerMount) {
			id := 5001 + 1000*int32(i) + n
			m.users = append(m.users, id)
			users = append(users, simulator.User{UserID: id, LoginName: fmt.Sprintf("user-%d", id), NetworkID: network})
		}
	}
	w.startGrid(t, users)
	w.v = startVault(t)
	return w
}

// startGrid starts an ECGrid that keeps forgotten sessions for an hour, so that the test
// sees them.
func (w *world) startGrid(t *testing.T, users []simulator.User) {
	t.Helper()
	grid, err := simulator.Start(simulator.Options{
		Users: users, TokenLife: 2 * time.Minute, LockoutAfter: 10, KeepCalls: 1000, KeepSecrets: 1000,
	}, simulator.ServerOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	w.grid = grid
	t.Cleanup(func() { _ = grid.Close() })
}

// config is the config of a mount, with the password that its login has now.
func (w *world) config(m mount) fields {
	u, _ := w.grid.User(m.admin)
	return fields{
		"transport": m.transport, "url": w.grid.URL(m.transport), "ca_cert": string(w.grid.CACert),
		"username": u.LoginName, "password": u.Password,
		"ttl": leaseTTL.String(), "max_ttl": "10m", "request_timeout": "5s", "session_idle_timeout": "3s",
	}
}

// prepare mounts and configures the engine, and writes the roles.
func (w *world) prepare(t *testing.T) {
	t.Helper()
	for i := range w.mounts {
		m := &w.mounts[i]
		m.storage = w.v.mount(t, m.path)
		w.v.must(t, http.MethodPost, m.path+"/config", w.config(*m))
		for _, user := range m.users {
			for _, kind := range kinds {
				if kind.name != kindOf(user) {
					continue
				}
				role := fields{"user_id": user}
				for name, value := range kind.fields {
					role[name] = value
				}
				w.v.must(t, http.MethodPost, m.path+"/roles/"+m.role(kind.name, user), role)
			}
		}
	}
	for _, m := range w.mounts {
		for _, user := range m.users {
			w.v.must(t, http.MethodGet, fmt.Sprintf("%s/keys/%d", m.path, user), nil)
		}
	}
}

func (w *world) count(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[what]++
}

// countInPhase counts something that a failover may cause.
func (w *world) countInPhase(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == phaseFailovers {
		what += inFailovers
	}
	w.counts[what]++
}

// inFailovers marks what happened in the second phase.
const inFailovers = ", during failovers"

func (w *world) enterPhase(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
}

func (w *world) inPhase(phase string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.phase == phase
}

func (w *world) counted(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.counts[what]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }
