// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// writeRole writes a role of user 5001.
func (m *mount) writeRole(t *testing.T, name string, settings fields) {
	t.Helper()
	role := fields{"user_id": simulator.UserID5001}
	for field, value := range settings {
		role[field] = value
	}
	m.ok(t, http.MethodPost, m.at("roles", name), role)
}

// killCase is a change during which the plugin or Vault is killed.
type killCase struct {
	name    string
	op      string
	applied bool // at ECGrid, when the process dies
	begin   func(*mount, answer)
	refused int // allowed Logins with a password that is no longer valid
	made    int // allowed keys up to the end of the last lease; Vault may repeat a request
}

// TestKilledWhileRotating kills the plugin, then Vault, in the middle of a change: after
// ECGrid has applied it, or before.
func TestKilledWhileRotating(t *testing.T) {
	t.Parallel()
	v := ownVault(t, raft)
	rotate := func(at string) func(*mount, answer) {
		return func(m *mount, _ answer) { _, _ = m.do(http.MethodPost, m.at(at), nil) } // the answer is lost
	}
	revoke := func(m *mount, held answer) {
		_, _ = m.do(http.MethodPost, "sys/leases/revoke", fields{"lease_id": held.LeaseID, "sync": true})
	}
	for _, c := range []killCase{
		{"rotate-root", "ChangePassword", true, rotate("rotate-root"), 1, 1},
		{"rotate-root, not applied", "ChangePassword", false, rotate("rotate-root"), 0, 1},
		{"rotate-key", "GenerateAPIKey", true, rotate("rotate-key/5001"), 0, 2},
		{"the last lease", "GenerateAPIKey", true, revoke, 0, 1},
		{"the last lease, not applied", "GenerateAPIKey", false, revoke, 0, 2},
	} {
		t.Run(c.name+", the plugin", func(t *testing.T) { c.test(t, v, false) })
		t.Run(c.name+", Vault", func(t *testing.T) { c.test(t, v, true) })
	}
}

func (c killCase) test(t *testing.T, v *vault, killVault bool) {
	m := configuredMount(t, v, nil)
	m.writeRole(t, "team", fields{"rotate_on_revoke": true})
	held := m.read(t, m.at("creds/team"))
	key, password := m.key(simulator.UserID5001), m.password(simulator.AdminUserID)
	made, refused := m.Count("GenerateAPIKey"), m.State().RefusedLogins

	c.kill(t, m, held, killVault)
	if c.applied && m.key(simulator.UserID5001) == key && m.password(simulator.AdminUserID) == password {
		t.Error("it was not killed in the middle of a change")
	}
	m.awaitRead(t)
	m.revoke(t, held)
	m.awaitRead(t)
	if m.key(simulator.UserID5001) == key {
		t.Error("the key has outlived its last lease")
	}
	if n := m.Count("GenerateAPIKey") - made; n > c.made {
		t.Errorf("%d calls of GenerateAPIKey, want at most %d", n, c.made)
	}
	if n := m.State().RefusedLogins - refused; n > c.refused {
		t.Errorf("%d refused logins, want at most %d", n, c.refused)
	}
	m.awaitResolvedRoot(t)
	m.awaitOneSession(t, "a kill")
}

// kill begins the change, kills the plugin or Vault during it, and restarts Vault.
func (c killCase) kill(t *testing.T, m *mount, held answer, killVault bool) {
	t.Helper()
	plugin := m.pluginPID(t)
	killed := make(chan struct{})
	m.killDuring(c.op, c.applied, func() {
		defer close(killed)
		if killVault {
			m.vault.kill()
		} else {
			vaulttest.Signal(plugin, syscall.SIGKILL)
		}
	})
	c.begin(m, held)
	select {
	case <-killed:
	case <-time.After(30 * time.Second):
		t.Fatal("ECGrid was not called")
	}
	eventually(t, 10*time.Second, "the plugin's process ends", func() bool { return !vaulttest.Alive(plugin) })
	if killVault {
		m.restart(t)
	}
}

// awaitResolvedRoot waits until config shows no error of rotate-root.
func (m *mount) awaitResolvedRoot(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "rotate-root is resolved", func() bool {
		return m.read(t, m.at("config")).Data["last_root_rotation_error"] == ""
	})
	m.awaitRead(t)
}

// killDuring kills during the next call of an operation: after ECGrid has applied it, or
// before.
func (m *mount) killDuring(op string, applied bool, kill func()) {
	f := simulator.Fault{Op: op, Times: 1}
	if applied {
		f.After = func(*simulator.Simulator) { kill() }
	} else {
		f.Before = func(*simulator.Simulator) { kill() }
		f.Answer = simulator.AnswerReset
	}
	m.Inject(f)
}

// A rotate-root that ECGrid does not confirm is answered with 409 and keeps both
// passwords. It is resolved in the background.
func TestUnconfirmedRotateRoot(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	for name, f := range map[string]simulator.Fault{
		"answer lost": {Answer: simulator.AnswerResetAfter, Times: 1},
		"never made":  {Answer: simulator.AnswerReset, Times: 1},
		"made late":   {Answer: simulator.AnswerReset, Times: 1, ApplyLate: 3 * time.Second},
		"hanging":     {Answer: simulator.AnswerSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configuredMount(t, v, fields{"request_timeout": "1s"})
			old := m.password(simulator.AdminUserID)
			f.Op = "ChangePassword"
			clear := m.Inject(f)
			if out, code := m.cli("write", "-f", m.at("rotate-root")); code == 0 || !strings.Contains(out, "Code: 409") {
				t.Errorf("exit %d: %s", code, out)
			}
			m.wantStatus(t, http.StatusConflict, http.MethodDelete, m.at("config"), nil)
			m.ok(t, http.MethodPost, m.at("config"), fields{"ttl": "1h"})
			clear()
			m.awaitResolvedRoot(t)
			if m.password(simulator.AdminUserID) == old {
				t.Error("rotate-root is resolved, but the password is the old one")
			}
			if n := m.State().RefusedLogins; n > 1 {
				t.Errorf("%d refused logins", n)
			}
		})
	}
}

// While Vault moves a mount it revokes the leases, and nothing is rotated. The keys of
// those leases are replaced within a minute or two.
func TestMovedMount(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, nil)
	m.writeRole(t, "team", fields{"rotate_on_revoke": true})
	held := m.read(t, m.at("creds/team"))
	to := m.path + "-moved"
	v.run(t, "secrets", "move", m.path, to)
	m.path = to
	eventually(t, 3*time.Minute, "the key is replaced", func() bool {
		return !restAccepts(t, m.ecgrid, held.Data["api_key"].(string))
	})
	m.awaitRead(t)
	again := m.read(t, m.at("creds/team"))
	if n := m.Count("GenerateAPIKey"); n != 1 || !restAccepts(t, m.ecgrid, again.Data["api_key"].(string)) {
		t.Errorf("%d keys were made", n)
	}
}

// Vault calls the plugin once more when it removes a mount. That call rotates nothing,
// even if a rotation is due.
func TestDisableRotatesNothing(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, nil)
	// The next call of Vault comes up to a minute after the due time.
	const jitter = 5 * time.Second // a twentieth of the period and some margin
	m.writeRole(t, "team", fields{"rotation_period": "90s"})
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
	m.awaitLogout(t, "disable")
	if p, k := m.Count("ChangePassword")-passwords, m.Count("GenerateAPIKey")-keys; p+k != 0 {
		t.Errorf("%d passwords and %d keys were rotated when the mount was disabled", p, k)
	}
}

// leaseTwice reads the key of a role with rotate_on_revoke twice.
func (m *mount) leaseTwice(t *testing.T) (first, second answer) {
	t.Helper()
	m.writeRole(t, "team", fields{"rotate_on_revoke": true})
	return m.read(t, m.at("creds/team")), m.read(t, m.at("creds/team"))
}

// checkKeyWorks checks whether ECGrid still accepts a leased key.
func (m *mount) checkKeyWorks(t *testing.T, held answer, want bool) {
	t.Helper()
	if restAccepts(t, m.ecgrid, held.Data["api_key"].(string)) != want {
		t.Errorf("the key works: %v, want %v", !want, want)
	}
}

// The key is replaced when its last lease ends, unless the lease ends with the mount.
func TestRotateOnRevoke(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	for name, test := range map[string]func(*testing.T, *mount){
		"one by one":           testRevokeOneByOne,
		"all at once":          testRevokeAll,
		"expired":              testLeaseExpires,
		"with the mount":       testRevokeByDisable,
		"while ECGrid is down": testRevokeWhileDown,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, configuredMount(t, v, nil))
		})
	}
}

func testRevokeOneByOne(t *testing.T, m *mount) {
	first, second := m.leaseTwice(t)
	m.run(t, "lease", "revoke", "-sync", first.LeaseID)
	m.checkKeyWorks(t, second, true)
	m.renew(t, http.StatusOK, second, nil)
	m.ok(t, http.MethodDelete, m.at("roles/team"), nil)
	m.run(t, "lease", "revoke", "-sync", second.LeaseID)
	m.checkKeyWorks(t, second, false)
	m.awaitRead(t)
}

func testRevokeAll(t *testing.T, m *mount) {
	first, _ := m.leaseTwice(t)
	for range 20 {
		m.read(t, m.at("creds/team"))
	}
	m.run(t, "lease", "revoke", "-sync", "-prefix", m.at("creds"))
	m.checkKeyWorks(t, first, false)
	if n := m.Count("GenerateAPIKey"); n != 1 {
		t.Errorf("%d keys were made", n)
	}
}

func testLeaseExpires(t *testing.T, m *mount) {
	m.writeRole(t, "team", fields{"rotate_on_revoke": true, "ttl": "1s"})
	held := m.read(t, m.at("creds/team"))
	eventually(t, 20*time.Second, "an expired lease ends its key", func() bool {
		return m.key(simulator.UserID5001) != held.Data["api_key"]
	})
}

func testRevokeByDisable(t *testing.T, m *mount) {
	first, _ := m.leaseTwice(t)
	m.run(t, "secrets", "disable", m.path)
	m.checkKeyWorks(t, first, true)
	if n := m.Count("GenerateAPIKey"); n != 0 {
		t.Errorf("%d keys were made while the mount was removed", n)
	}
}

func testRevokeWhileDown(t *testing.T, m *mount) {
	first, second := m.leaseTwice(t)
	m.revoke(t, first)
	clear := m.Inject(simulator.Fault{Op: "GenerateAPIKey", Answer: simulator.AnswerReset})
	if out, code := m.cli("lease", "revoke", "-sync", second.LeaseID); code == 0 {
		t.Errorf("the lease is revoked, but the key still works: %s", out)
	}
	clear()
	m.run(t, "lease", "revoke", "-sync", second.LeaseID)
	m.checkKeyWorks(t, second, false)
}

// After a rotation the renewal of an agent is refused at once. It reads again and gets the
// new key.
func TestAgentRereads(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), fields{"key_cache_ttl": "1h"})
	m.writeRole(t, "team", fields{"rotation_period": "24h"})
	for _, rotate := range []string{"rotate-role/team", "rotate-key/5001"} {
		held := m.read(t, m.at("creds/team"))
		m.renew(t, http.StatusOK, held, nil)
		m.run(t, "write", "-f", m.at(rotate))
		if restAccepts(t, m.ecgrid, held.Data["api_key"].(string)) {
			t.Error("the old key still works")
		}
		m.renew(t, http.StatusBadRequest, held, nil)
		again := m.read(t, m.at("creds/team"))
		if !restAccepts(t, m.ecgrid, again.Data["api_key"].(string)) {
			t.Error("the key of the second read does not work")
		}
	}
}

// TestRotationInTheCLI checks what the CLI shows of a rotation.
func TestRotationInTheCLI(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), fields{"rotation_period": "24h"})
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
	m.awaitRead(t)

	// config shows the failure.
	defer m.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})()
	if out, code := m.cli("write", "-f", m.at("rotate-root")); code == 0 || !strings.Contains(out, "403") {
		t.Errorf("denied, yet exit %d: %s", code, out)
	}
	if why, _ := times("config", "last_root_rotation_error", ""); why == "" {
		t.Error("config does not show why rotate-root failed")
	}
	// Declarative tools write the same config again.
	again := m.loginConfig()
	again["password"] = m.newSecret("Superseded-P4ssword")
	m.SetPassword(simulator.AdminUserID, again["password"].(string))
	m.ok(t, http.MethodPost, m.at("config"), again)
	m.ClearFaults()
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	m.wantStatus(t, http.StatusBadRequest, http.MethodPost, m.at("config"), again)
	m.awaitRead(t)
	if n := m.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
}

// A lease ends with the next rotation, or earlier with the mount's TTL.
func TestLeaseEndsWithTheRotation(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.writeRole(t, "team", fields{"rotation_period": "1h"})
	held := m.read(t, m.at("creds/team"))
	if held.LeaseDuration < 3590 || held.LeaseDuration > 3600 {
		t.Errorf("leased for %d s", held.LeaseDuration)
	}
	if a := m.renew(t, http.StatusOK, held, fields{"increment": 86400}); a.LeaseDuration > 3600 {
		t.Errorf("renewed for %d s, past the rotation", a.LeaseDuration)
	}
	m.ok(t, http.MethodPost, path("sys/mounts", m.path, "tune"), fields{"default_lease_ttl": "7m"})
	if a := m.read(t, m.at("creds/team")); a.LeaseDuration != 420 {
		t.Errorf("leased for %d s, want 420, the TTL of the mount", a.LeaseDuration)
	}
}

// TestRotationsWriteNoSecret rotates during every fault. ECGrid's answers repeat the
// request if they contain text.
func TestRotationsWriteNoSecret(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	for _, op := range []string{"ChangePassword", "GenerateAPIKey"} {
		for _, f := range []simulator.Fault{
			{}, {Cause: simulator.AccessDenied}, {Cause: simulator.SystemError}, {Cause: simulator.InvalidParameter},
			{Answer: simulator.AnswerHTML}, {Answer: simulator.AnswerHTML, Apply: true, Status: http.StatusInternalServerError},
			{Answer: simulator.AnswerResetAfter}, {Answer: simulator.AnswerHalf},
		} {
			t.Run(fmt.Sprintf("%s %s %s", op, f.Cause, f.Answer), func(t *testing.T) {
				t.Parallel()
				f.Op, f.Echo = op, true
				m := configuredMount(t, v, fields{"request_timeout": "1s"})
				m.rotateWithFault(t, f)
			})
		}
	}
}

// rotateWithFault rotates everything during a fault, and reads after it.
func (m *mount) rotateWithFault(t *testing.T, f simulator.Fault) {
	t.Helper()
	m.writeRole(t, "team", fields{"rotate_on_revoke": true})
	clear := m.Inject(f)
	held := m.read(t, m.at("creds/team"))
	for _, at := range []string{"rotate-root", "rotate-key/5001", "rotate-role/team"} {
		if a, err := m.do(http.MethodPost, m.at(at), nil); err != nil || search(a.Body, m.secrets()) != "" {
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
	m.awaitRead(t)
	for _, at := range []string{"config", "roles/team"} {
		if a := m.read(t, m.at(at)); search(a.Body, m.secrets()) != "" {
			t.Errorf("%s holds a secret", at)
		}
	}
	for _, leak := range m.vault.leaks(m.secrets()) {
		t.Error("a secret is in", leak)
	}
	if audit := readAll(m.auditPath()); !bytes.Contains(audit, []byte(m.at("rotate-root"))) {
		t.Error("the search proves nothing: the audit log has no rotation")
	}
}
