// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// maxRefused is how many Logins the plugin has refused within 15 minutes at most.
const maxRefused = 3

// restorable is a mount of a Vault of one node. There is no load.
type restorable struct {
	*subject
	snapshot string
}

func newRestorable(t *testing.T) *restorable {
	t.Helper()
	c := startCluster(t, 1)
	s := &subject{cluster: c, grid: startGrid(t), mount: "ecgrid"}
	c.write(t, "sys/mounts/ecgrid", fields{"type": pluginName})
	c.write(t, s.at("config"), s.loginConfig())
	return &restorable{subject: s, snapshot: filepath.Join(c.dir, "vault.snap")}
}

// cli runs the vault command against the first node, as the runbooks do.
func (c *cluster) cli(t *testing.T, args ...string) string {
	t.Helper()
	n := c.nodes[0]
	cmd := exec.Command(programs.Vault, args...)
	cmd.Env = append(vaulttest.Environment(n.Dir), "VAULT_ADDR="+n.Addr, "VAULT_TOKEN="+n.Token, "VAULT_CACERT="+n.Path("ca.pem"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("vault %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (r *restorable) save(t *testing.T) {
	t.Helper()
	r.cli(t, "operator", "raft", "snapshot", "save", r.snapshot)
}

func (r *restorable) restore(t *testing.T) {
	t.Helper()
	before := r.nodes[0].Process().Plugins()
	r.cli(t, "operator", "raft", "snapshot", "restore", r.snapshot)
	await(t, patience, "Vault has ended the plugin that knew more than the snapshot", func() bool {
		for _, pid := range before {
			if vaulttest.Alive(pid) {
				return false
			}
		}
		return r.nodes[0].isActive()
	})
	r.active(t)
}

// checkDeadLogin checks what the mount does while the stored password is dead, and reports it.
func (r *restorable) checkDeadLogin(t *testing.T, what string, reads time.Duration) {
	t.Helper()
	before := r.State()
	answers := map[int]int{}
	for end := time.Now().Add(reads); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		a := r.do(t, http.MethodGet, r.at(fmt.Sprint("keys/", firstReadUser)), nil)
		answers[a.Status]++
	}
	refused := r.State().RefusedLogins - before.RefusedLogins
	status := r.do(t, http.MethodGet, r.at("status"), nil)
	told := fmt.Sprint(r.read(t, r.at("config")).Data["last_login_error"])
	r.table.row(what, reads, fmt.Sprint(answers), refused, r.user(simulator.AdminUserID).LockedOut, fmt.Sprintf("%d %s", status.Status, oneLine(status.Errors)), told)
	if refused > maxRefused || refused == 0 {
		t.Errorf("%s: %d refused logins, want 1 to %d", what, refused, maxRefused)
	}
	if r.user(simulator.AdminUserID).LockedOut {
		t.Errorf("%s: the login is locked out", what)
	}
	if answers[http.StatusOK] > 0 || status.OK() {
		t.Errorf("%s: a dead password worked: %v", what, answers)
	}
	if !strings.Contains(told, "snapshot") {
		t.Errorf("%s: config does not name the cause: %q", what, told)
	}
}

func oneLine(errors []string) string {
	return strings.Join(strings.Fields(strings.Join(errors, " ")), " ")
}

// heal is the runbook: an administrator sets a new password in ECGrid and writes it to
// config. It works at once, whatever pause there is.
func (r *restorable) heal(t *testing.T) {
	t.Helper()
	const password = "Set-by-an-administrat0r"
	refused := r.State().RefusedLogins
	r.SetPassword(simulator.AdminUserID, password)
	r.write(t, r.at("config"), fields{"password": password})
	r.read(t, r.at("status"))
	r.read(t, r.at(fmt.Sprint("keys/", firstReadUser)))
	config := r.read(t, r.at("config")).Data
	if config["last_login_error"] != "" || config["last_root_rotation_error"] != "" {
		t.Errorf("after the runbook config says %q and %q", config["last_login_error"], config["last_root_rotation_error"])
	}
	if n := r.State().RefusedLogins; n != refused {
		t.Errorf("the runbook cost %d refused logins", n-refused)
	}
	a := r.do(t, http.MethodPost, r.at("rotate-root"), nil)
	t.Logf("after the runbook rotate-root answers %d %s", a.Status, oneLine(a.Errors))
	if a.OK() == (r.password() == password) || !a.OK() && a.Status != http.StatusServiceUnavailable {
		t.Errorf("rotate-root answered %d %s", a.Status, a.Errors)
	}
	r.KillSessions(0)
	r.read(t, r.at("status"))
}

// end checks that nothing is left behind.
func (r *restorable) end(t *testing.T) {
	t.Helper()
	await(t, 15*time.Second, "all sessions are logged out", func() bool { return r.OpenSessions() == 0 })
	r.write(t, "sys/leases/revoke-prefix/"+r.mount, nil)
	r.stop()
	r.checkSecrets(t, r.grid)
}

func hammering() time.Duration {
	if testing.Short() {
		return 5 * time.Second
	}
	return 75 * time.Second // over the pause after the second refusal
}

func newDeadLoginTable(t *testing.T) *table {
	t.Helper()
	return newTable(t, "A dead password after a restore",
		"Restored", "Reads for", "Answers", "Refused logins", "Locked out", "`status`", "`last_login_error` in `config`")
}

// TestRestoreOldPassword restores a snapshot from before a rotate-root. The stored password
// is dead. Then it restores the same snapshot into a new cluster.
func TestRestoreOldPassword(t *testing.T) {
	t.Parallel()
	r := newRestorable(t)
	r.table = newDeadLoginTable(t)
	lease := r.read(t, r.at(fmt.Sprint("keys/", firstReadUser))).LeaseID
	r.save(t)
	r.write(t, r.at("rotate-root"), nil)
	r.read(t, r.at("status"))
	r.restore(t)
	r.checkDeadLogin(t, "snapshot from before a rotate-root", hammering())
	r.heal(t)
	r.write(t, "sys/leases/renew", fields{"lease_id": lease})
	r.end(t)
	if testing.Short() {
		return
	}

	other := startCluster(t, 1)
	other.cli(t, "operator", "raft", "snapshot", "restore", "-force", r.snapshot)
	other.unsealKey, other.nodes[0].Token = r.unsealKey, r.nodes[0].Token // the snapshot has those of its cluster
	must(t, other.unseal(other.nodes[0]))
	other.table = r.table
	r.cluster = other
	r.checkDeadLogin(t, "the same into a new cluster (-force)", 5*time.Second)
	r.heal(t)
	r.write(t, "sys/leases/renew", fields{"lease_id": lease})
	r.end(t)
}

// TestRestoreUnconfirmed restores a snapshot with two passwords, of which neither is valid
// any more.
func TestRestoreUnconfirmed(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	r := newRestorable(t)
	r.table = newDeadLoginTable(t)
	r.Inject(simulator.Fault{Op: "ChangePassword", Answer: simulator.AnswerReset})
	if a := r.do(t, http.MethodPost, r.at("rotate-root"), nil); a.Status != http.StatusConflict {
		t.Fatalf("rotate-root answered %d %s, want 409", a.Status, a.Errors)
	}
	r.save(t)
	r.ClearFaults()
	if !r.reports("config", "last_root_rotation", "last_root_rotation_error") {
		t.Fatal("rotate-root is not completed")
	}
	r.write(t, r.at("rotate-root"), nil)
	r.restore(t)
	r.checkDeadLogin(t, "snapshot with an unconfirmed rotate-root", hammering())
	if told := r.read(t, r.at("config")).Data["last_root_rotation_error"]; told == "" {
		t.Error("last_root_rotation_error is empty")
	} else {
		t.Log(told)
	}
	r.heal(t)
	r.end(t)
}

// TestRestoreNewPassword restores a snapshot that has the right password.
func TestRestoreNewPassword(t *testing.T) {
	skipIfShort(t)
	t.Parallel()
	r := newRestorable(t)
	r.write(t, r.at("rotate-root"), nil)
	r.save(t)
	r.read(t, r.at(fmt.Sprint("keys/", firstReadUser)))
	r.restore(t)
	r.read(t, r.at("status"))
	if n := r.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
	r.end(t)
}
