// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// All readers share one session, since ECGrid allows a user about five.
func TestOneSessionForAll(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), fields{"session_idle_timeout": "1s", "verify_connection": false})
	clear := m.Inject(simulator.Fault{Op: "Login", Delay: 200 * time.Millisecond}) // all readers wait for it
	defer clear()

	const readers = 200
	var wg sync.WaitGroup
	start := make(chan struct{})
	failed := make(chan string, readers)
	for i := range readers {
		wg.Go(func() {
			<-start
			user := int32(simulator.UserID5001 + i%2)
			a, err := m.do(http.MethodGet, m.at("keys", user), nil)
			if err != nil || a.Data["api_key"] != m.key(user) {
				failed <- fmt.Sprintf("HTTP %d %v %v", a.Status, a.Errors, err)
			}
		})
	}
	close(start)
	wg.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
	s := m.State()
	if s.Calls["Login"] != 1 || s.MaxOpenSessions != 1 || s.RefusedLogins != 0 {
		t.Errorf("%d Logins, at most %d sessions open, %d refused; want 1, 1, 0", s.Calls["Login"], s.MaxOpenSessions, s.RefusedLogins)
	}
	m.awaitLogout(t, "idle time")
	if n := m.Count("Logout"); n != 1 {
		t.Errorf("%d Logouts, want 1", n)
	}
	m.awaitRead(t)
}

func TestLogoutWithoutIdleTime(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), fields{"session_idle_timeout": 0})
	m.readKey(t, simulator.UserID5001)
	m.awaitLogout(t, "the request")
}

func TestLogoutOnDisable(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.openSession(t)
	m.disable(t)
	m.awaitLogout(t, "disable")
}

func TestLogoutOnConfigChange(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.openSession(t)
	m.configure(t, fields{"request_timeout": "10s"})
	m.awaitRead(t)
	if n := m.OpenSessions(); n > 1 {
		t.Errorf("%d sessions open after a config change", n)
	}
	m.ok(t, http.MethodDelete, m.at("config"), nil)
	m.awaitLogout(t, "config delete")
	m.wantStatus(t, http.StatusBadRequest, http.MethodGet, m.at("keys/5001"), nil)
}

// twoMounts are served by one plugin process.
type twoMounts struct {
	*vault
	first, second *mount
}

func (m twoMounts) logIn(t *testing.T) {
	t.Helper()
	m.first.awaitRead(t)
	m.second.awaitRead(t)
	if a, b := m.first.OpenSessions(), m.second.OpenSessions(); a != 1 || b != 1 {
		t.Fatalf("%d and %d sessions open, want 1 and 1", a, b)
	}
}

func (m twoMounts) awaitLogout(t *testing.T, after string) {
	t.Helper()
	m.first.awaitLogout(t, after)
	m.second.awaitLogout(t, after)
}

// TestProcessEnds ends the plugin's process or unloads its mounts in different ways. The
// steps share one Vault and run in this order.
func TestProcessEnds(t *testing.T) {
	t.Parallel()
	v := ownVault(t, inmem)
	m := twoMounts{v, configuredMount(t, v, nil), configuredMount(t, v, nil)}
	for _, step := range []struct {
		name string
		test func(*testing.T)
	}{
		{"SIGTERM", m.testSIGTERM},
		{"reload of the plugin", func(t *testing.T) {
			v.run(t, "plugin", "reload", "-plugin="+pluginName)
			m.awaitLogout(t, "reload")
		}},
		{"reload of one mount", m.testReloadOfOneMount},
		{"seal", m.testSeal},
		{"SIGKILL", m.testSIGKILL},
		{"SIGTERM of Vault", func(t *testing.T) {
			v.stop()
			m.awaitLogout(t, "Vault's end")
		}},
	} {
		t.Run(step.name, func(t *testing.T) {
			m.logIn(t)
			step.test(t)
		})
	}
}

func (m twoMounts) testSIGTERM(t *testing.T) {
	pid := m.pluginPID(t)
	vaulttest.Signal(pid, syscall.SIGTERM)
	m.awaitLogout(t, "SIGTERM")
	eventually(t, 10*time.Second, "the process ends", func() bool { return !vaulttest.Alive(pid) })
	m.first.awaitRead(t)
}

func (m twoMounts) testReloadOfOneMount(t *testing.T) {
	m.ok(t, http.MethodPut, "sys/plugins/reload/backend", fields{"mounts": []string{m.first.path + "/"}})
	m.first.awaitLogout(t, "reload of its mount")
	m.second.awaitRead(t)
	eventually(t, 10*time.Second, "at most one session of the other mount", func() bool { return m.second.OpenSessions() <= 1 })
}

func (m twoMounts) testSeal(t *testing.T) {
	m.run(t, "operator", "seal")
	m.awaitLogout(t, "seal")
	if err := m.unseal(); err != nil {
		t.Fatal(err)
	}
	m.first.awaitRead(t)
}

func (m twoMounts) testSIGKILL(t *testing.T) {
	before := m.first.Count("UserGetAPIKey")
	pid := m.pluginPID(t)
	vaulttest.Signal(pid, syscall.SIGKILL)
	eventually(t, 5*time.Second, "the process is gone", func() bool { return !vaulttest.Alive(pid) })
	// The first read works, as soon as Vault has noticed: it starts the plugin again.
	eventually(t, 5*time.Second, "Vault notices", func() bool {
		a, err := m.first.do(http.MethodGet, m.first.at("keys", simulator.UserID5001), nil)
		if unnoticed := strings.Contains(string(a.Body), "code = Unavailable"); unnoticed {
			return false
		}
		if err != nil || a.Status != http.StatusOK {
			t.Fatalf("the first read: HTTP %d, %v", a.Status, err)
		}
		return true
	})
	if n := m.first.Count("UserGetAPIKey"); n != before+1 {
		t.Errorf("%d calls for one read", n-before)
	}
	m.second.awaitRead(t)
	// The new process has logged out the sessions of the killed one.
	m.first.awaitOneSession(t, "SIGKILL")
	m.second.awaitOneSession(t, "SIGKILL")
}

// The plugin logs out even if Vault is killed and cannot tell it to end.
func TestVaultIsKilled(t *testing.T) {
	t.Parallel()
	v := ownVault(t, raft)
	m := configuredMount(t, v, nil)
	m.openSession(t)
	held := m.readKey(t, simulator.UserID5001)
	pid := v.pluginPID(t)

	v.kill()
	m.awaitLogout(t, "SIGKILL of Vault")
	eventually(t, 10*time.Second, "the plugin's process ends", func() bool { return !vaulttest.Alive(pid) })

	v.restart(t)
	m.awaitRead(t)
	if a := m.ok(t, http.MethodPost, "sys/leases/renew", fields{"lease_id": held.LeaseID}); a.LeaseDuration <= 0 {
		t.Errorf("the lease from before is renewed for %d s", a.LeaseDuration)
	}
	m.ok(t, http.MethodPost, "sys/leases/revoke", fields{"lease_id": held.LeaseID, "sync": true})
}

// Disabling a mount does not affect the session of another.
func TestMountsAreApart(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	gone, stays := configuredMount(t, v, nil), configuredMount(t, v, nil)
	gone.openSession(t)
	stays.openSession(t)

	gone.disable(t)
	gone.awaitLogout(t, "disable")
	if n := stays.OpenSessions(); n != 1 {
		t.Errorf("the other mount has %d sessions", n)
	}
	stays.readKey(t, simulator.UserID5002)
	if n := stays.Count("Login"); n > 2 {
		t.Errorf("the other mount has logged in %d times", n)
	}
	if n := stays.Count("Logout"); n > 1 {
		t.Errorf("the other mount has logged out %d times", n)
	}
}

// ECGrid may end a session at any time. A read still works.
func TestDeadSession(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.openSession(t)
	logins := m.Count("Login")
	m.KillSessions(0)
	m.readKey(t, simulator.UserID5001)
	if n := m.Count("Login"); n != logins+1 {
		t.Errorf("%d more Logins, want 1", n-logins)
	}
}
