// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// lockoutAfter is how many refused logins in a row lock a user out at ECGrid.
const lockoutAfter = 5

// The users whose keys are read by the load, and those whose keys are rotated.
const (
	firstReadUser = 5101
	readUsers     = 8
	scheduledUser = 5201
	countedUser   = 5202
)

// grid is ECGrid. It records when passwords and keys change.
type grid struct {
	*simulator.Server

	mu      sync.Mutex
	seen    map[int32]string
	changes map[int32]int
}

func startGrid(t *testing.T) *grid {
	t.Helper()
	users := simulator.DefaultUsers()
	for _, id := range append(usersOfLoad(), scheduledUser, countedUser) {
		users = append(users, simulator.User{UserID: id, LoginName: fmt.Sprint("sim-", id), NetworkID: users[0].NetworkID})
	}
	server, err := simulator.Start(simulator.Options{Users: users, LockoutAfter: lockoutAfter}, simulator.ServerOptions{TLS: true})
	must(t, err)
	t.Cleanup(func() { _ = server.Close() })
	g := &grid{Server: server, seen: map[int32]string{}, changes: map[int32]int{}}
	go g.observe(t.Context())
	return g
}

func usersOfLoad() (ids []int32) {
	for i := range readUsers {
		ids = append(ids, int32(firstReadUser+i))
	}
	return ids
}

// observe looks often enough: before each replacement of a key or password the plugin
// stores a note.
func (g *grid) observe(ctx context.Context) {
	for ctx.Err() == nil {
		users := g.Users()
		g.mu.Lock()
		for _, u := range users {
			now := u.Password + " " + u.APIKey
			if before := g.seen[u.UserID]; before != "" && before != now {
				g.changes[u.UserID]++
			}
			g.seen[u.UserID] = now
		}
		g.mu.Unlock()
		time.Sleep(2 * time.Millisecond)
	}
}

// changed returns how often a user's key or password was replaced.
func (g *grid) changed(userID int32) int {
	time.Sleep(10 * time.Millisecond) // the latest change has been seen
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changes[userID]
}

func (g *grid) user(userID int32) simulator.User {
	u, _ := g.User(userID)
	return u
}

func (g *grid) password() string { return g.user(simulator.AdminUserID).Password }

// loginConfig is a config with the administrator's login.
func (g *grid) loginConfig() fields {
	u := g.user(simulator.AdminUserID)
	return fields{
		"transport": transport(), "url": g.URL(transport()), "ca_cert": string(g.CACert),
		"username": u.LoginName, "password": u.Password,
		"session_idle_timeout": "1s", "ttl": "10m",
	}
}
