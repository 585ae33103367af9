// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/simulator"
)

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(fields{"rotation_period": "24h"})
	m.expect("config", fields{"last_root_rotation": nil, "next_root_rotation": "2030-01-03T03:04:00Z", "last_root_rotation_error": ""})
	m.must(logical.ReadOperation, "keys/5001", nil)
	clock.advance(time.Hour)
	old := m.user(simulator.AdminUserID).Password
	for i := range 3 {
		resp := m.must(logical.UpdateOperation, "rotate-root", nil)
		if resp.Data["rotated_at"] != "2030-01-02T04:04:00Z" || len(resp.Data) != 1 || resp.Secret != nil || m.sim.Count("ChangePassword") != i+1 {
			t.Errorf("answered %v", resp.Data)
		}
		m.expectResolved()
	}
	now := m.user(simulator.AdminUserID).Password
	if now == old || !simulator.PasswordAllowed(now) || len(now) < 24 {
		t.Error("no new password")
	}
	m.expect("config", fields{"last_root_rotation": "2030-01-02T04:04:00Z", "next_root_rotation": "2030-01-03T04:04:00Z", "last_root_rotation_error": ""})
	m.restart()
	m.expectResolved()
	if state := m.sim.State(); state.RefusedLogins != 0 {
		t.Errorf("%d refused logins", state.RefusedLogins)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 { // including that of the killed process
		t.Errorf("%d sessions left open", n)
	}
}

// rotate-root succeeds even if the session has died since its last use.
func TestRotateRootOnADeadSession(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.sim.KillSessions(0)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.expectResolved()
}

// rotate-root is completed even if the client hangs up.
func TestRotateRootAbandoned(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	old := m.user(simulator.AdminUserID).Password
	ctx, hangUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, After: func(*simulator.Simulator) {
		hangUp()
		<-left
	}})
	_, err := m.backend.HandleRequest(ctx, m.request(logical.UpdateOperation, "rotate-root", nil))
	close(left)
	if err == nil {
		t.Error("the request succeeded without its client")
	}
	m.must(logical.UpdateOperation, "config", fields{"ttl": "1h"}) // waits for rotate-root
	if n := m.sim.Count("Login"); n != 1 || m.user(simulator.AdminUserID).Password == old {
		t.Errorf("the password was not changed, or there were %d logins", n)
	}
	m.expectResolved()
}

func TestRotateRootPolicy(t *testing.T) {
	t.Parallel()
	const good = "From-the-policy-1"
	m := newTestMount(t)
	for name, password := range map[string]string{"good": good, "weak": "weakweakweak", "short": "aB1-", "unprintable": "aB1-\x01aB1-aB1-"} {
		m.vault.SetPasswordPolicy(name, func() (string, error) { return password, nil })
	}
	m.vault.SetPasswordPolicy("broken", func() (string, error) { return "", errors.New("no entropy") })
	m.configure(nil)
	for _, policy := range []string{"weak", "short", "unprintable", "broken", "none"} {
		m.must(logical.UpdateOperation, "config", fields{"password_policy": policy})
		m.refused(http.StatusBadRequest, logical.UpdateOperation, "rotate-root", nil)
		if m.expect("config", fields{"last_root_rotation": nil}); m.stored().Root.LastError == "" {
			t.Errorf("%s: the failure is not recorded", policy)
		}
	}
	m.expectRotated(0, 0)
	m.must(logical.UpdateOperation, "config", fields{"password_policy": "good"})
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.expect("config", fields{"last_root_rotation_error": ""})
	if m.user(simulator.AdminUserID).Password != good {
		t.Error("not the policy's password")
	}
	m.expectResolved()
}

// Declarative tools send the old password again and again.
func TestSupersededPassword(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.freezeClock()
	old := m.login(nil)
	m.must(logical.CreateOperation, "config", old)
	m.must(logical.UpdateOperation, "config", old)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	for _, next := range []func(){
		func() {}, m.restart, func() { m.must(logical.UpdateOperation, "rotate-root", nil) }, m.restart,
	} {
		next()
		calls, before := m.sim.Count(""), m.stored()
		old["ttl"] = "1h"
		for _, verify := range []any{nil, true, false} {
			old["verify_connection"] = verify
			m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", old)
			m.refused(http.StatusBadRequest, logical.PatchOperation, "config", fields{"password": old["password"], "verify_connection": verify})
		}
		if m.sim.Count("") != calls || !reflect.DeepEqual(m.stored(), before) {
			t.Error("a superseded password was tried, or the config was changed")
		}
	}
	// This is what the message tells them to do.
	delete(old, "password")
	delete(old, "verify_connection")
	m.must(logical.UpdateOperation, "config", old)
	m.expect("config", fields{"ttl": 3600.0, "last_root_rotation": startTime.Format(time.RFC3339)})
	m.must(logical.UpdateOperation, "config", m.login(nil)) // with the valid password
	m.expectResolved()
	if n := m.sim.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
}

// If ECGrid has neither of the two passwords, only a config write helps. Until then,
// the plugin must not lock the account.
func TestRotateRootBothRefused(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(nil)
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, Answer: simulator.AnswerResetAfter, After: func(s *simulator.Simulator) {
		s.SetPassword(simulator.AdminUserID, "An0ther-password!")
	}})
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
	first := m.stored().Root.LastError
	m.awaitStored("tried", func(c backend.Config) bool { return c.Root.LastError != first })
	for range 5 {
		m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
		m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
		m.must(logical.UpdateOperation, "config", fields{"ttl": "1h"})
		m.restart()
	}
	if n := m.sim.State().RefusedLogins; n != 2 { // one with each password
		t.Errorf("%d refused logins", n)
	}
	if c := m.stored(); !isUnresolved(c) || c.Root.LastError == "" {
		t.Error("the rotate-root is not unresolved, or has no error")
	}
	clock.advance(time.Minute + time.Second)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	clock.advance(time.Minute)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	if n := m.sim.State().RefusedLogins; n != 3 {
		t.Errorf("%d refused logins", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.expectResolved()
}
