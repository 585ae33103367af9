package acceptance

import (
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestOneSessionForAll: ECGrid gives a user about five, for everybody.
func TestOneSessionForAll(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), fields{"session_idle_timeout": "1s", "verify_connection": false})
	clear := m.Inject(simulator.Fault{Op: "Login", Delay: 200 * time.Millisecond}) // so that all of them wait for it
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
	m.loggedOut(t, "idle time")
	if n := m.Count("Logout"); n != 1 {
		t.Errorf("%d Logouts, want 1", n)
	}
	m.works(t)
}

func TestLogoutWithoutIdleTime(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), fields{"session_idle_timeout": 0})
	m.readKey(t, simulator.UserID5001)
	m.loggedOut(t, "the request")
}

func TestLogoutOnDisable(t *testing.T) {
	t.Parallel()
	m := mountedForGood(t, shared(t))
	m.loggedIn(t)
	m.disable(t)
	m.loggedOut(t, "disable")
}

func TestLogoutOnConfigChange(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), nil)
	m.loggedIn(t)
	m.configure(t, fields{"request_timeout": "10s"})
	m.works(t)
	if n := m.OpenSessions(); n > 1 {
		t.Errorf("%d sessions open after a config change", n)
	}
	m.ok(t, http.MethodDelete, m.at("config"), nil)
	m.loggedOut(t, "config delete")
	m.refused(t, http.StatusBadRequest, http.MethodGet, m.at("keys/5001"), nil)
}

// mountedForGood is for tests that take the mount or its Vault away themselves.
func mountedForGood(t *testing.T, v *vault) *mount {
	t.Helper()
	m := &mount{vault: v, ecgrid: newECGrid(t), path: fmt.Sprintf("ecgrid%d", v.mounts.Add(1))}
	v.ok(t, http.MethodPost, path("sys/mounts", m.path), fields{"type": pluginName})
	m.configure(t, nil)
	return m
}

// TestProcessEnds goes through the ways in which the plugin's process, or its
// mount, comes to an end while Vault lives on.
func TestProcessEnds(t *testing.T) {
	t.Parallel()
	v := own(t, inmem)
	first, second := configured(t, v, nil), configured(t, v, nil)
	bothLoggedIn := func(t *testing.T) {
		t.Helper()
		first.works(t)
		second.works(t)
		if a, b := first.OpenSessions(), second.OpenSessions(); a != 1 || b != 1 {
			t.Fatalf("%d and %d sessions open, want 1 and 1", a, b)
		}
	}
	bothLoggedOut := func(t *testing.T, after string) {
		t.Helper()
		first.loggedOut(t, after)
		second.loggedOut(t, after)
	}

	t.Run("SIGTERM", func(t *testing.T) {
		bothLoggedIn(t)
		pid := v.plugin(t)
		signal(pid, syscall.SIGTERM)
		bothLoggedOut(t, "SIGTERM")
		eventually(t, 10*time.Second, "the process ends", func() bool { return !alive(pid) })
		first.works(t)
	})
	t.Run("reload of the plugin", func(t *testing.T) {
		bothLoggedIn(t)
		v.run(t, "plugin", "reload", "-plugin="+pluginName)
		bothLoggedOut(t, "reload")
	})
	t.Run("reload of one mount", func(t *testing.T) {
		bothLoggedIn(t)
		v.ok(t, http.MethodPut, "sys/plugins/reload/backend", fields{"mounts": []string{first.path + "/"}})
		first.loggedOut(t, "reload of its mount")
		second.works(t)
		eventually(t, 10*time.Second, "at most one session of the other mount", func() bool { return second.OpenSessions() <= 1 })
	})
	t.Run("seal", func(t *testing.T) {
		bothLoggedIn(t)
		v.run(t, "operator", "seal")
		bothLoggedOut(t, "seal")
		if err := v.unseal(); err != nil {
			t.Fatal(err)
		}
		first.works(t)
	})
	t.Run("SIGKILL", func(t *testing.T) {
		bothLoggedIn(t)
		before := first.Count("UserGetAPIKey")
		pid := v.plugin(t)
		signal(pid, syscall.SIGKILL)
		eventually(t, 5*time.Second, "the process is gone", func() bool { return !alive(pid) })
		// At once, and the first time: Vault starts the plugin again by itself.
		first.readKey(t, simulator.UserID5001)
		if n := first.Count("UserGetAPIKey"); n != before+1 {
			t.Errorf("%d calls for one read", n-before)
		}
		second.works(t)
		// What the killed process had open, the next one has logged out.
		first.oneSession(t, "SIGKILL")
		second.oneSession(t, "SIGKILL")
	})
	t.Run("SIGTERM of Vault", func(t *testing.T) {
		bothLoggedIn(t)
		v.stop()
		bothLoggedOut(t, "Vault's end")
	})
}

// TestVaultIsKilled: nobody tells the plugin, yet it must not keep its session.
func TestVaultIsKilled(t *testing.T) {
	t.Parallel()
	v := own(t, raft)
	m := configured(t, v, nil)
	m.loggedIn(t)
	held := m.readKey(t, simulator.UserID5001)
	pid := v.plugin(t)

	v.kill()
	m.loggedOut(t, "SIGKILL of Vault")
	eventually(t, 10*time.Second, "the orphan ends", func() bool { return !alive(pid) })

	v.restart(t)
	m.works(t)
	if a := m.ok(t, http.MethodPost, "sys/leases/renew", fields{"lease_id": held.LeaseID}); a.LeaseDuration <= 0 {
		t.Errorf("the lease from before is renewed for %d s", a.LeaseDuration)
	}
	m.ok(t, http.MethodPost, "sys/leases/revoke", fields{"lease_id": held.LeaseID, "sync": true})
}

// TestMountsAreApart: what happens to one mount is nothing to another.
func TestMountsAreApart(t *testing.T) {
	t.Parallel()
	v := shared(t)
	gone, stays := mountedForGood(t, v), configured(t, v, nil)
	gone.loggedIn(t)
	stays.loggedIn(t)

	gone.disable(t)
	gone.loggedOut(t, "disable")
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

// TestDeadSession: ECGrid ends sessions as it likes; a read does not notice.
func TestDeadSession(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), nil)
	m.loggedIn(t)
	logins := m.Count("Login")
	m.KillSessions(0)
	m.readKey(t, simulator.UserID5001)
	if n := m.Count("Login"); n != logins+1 {
		t.Errorf("%d more Logins, want 1", n-logins)
	}
}
