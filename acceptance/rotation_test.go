package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// role writes a role of user 5001.
func (m *mount) role(t *testing.T, name string, settings fields) {
	t.Helper()
	role := fields{"user_id": simulator.UserID5001}
	for field, value := range settings {
		role[field] = value
	}
	m.ok(t, http.MethodPost, m.at("roles", name), role)
}

// TestKilledWhileRotating: the plugin, then Vault itself, is killed at the very
// moment when ECGrid has made a change, or was about to.
func TestKilledWhileRotating(t *testing.T) {
	t.Parallel()
	v := own(t, raft)
	rotate := func(at string) func(*mount, answer) {
		return func(m *mount, _ answer) { _, _ = m.do(http.MethodPost, m.at(at), nil) } // its answer is lost
	}
	revoke := func(m *mount, held answer) {
		_, _ = m.do(http.MethodPost, "sys/leases/revoke", fields{"lease_id": held.LeaseID, "sync": true})
	}
	for _, c := range []struct {
		name    string
		op      string
		applied bool
		begin   func(*mount, answer)
		probes  int // logins with a password that ECGrid has no longer
		made    int // keys, by the end of the last lease; Vault itself may repeat a request
	}{
		{"rotate-root", "ChangePassword", true, rotate("rotate-root"), 1, 1},
		{"rotate-root, not applied", "ChangePassword", false, rotate("rotate-root"), 0, 1},
		{"rotate-key", "GenerateAPIKey", true, rotate("rotate-key/5001"), 0, 2},
		{"the last lease", "GenerateAPIKey", true, revoke, 0, 1},
		{"the last lease, not applied", "GenerateAPIKey", false, revoke, 0, 2},
	} {
		for who, restart := range map[string]bool{"the plugin": false, "Vault": true} {
			t.Run(c.name+", "+who, func(t *testing.T) {
				m := configured(t, v, nil)
				m.role(t, "team", fields{"rotate_on_revoke": true})
				held := m.read(t, m.at("creds/team"))
				key, password := m.key(simulator.UserID5001), m.password(simulator.AdminUserID)
				made, refused := m.Count("GenerateAPIKey"), m.State().RefusedLogins

				plugin := v.plugin(t)
				killed := make(chan struct{})
				m.killAt(c.op, c.applied, func() {
					defer close(killed)
					if restart {
						v.kill()
					} else {
						signal(plugin, syscall.SIGKILL)
					}
				})
				c.begin(m, held)
				select {
				case <-killed:
				case <-time.After(30 * time.Second):
					t.Fatal("ECGrid was not called")
				}
				eventually(t, 10*time.Second, "the plugin's process ends", func() bool { return !alive(plugin) })
				if restart {
					v.restart(t)
				}
				if c.applied && m.key(simulator.UserID5001) == key && m.password(simulator.AdminUserID) == password {
					t.Error("it was not killed in the midst of a change")
				}
				m.works(t)
				m.revoke(t, held)
				m.works(t)
				if m.key(simulator.UserID5001) == key {
					t.Error("the key has outlived its last lease")
				}
				if n := m.Count("GenerateAPIKey") - made; n > c.made {
					t.Errorf("%d calls of GenerateAPIKey, want at most %d", n, c.made)
				}
				if n := m.State().RefusedLogins - refused; n > c.probes {
					t.Errorf("%d refused logins, want at most %d", n, c.probes)
				}
				m.settles(t)
				m.oneSession(t, "a kill")
			})
		}
	}
}

// settles waits until the password is ECGrid's and config has nothing to say of it.
func (m *mount) settles(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "rotate-root is settled", func() bool {
		return m.read(t, m.at("config")).Data["last_root_rotation_error"] == ""
	})
	m.works(t)
}

// killAt kills in the midst of the next call of an operation: when ECGrid has
// carried it out, or before.
func (m *mount) killAt(op string, applied bool, kill func()) {
	f := simulator.Fault{Op: op, Times: 1}
	if applied {
		f.After = func(*simulator.Simulator) { kill() }
	} else {
		f.Before = func(*simulator.Simulator) { kill() }
		f.Answer = simulator.AnswerReset
	}
	m.Inject(f)
}

// TestUnconfirmedRotateRoot: what was sent and not confirmed is answered once, with
// 409, keeps both passwords, and settles by itself.
func TestUnconfirmedRotateRoot(t *testing.T) {
	t.Parallel()
	v := shared(t)
	for name, f := range map[string]simulator.Fault{
		"answer lost": {Answer: simulator.AnswerResetAfter, Times: 1},
		"never made":  {Answer: simulator.AnswerReset, Times: 1},
		"made late":   {Answer: simulator.AnswerReset, Times: 1, ApplyLate: 3 * time.Second},
		"hanging":     {Answer: simulator.AnswerSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, v, fields{"request_timeout": "1s"})
			old := m.password(simulator.AdminUserID)
			f.Op = "ChangePassword"
			clear := m.Inject(f)
			if out, code := m.cli("write", "-f", m.at("rotate-root")); code == 0 || !strings.Contains(out, "Code: 409") {
				t.Errorf("exit %d: %s", code, out)
			}
			m.refused(t, http.StatusConflict, http.MethodDelete, m.at("config"), nil)
			m.ok(t, http.MethodPost, m.at("config"), fields{"ttl": "1h"})
			clear()
			m.settles(t)
			if m.password(simulator.AdminUserID) == old {
				t.Error("it is settled, and the password is the old one")
			}
			if n := m.State().RefusedLogins; n > 1 {
				t.Errorf("%d refused logins", n)
			}
		})
	}
}

// TestMovedMount: while Vault moves a mount it revokes the leases, and nothing is
// rotated. The keys that should have died with them are dead within a minute or two.
func TestMovedMount(t *testing.T) {
	t.Parallel()
	v := shared(t)
	m := mountedForGood(t, v)
	m.role(t, "team", fields{"rotate_on_revoke": true})
	held := m.read(t, m.at("creds/team"))
	to := m.path + "-moved"
	v.run(t, "secrets", "move", m.path, to)
	m.path = to
	t.Cleanup(func() { m.disable(t) })
	eventually(t, 3*time.Minute, "the key is dead", func() bool {
		return !opensREST(t, m.ecgrid, held.Data["api_key"].(string))
	})
	m.works(t)
	again := m.read(t, m.at("creds/team"))
	if n := m.Count("GenerateAPIKey"); n != 1 || !opensREST(t, m.ecgrid, again.Data["api_key"].(string)) {
		t.Errorf("%d keys were made", n)
	}
}

// TestDisableRotatesNothing, although it is due: Vault calls the plugin once more
// when it removes a mount.
func TestDisableRotatesNothing(t *testing.T) {
	t.Parallel()
	v := shared(t)
	m := mountedForGood(t, v)
	// Vault looks each minute: what is due half a minute before is seen to be due.
	const jitter = 5 * time.Second // a twentieth of the period, and a little
	m.role(t, "team", fields{"rotation_period": "90s"})
	m.configure(t, fields{"rotation_period": "90s"})
	passed := func(at string, field string) bool {
		next, err := time.Parse(time.RFC3339, m.read(t, m.at(at)).Data[field].(string))
		return err == nil && time.Since(next) > jitter
	}
	eventually(t, 5*time.Minute, "both are due", func() bool {
		return passed("roles/team", "next_rotation") && passed("config", "next_root_rotation")
	})
	passwords, keys := m.Count("ChangePassword"), m.Count("GenerateAPIKey")
	m.disable(t)
	m.loggedOut(t, "disable")
	if p, k := m.Count("ChangePassword")-passwords, m.Count("GenerateAPIKey")-keys; p+k != 0 {
		t.Errorf("%d passwords and %d keys were rotated by the end of the mount", p, k)
	}
}

// TestRotateOnRevoke: a copy of the key is dead when the last lease ends, by
// whatever end, but for that of the mount.
func TestRotateOnRevoke(t *testing.T) {
	t.Parallel()
	v := shared(t)
	lives := func(t *testing.T, m *mount, held answer, want bool) {
		t.Helper()
		if opensREST(t, m.ecgrid, held.Data["api_key"].(string)) != want {
			t.Errorf("the key lives: %v, want %v", !want, want)
		}
	}
	counting := func(t *testing.T, m *mount) (first, second answer) {
		t.Helper()
		m.role(t, "team", fields{"rotate_on_revoke": true})
		return m.read(t, m.at("creds/team")), m.read(t, m.at("creds/team"))
	}
	t.Run("one by one", func(t *testing.T) {
		t.Parallel()
		m := configured(t, v, nil)
		first, second := counting(t, m)
		v.run(t, "lease", "revoke", "-sync", first.LeaseID)
		lives(t, m, second, true)
		m.renew(t, http.StatusOK, second, nil)
		m.ok(t, http.MethodDelete, m.at("roles/team"), nil)
		v.run(t, "lease", "revoke", "-sync", second.LeaseID)
		lives(t, m, second, false)
		m.works(t)
	})
	t.Run("all at once", func(t *testing.T) {
		t.Parallel()
		m := configured(t, v, nil)
		first, _ := counting(t, m)
		for range 20 {
			m.read(t, m.at("creds/team"))
		}
		v.run(t, "lease", "revoke", "-sync", "-prefix", m.at("creds"))
		lives(t, m, first, false)
		if n := m.Count("GenerateAPIKey"); n != 1 {
			t.Errorf("%d keys were made", n)
		}
	})
	t.Run("by their time", func(t *testing.T) {
		t.Parallel()
		m := configured(t, v, nil)
		m.role(t, "team", fields{"rotate_on_revoke": true, "ttl": "1s"})
		held := m.read(t, m.at("creds/team"))
		eventually(t, 20*time.Second, "a lease that has expired ends its key", func() bool {
			return m.key(simulator.UserID5001) != held.Data["api_key"]
		})
	})
	t.Run("with the mount", func(t *testing.T) {
		t.Parallel()
		m := mountedForGood(t, v)
		first, _ := counting(t, m)
		v.run(t, "secrets", "disable", m.path)
		lives(t, m, first, true)
		if n := m.Count("GenerateAPIKey"); n != 0 {
			t.Errorf("%d keys were made while the mount was removed", n)
		}
	})
	t.Run("while ECGrid is down", func(t *testing.T) {
		t.Parallel()
		m := configured(t, v, nil)
		first, second := counting(t, m)
		m.revoke(t, first)
		clear := m.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset})
		if out, code := v.cli("lease", "revoke", "-sync", second.LeaseID); code == 0 {
			t.Errorf("revoked, and the key lives on: %s", out)
		}
		clear()
		v.run(t, "lease", "revoke", "-sync", second.LeaseID)
		lives(t, m, second, false)
	})
}

// TestAgentRereads: what an agent does after a rotation. Its renewal is refused at
// once, so it reads again and has the new key.
func TestAgentRereads(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), fields{"key_cache_ttl": "1h"})
	m.role(t, "team", fields{"rotation_period": "24h"})
	for _, rotate := range []string{"rotate-role/team", "rotate-key/5001"} {
		held := m.read(t, m.at("creds/team"))
		m.renew(t, http.StatusOK, held, nil)
		m.run(t, "write", "-f", m.at(rotate))
		if opensREST(t, m.ecgrid, held.Data["api_key"].(string)) {
			t.Error("the old key lives")
		}
		m.renew(t, http.StatusBadRequest, held, nil)
		again := m.read(t, m.at("creds/team"))
		if !opensREST(t, m.ecgrid, again.Data["api_key"].(string)) {
			t.Error("the key that was read again is dead")
		}
	}
}

// TestRotationInTheCLI: what people see of it, and what they do not.
func TestRotationInTheCLI(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), fields{"rotation_period": "24h"})
	m.run(t, "write", m.at("roles/team"), "user_id=5001", "rotation_schedule=0 3 * * SAT", "rotation_window=2h")
	type data struct{ Data fields }
	times := func(at, last, next string) (any, any) {
		t.Helper()
		var seen data
		m.runJSON(t, &seen, "read", "-format=json", m.at(at))
		return seen.Data[last], seen.Data[next]
	}
	for at, c := range map[string]struct{ rotate, last, next string }{
		"config":     {"rotate-root", "last_root_rotation", "next_root_rotation"},
		"roles/team": {"rotate-role/team", "last_rotation", "next_rotation"},
	} {
		if last, next := times(at, c.last, c.next); last != nil || next == nil {
			t.Errorf("%s: last %v, next %v before a rotation", at, last, next)
		}
		var said data
		m.runJSON(t, &said, "write", "-f", "-format=json", m.at(c.rotate))
		delete(said.Data, "user_id")
		if last, next := times(at, c.last, c.next); last == nil || last != said.Data["rotated_at"] || next == nil || len(said.Data) != 1 {
			t.Errorf("%s: said %v, last %v, next %v", at, said.Data, last, next)
		}
	}
	m.works(t)

	// A failure is told where one looks for it.
	defer m.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})()
	if out, code := m.cli("write", "-f", m.at("rotate-root")); code == 0 || !strings.Contains(out, "403") {
		t.Errorf("denied, yet exit %d: %s", code, out)
	}
	if why, _ := times("config", "last_root_rotation_error", ""); why == "" {
		t.Error("config does not tell why rotate-root failed")
	}
	// Declarative tools write again what they once wrote.
	again := m.login()
	again["password"] = m.invent("Superseded-P4ssword")
	m.SetPassword(simulator.AdminUserID, again["password"].(string))
	m.ok(t, http.MethodPost, m.at("config"), again)
	m.ClearFaults()
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	m.refused(t, http.StatusBadRequest, http.MethodPost, m.at("config"), again)
	m.works(t)
	if n := m.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
}

// TestLeaseEndsWithTheRotation, and is the mount's own where that is shorter.
func TestLeaseEndsWithTheRotation(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), nil)
	m.role(t, "team", fields{"rotation_period": "1h"})
	held := m.read(t, m.at("creds/team"))
	if held.LeaseDuration < 3590 || held.LeaseDuration > 3600 {
		t.Errorf("leased for %d s", held.LeaseDuration)
	}
	if a := m.renew(t, http.StatusOK, held, fields{"increment": 86400}); a.LeaseDuration > 3600 {
		t.Errorf("renewed for %d s, past the rotation", a.LeaseDuration)
	}
	m.ok(t, http.MethodPost, path("sys/mounts", m.path, "tune"), fields{"default_lease_ttl": "7m"})
	if a := m.read(t, m.at("creds/team")); a.LeaseDuration != 420 {
		t.Errorf("leased for %d s where the mount says 420", a.LeaseDuration)
	}
}

// TestRotationsWriteNoSecret has rotations go wrong in every way, with the request
// repeated wherever ECGrid's answer has room for it.
func TestRotationsWriteNoSecret(t *testing.T) {
	t.Parallel()
	v := shared(t)
	for _, op := range []string{"ChangePassword", "GenerateAPIKey"} {
		for _, f := range []simulator.Fault{
			{}, {Cause: simulator.AccessDenied}, {Cause: simulator.SystemError}, {Cause: simulator.InvalidParameter},
			{Answer: simulator.AnswerHTML}, {Answer: simulator.AnswerHTML, Apply: true, Status: http.StatusInternalServerError},
			{Answer: simulator.AnswerResetAfter}, {Answer: simulator.AnswerHalf},
		} {
			t.Run(fmt.Sprintf("%s %s %s", op, f.Cause, f.Answer), func(t *testing.T) {
				t.Parallel()
				f.Op, f.Echo = op, true
				m := configured(t, v, fields{"request_timeout": "1s"})
				m.rotateWrongly(t, f)
			})
		}
	}
}

// rotateWrongly rotates all there is while a fault lasts, and after it.
func (m *mount) rotateWrongly(t *testing.T, f simulator.Fault) {
	t.Helper()
	m.role(t, "team", fields{"rotate_on_revoke": true})
	clear := m.Inject(f)
	held := m.read(t, m.at("creds/team"))
	for _, at := range []string{"rotate-root", "rotate-key/5001", "rotate-role/team"} {
		if a, err := m.do(http.MethodPost, m.at(at), nil); err != nil || search(a.body, m.secrets()) != "" {
			t.Errorf("%s: %v, or the answer holds a secret", at, err)
		}
	}
	for _, end := range []string{"renew", "revoke"} {
		if _, err := m.do(http.MethodPost, path("sys/leases", end), fields{"lease_id": held.LeaseID, "sync": true}); err != nil {
			t.Error(err)
		}
	}
	clear()
	m.revoke(t, held)
	m.works(t)
	for _, at := range []string{"config", "roles/team"} {
		if a := m.read(t, m.at(at)); search(a.body, m.secrets()) != "" {
			t.Errorf("%s holds a secret", at)
		}
	}
	for _, leak := range m.vault.leaks(m.secrets()) {
		t.Error("a secret is in", leak)
	}
	if audit := readAll(m.auditPath()); !bytes.Contains(audit, []byte(m.at("rotate-root"))) {
		t.Error("the search proves nothing: no rotation was audited")
	}
}
