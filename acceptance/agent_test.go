// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

// agentTTL is short because an Agent notices a replaced key when it renews the lease.
const agentTTL = "5s"

// fileAgent is an Agent that runs examples/agent/file.hcl: it writes the key of user
// 5001 to a file and then runs a reload command.
type fileAgent struct {
	*agent
	file    string
	reloads func() string // one line for each run of the reload command
}

// newFileAgent replaces systemctl, the example's reload command, with a shell script.
func newFileAgent(t *testing.T, m *mount, systemctl string) fileAgent {
	t.Helper()
	a := newAgent(t, m, "file.hcl")
	f := fileAgent{agent: a, file: filepath.Join(a.dir, "ecgrid.key")}
	a.replace("/run/edi-gateway/ecgrid.key", f.file)
	f.reloads = a.command("systemctl", systemctl)
	return f
}

const reloadWorks = `printf '%s\n' "$*" >>`

func (f fileAgent) content() string { return string(readAll(f.file)) }

func (f fileAgent) awaitKey(after string) {
	f.Helper()
	eventually(f.T, 40*time.Second, "the current key is in the file after "+after, func() bool {
		return f.content() == f.m.key(simulator.UserID5001)
	})
}

func (f fileAgent) reloaded(n int) bool {
	return strings.Count(f.reloads(), "reload edi-gateway\n") == n
}

func (f fileAgent) awaitReloads(n int) {
	f.Helper()
	eventually(f.T, 10*time.Second, fmt.Sprintf("%d reloads", n), func() bool { return f.reloaded(n) })
}

func (f fileAgent) rotateKey() {
	f.Helper()
	f.m.ok(f.T, http.MethodPost, f.m.at("rotate-key", simulator.UserID5001), nil)
}

// keepsFile checks that the file does not change while something is down.
func (f fileAgent) keepsFile(down string, wait func()) {
	f.Helper()
	before, reloads := f.content(), f.reloads()
	wait()
	if f.content() != before || f.reloads() != reloads {
		f.Errorf("%s: the file has changed", down)
	}
}

func TestAgentFile(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL, "request_timeout": "1s"})
	f := newFileAgent(t, m, reloadWorks)
	f.start()
	f.awaitKey("the start")
	if info, err := os.Stat(f.file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
	}
	f.awaitReloads(1)
	if !restAccepts(t, m.ecgrid, f.content()) {
		t.Error("ECGrid does not accept the key in the file")
	}
	f.rotateKey()
	f.awaitKey("a rotation")
	f.awaitReloads(2)

	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerReset})
	f.keepsFile("ECGrid cuts every connection", func() { f.awaitRenewals(2) })
	clear()
	// The delay outlasts the short lease: the Agent can neither renew nor read.
	clear = m.Inject(simulator.Fault{Delay: time.Minute})
	f.keepsFile("ECGrid does not answer", func() {
		calls := m.Count("")
		eventually(t, 40*time.Second, "the Agent has tried", func() bool { return m.Count("") >= calls+4 })
	})
	clear()
	m.configure(t, nil) // ends a pause before the next Login
	f.rotateKey()
	f.awaitKey("an outage and a rotation")
	f.awaitReloads(3)
	f.noticesReplacementInOutage()
	f.outlivesSeal()
	f.checkRunning()
}

// noticesReplacementInOutage replaces the key at ECGrid while Vault cannot see it.
func (f fileAgent) noticesReplacementInOutage() {
	f.Helper()
	clear := f.m.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	f.keepsFile("ECGrid is down", func() {
		f.m.ReplaceKey(simulator.UserID5001)
		f.awaitRenewals(1)
	})
	clear()
	f.awaitKey("a replacement during an outage")
	f.awaitReloads(4)
}

func (f fileAgent) outlivesSeal() {
	f.Helper()
	refusals := func() int { return bytes.Count(readAll(f.log()), []byte("503")) }
	f.keepsFile("Vault is sealed", func() {
		before := refusals()
		f.m.run(f.T, "operator", "seal")
		eventually(f.T, 40*time.Second, "the Agent has called the sealed Vault", func() bool { return refusals() >= before+2 })
	})
	if err := f.m.unseal(); err != nil {
		f.Fatal(err)
	}
	f.m.ReplaceKey(simulator.UserID5001)
	f.awaitKey("a seal and a replacement")
}

// The file is written, and the Agent goes on without repeated reloads.
func TestAgentReloadFails(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	f := newFileAgent(t, m, `trap 'exit 1' EXIT; `+reloadWorks)
	f.start()
	f.awaitKey("the start")
	f.awaitRenewals(2)
	f.rotateKey()
	f.awaitKey("a rotation")
	f.awaitRenewals(1)
	if n := strings.Count(f.reloads(), "\n"); n != 2 {
		t.Errorf("%d reloads for two keys", n)
	}
	if n := m.Count(keyOp); n > 40 {
		t.Errorf("%d calls to ECGrid for two keys and three renewals", n)
	}
	f.checkRunning()
}

func TestAgentStartsWhileECGridIsDown(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL, "request_timeout": "1s"})
	f := newFileAgent(t, m, reloadWorks)
	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	before := m.Count("")
	f.start()
	eventually(t, 20*time.Second, "the Agent has tried twice", func() bool { return m.Count("") >= before+2 })
	if _, err := os.Stat(f.file); err == nil {
		t.Error("a file was written without a key")
	}
	clear()
	f.awaitKey("the outage")
	eventually(t, 10*time.Second, "the application is reloaded", func() bool { return f.reloads() != "" })
	f.checkRunning()
}

// TestAgentExec runs examples/agent/exec.hcl: the Agent starts the application with the
// key in its environment, and restarts it for a new key.
func TestAgentExec(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	a := newAgent(t, m, "exec.hcl")
	starts := a.command("edi-gateway", `trap 'exit 0' TERM; trap 'exit 7' USR1; printf '%s %s %s\n' $$ "$ECGRID_API_KEY" "$*" >>`,
		`while :; do sleep 0.1; done`)
	a.replace("/usr/local/bin/edi-gateway", filepath.Join(a.dir, "bin", "edi-gateway"))
	a.start()

	// started waits until the application was started n times and has the current key.
	started := func(n int, what string) (pid int) {
		t.Helper()
		eventually(t, 20*time.Second, what, func() bool {
			lines := strings.Split(strings.TrimSpace(starts()), "\n")
			var key, args string
			got, _ := fmt.Sscan(lines[len(lines)-1], &pid, &key, &args)
			return len(lines) == n && got == 3 && key == m.key(simulator.UserID5001) && args == "--listen=:4080"
		})
		return pid
	}
	first := started(1, "the application is started with the key")
	a.awaitRenewals(2)
	if !vaulttest.Alive(first) {
		t.Error("the application was restarted without a new key")
	}
	m.ok(t, http.MethodPost, m.at("rotate-key", simulator.UserID5001), nil)
	second := started(2, "the application is restarted with the new key")
	if first == second || vaulttest.Alive(first) {
		t.Errorf("the application with the old key (pid %d) still runs beside %d", first, second)
	}
	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerReset})
	a.awaitRenewals(2)
	if !vaulttest.Alive(second) {
		t.Error("the application was ended because ECGrid is down")
	}
	clear()
	a.checkRunning()

	vaulttest.Signal(second, syscall.SIGUSR1)
	eventually(t, 20*time.Second, "the Agent ends with the application", func() bool { return !a.process.Running() })
	if code := a.process.ExitCode(); code != 7 {
		t.Errorf("the Agent's exit code is %d, the application's was 7", code)
	}
	a.start()
	third := started(3, "the application is started again")
	a.process.Stop()
	eventually(t, 10*time.Second, "the application ends with the Agent", func() bool { return !vaulttest.Alive(third) })
}

// exampleMount is a configured mount at ecgrid/, the path in all examples, on a Vault of
// its own.
func exampleMount(t *testing.T, settings fields) *mount {
	t.Helper()
	m := exampleVault(t)
	m.configure(t, settings)
	return m
}

// exampleVault is exampleMount without a config.
func exampleVault(t *testing.T) *mount {
	t.Helper()
	v := ownVault(t, inmem)
	m := &mount{vault: v, ecgrid: newECGrid(t), path: "ecgrid"}
	v.ok(t, http.MethodPost, path("sys/mounts", m.path), fields{"type": pluginName})
	return m
}

func exampleFile(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repoRoot(), "examples", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// agent is the real vault agent with a configuration from examples/agent.
type agent struct {
	*testing.T
	m       *mount
	dir     string
	config  string
	process *vaulttest.Process
}

// newAgent runs the commands of the example's README, which create the Agent's login,
// and replaces the example's placeholders.
func newAgent(t *testing.T, m *mount, example string) *agent {
	t.Helper()
	a := &agent{T: t, m: m, dir: agentDir(t), config: exampleFile(t, "agent/"+example)}
	if err := os.Mkdir(filepath.Join(a.dir, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(suite.vaultBin, filepath.Join(a.dir, "bin", "vault")); err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(exampleFile(t, "agent/README.md"))
	if blocks == nil {
		t.Fatal("examples/agent/README.md has no shell block")
	}
	setUp := strings.ReplaceAll(blocks[1], "../policies/", filepath.Join(repoRoot(), "examples", "policies")+"/")
	cmd := exec.Command("sh", "-euc", setUp)
	cmd.Dir = a.dir
	cmd.Env = append(a.env(), "VAULT_TOKEN="+m.client.token)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the commands of examples/agent/README.md: %v\n%s", err, out)
	}
	a.replace("https://vault.example.com:8200", m.node.Addr)
	a.replace("/etc/vault-agent/role_id", filepath.Join(a.dir, "role_id"))
	a.replace("/etc/vault-agent/secret_id", filepath.Join(a.dir, "secret_id"))
	return a
}

// replace fails the test if the text is not in the example exactly once.
func (a *agent) replace(old, with string) {
	a.Helper()
	if strings.Count(a.config, old) != 1 {
		a.Fatalf("the example has %q %d times", old, strings.Count(a.config, old))
	}
	a.config = strings.Replace(a.config, old, with, 1)
}

// agentDir is removed by polling: the commands that the Agent ran may outlive it by a
// moment and write to it.
func agentDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ecgrid-agent")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, 10*time.Second, "the agent's directory is removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

// command puts a script on the Agent's PATH. Each run appends a line to a file, and the
// function returns that file's content.
func (a *agent) command(name, writes string, then ...string) func() string {
	a.Helper()
	written := filepath.Join(a.dir, name+".out")
	script := "#!/bin/sh\n" + writes + "'" + written + "'\n" + strings.Join(then, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(a.dir, "bin", name), []byte(script), 0o700); err != nil {
		a.Fatal(err)
	}
	return func() string { return string(readAll(written)) }
}

func (a *agent) env() []string {
	env := []string{"VAULT_ADDR=" + a.m.node.Addr, "VAULT_CACERT=" + a.m.caPath()}
	for _, e := range vaulttest.Environment(a.dir) {
		if found, is := strings.CutPrefix(e, "PATH="); is {
			e = "PATH=" + filepath.Join(a.dir, "bin") + string(os.PathListSeparator) + found
		}
		env = append(env, e)
	}
	return env
}

func (a *agent) log() string { return filepath.Join(a.dir, "agent.log") }

func (a *agent) start() {
	a.Helper()
	config := writeFile(a.T, a.dir, "agent.hcl", a.config)
	cmd := exec.Command(suite.vaultBin, "agent", "-config="+config, "-log-level=debug")
	cmd.Dir, cmd.Env = a.dir, a.env()
	var err error
	if a.process, err = vaulttest.Start(cmd, a.log()); err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() {
		a.process.Stop()
		if a.Failed() {
			a.Logf("the Agent's log ends:\n%s", tail(a.log()))
		}
	})
}

// awaitRenewals waits until Vault has renewed n more leases.
func (a *agent) awaitRenewals(n int) {
	a.Helper()
	before := a.m.renewals()
	eventually(a.T, 40*time.Second, fmt.Sprintf("%d renewals", n), func() bool { return a.m.renewals() >= before+n })
}

// renewals counts those that Vault has granted.
func (v *vault) renewals() (n int) {
	for line := range bytes.Lines(readAll(v.auditPath())) {
		has := func(text string) bool { return bytes.Contains(line, []byte(text)) }
		if has(`"type":"response"`) && has(`"path":"sys/leases/renew"`) && !has(`"error":`) {
			n++
		}
	}
	return n
}

// checkRunning fails the test if the Agent has ended or has logged a secret.
func (a *agent) checkRunning() {
	a.Helper()
	if !a.process.Running() {
		a.Error("the Agent has ended")
	}
	if found := search(readAll(a.log()), a.m.secrets()); found != "" {
		a.Error("a secret is in the Agent's log:", found)
	}
}
