// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestRefusedLogin(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(fields{"session_idle_timeout": "0"})
	m.sim.SetPassword(simulator.AdminUserID, "An0ther-password!")
	m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", nil)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	if n := m.sim.Count("Login"); n != 2 {
		t.Errorf("%d logins, want the first and one refused", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// ECGrid locks accounts. There are never more than three refused logins in 15 minutes,
// even across config writes and restarts.
func TestRefusedLoginsArePaced(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(fields{"session_idle_timeout": "0"})
	m.sim.SetPassword(simulator.AdminUserID, "An0ther-password!")
	var after []int // refused logins by the end of each minute
	for minute := range 60 {
		_, _ = m.do(logical.ReadOperation, "keys/5001", nil)
		m.must(logical.UpdateOperation, "config", fields{"ttl": minute + 60})
		if minute%4 == 0 {
			m.restart()
		}
		_, _ = m.do(logical.ReadOperation, "status", nil)
		m.tick()
		clock.advance(time.Minute)
		after = append(after, m.sim.State().RefusedLogins)
		if from := minute - 15; from >= 0 && after[minute]-after[from] > 3 {
			t.Fatalf("%d refused logins in 15 minutes", after[minute]-after[from])
		}
	}
	if n := after[len(after)-1]; n < 4 {
		t.Errorf("%d tries in an hour are too few to notice that the password is valid again", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// A process logs out the session that a killed one left open, before its own Login.
func TestKilledProcessLeavesNoSession(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	for range 8 { // more than ECGrid allows sessions
		m.must(logical.ReadOperation, "keys/5001", nil)
		m.restart()
	}
	m.must(logical.ReadOperation, "keys/5001", nil)
	if state := m.sim.State(); state.OpenSessions != 1 || state.MaxOpenSessions != 1 || state.RefusedLogins != 0 {
		t.Errorf("%d sessions, %d at once, %d refused logins", state.OpenSessions, state.MaxOpenSessions, state.RefusedLogins)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
}
