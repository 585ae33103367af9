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

	"vault-plugin-ecgrid/internal/simulator"
)

// agentTTL is short, since an Agent notices a replaced key when it renews.
const agentTTL = "5s"

// TestAgentFile runs examples/agent/file.hcl: the key in a file, and a reload
// command.
func TestAgentFile(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL, "request_timeout": "1s"})
	a := newAgent(t, m, "file.hcl")
	file := filepath.Join(a.dir, "ecgrid.key")
	a.replace("/run/edi-gateway/ecgrid.key", file)
	reloads := a.command("systemctl", `printf '%s\n' "$*" >>`)
	a.start()

	rendered := func() string { return string(readAll(file)) }
	current := func() bool { return rendered() == m.key(simulator.UserID5001) }
	eventually(t, 20*time.Second, "the key is rendered", current)
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
	}
	reloaded := func(n int) func() bool {
		return func() bool { return strings.Count(reloads(), "reload edi-gateway\n") == n }
	}
	eventually(t, 10*time.Second, "one reload", reloaded(1))
	if !opensREST(t, m.ecgrid, rendered()) {
		t.Error("the rendered key does not open ECGrid")
	}

	m.ok(t, http.MethodPost, m.at("rotate-key", simulator.UserID5001), nil)
	eventually(t, 20*time.Second, "the key of after the rotation is rendered", current)
	eventually(t, 10*time.Second, "a second reload", reloaded(2))

	held := rendered()
	kept := func(while string) {
		t.Helper()
		if rendered() != held || !reloaded(2)() {
			t.Errorf("%s: the file has changed", while)
		}
	}
	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerReset})
	a.renews(2)
	kept("ECGrid cuts every connection")
	clear()
	// So slow that the short lease ends: Agent can neither renew nor read.
	clear = m.Inject(simulator.Fault{Delay: time.Minute})
	calls := m.Count("")
	eventually(t, 40*time.Second, "Agent has tried", func() bool { return m.Count("") >= calls+4 })
	kept("ECGrid does not answer")
	clear()
	m.configure(t, nil) // ends a pause of logins, if one has begun
	m.ok(t, http.MethodPost, m.at("rotate-key", simulator.UserID5001), nil)
	eventually(t, 20*time.Second, "the key of after the outage is rendered", current)
	eventually(t, 10*time.Second, "a third reload", reloaded(3))

	// Replaced behind Vault's back, while Vault cannot see it: noticed afterwards.
	clear = m.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	held = rendered()
	m.ReplaceKey(simulator.UserID5001)
	a.renews(1)
	if rendered() != held {
		t.Error("while ECGrid is down the file has changed")
	}
	clear()
	eventually(t, 20*time.Second, "the key that was replaced in the outage is rendered", current)

	// Vault itself away.
	held = rendered()
	said := func() int { return bytes.Count(readAll(a.log()), []byte("503")) }
	before := said()
	m.run(t, "operator", "seal")
	eventually(t, 40*time.Second, "Agent has met the sealed Vault", func() bool { return said() >= before+2 })
	if rendered() != held {
		t.Error("while Vault is sealed the file has changed")
	}
	if err := m.unseal(); err != nil {
		t.Fatal(err)
	}
	m.ReplaceKey(simulator.UserID5001)
	eventually(t, 40*time.Second, "after Vault was sealed a new key is rendered", current)
	a.upAndQuiet()
}

// TestAgentReloadFails: the file is there all the same, Agent stays, and does not
// run in circles.
func TestAgentReloadFails(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	a := newAgent(t, m, "file.hcl")
	file := filepath.Join(a.dir, "ecgrid.key")
	a.replace("/run/edi-gateway/ecgrid.key", file)
	reloads := a.command("systemctl", `trap 'exit 1' EXIT; printf '%s\n' "$*" >>`)
	a.start()
	current := func() bool { return string(readAll(file)) == m.key(simulator.UserID5001) }
	eventually(t, 20*time.Second, "the key is rendered", current)
	a.renews(2)
	m.ok(t, http.MethodPost, m.at("rotate-key", simulator.UserID5001), nil)
	eventually(t, 20*time.Second, "the key of after the rotation is rendered", current)
	a.renews(1)
	if n := strings.Count(reloads(), "\n"); n != 2 {
		t.Errorf("%d reloads for two keys", n)
	}
	if n := m.Count(keyOp); n > 40 {
		t.Errorf("%d calls to ECGrid for two keys and three renewals", n)
	}
	a.upAndQuiet()
}

// TestAgentStartsWhileECGridIsDown: it waits, and needs no help.
func TestAgentStartsWhileECGridIsDown(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL, "request_timeout": "1s"})
	a := newAgent(t, m, "file.hcl")
	file := filepath.Join(a.dir, "ecgrid.key")
	a.replace("/run/edi-gateway/ecgrid.key", file)
	reloads := a.command("systemctl", `printf '%s\n' "$*" >>`)
	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerStatus})
	before := m.Count("")
	a.start()
	eventually(t, 20*time.Second, "Agent has tried twice", func() bool { return m.Count("") >= before+2 })
	if _, err := os.Stat(file); err == nil {
		t.Error("a file was rendered without a key")
	}
	clear()
	eventually(t, 30*time.Second, "the key is rendered", func() bool {
		return string(readAll(file)) == m.key(simulator.UserID5001)
	})
	eventually(t, 10*time.Second, "the application is told", func() bool { return reloads() != "" })
	a.upAndQuiet()
}

// TestAgentExec runs examples/agent/exec.hcl: the key in the environment of a
// child that Agent restarts.
func TestAgentExec(t *testing.T) {
	t.Parallel()
	m := exampleMount(t, fields{"ttl": agentTTL})
	a := newAgent(t, m, "exec.hcl")
	starts := a.command("edi-gateway", `trap 'exit 0' TERM; trap 'exit 7' USR1; printf '%s %s %s\n' $$ "$ECGRID_API_KEY" "$*" >>`,
		`while :; do sleep 0.1; done`)
	a.replace("/usr/local/bin/edi-gateway", filepath.Join(a.dir, "bin", "edi-gateway"))
	a.start()

	// started waits for the n-th child, with the user's key, and gives its pid.
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
	a.renews(2)
	if !alive(first) {
		t.Error("the application was restarted without a new key")
	}
	m.ok(t, http.MethodPost, m.at("rotate-key", simulator.UserID5001), nil)
	second := started(2, "the application is restarted with the key of after the rotation")
	if first == second || alive(first) {
		t.Errorf("the application with the old key (pid %d) still runs beside %d", first, second)
	}
	clear := m.Inject(simulator.Fault{Answer: simulator.AnswerReset})
	a.renews(2)
	if !alive(second) {
		t.Error("the application was ended because ECGrid is down")
	}
	clear()
	a.upAndQuiet()

	signal(second, syscall.SIGUSR1)
	eventually(t, 20*time.Second, "Agent ends with the application", func() bool { return !a.up() })
	if code := a.cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("Agent's exit code is %d, the application's was 7", code)
	}
	a.start()
	third := started(3, "the application is started again")
	a.stop()
	eventually(t, 10*time.Second, "the application ends with Agent", func() bool { return !alive(third) })
}

// exampleMount is a configured mount at ecgrid/, which is what all examples call
// it, on a Vault of its own.
func exampleMount(t *testing.T, settings fields) *mount {
	t.Helper()
	m := exampleVault(t)
	m.configure(t, settings)
	return m
}

// exampleVault is the same without a config.
func exampleVault(t *testing.T) *mount {
	t.Helper()
	v := own(t, inmem)
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

// agent is the real vault agent, with a config of examples/agent.
type agent struct {
	*testing.T
	m      *mount
	dir    string
	config string

	cmd    *exec.Cmd
	exited chan struct{}
}

// newAgent gives it a login by the very commands of the README, and replaces what
// the example has to invent.
func newAgent(t *testing.T, m *mount, example string) *agent {
	t.Helper()
	a := &agent{T: t, m: m, dir: agentDir(t), config: exampleFile(t, "agent/"+example)}
	if err := os.Mkdir(filepath.Join(a.dir, "bin"), 0o700); err != nil {
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
	if err := os.Symlink(suite.vaultBin, filepath.Join(a.dir, "bin", "vault")); err != nil {
		t.Fatal(err)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the commands of examples/agent/README.md: %v\n%s", err, out)
	}
	a.replace("https://vault.example.com:8200", m.addr)
	a.replace("/etc/vault-agent/role_id", filepath.Join(a.dir, "role_id"))
	a.replace("/etc/vault-agent/secret_id", filepath.Join(a.dir, "secret_id"))
	return a
}

// replace fails where the example no longer has what is to be replaced.
func (a *agent) replace(old, with string) {
	a.Helper()
	if strings.Count(a.config, old) != 1 {
		a.Fatalf("the example has %q %d times", old, strings.Count(a.config, old))
	}
	a.config = strings.Replace(a.config, old, with, 1)
}

// agentDir is removed as soon as the commands that Agent ran have written their
// last: they outlive it by a moment.
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

// command puts a script on the Agent's PATH that writes a line each time it is
// run, and gives what was written.
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
	env := []string{"VAULT_ADDR=" + a.m.addr, "VAULT_CACERT=" + a.m.caPath()}
	for _, e := range cleanEnv(a.dir) {
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
	output, err := os.Create(a.log())
	if err != nil {
		a.Fatal(err)
	}
	defer output.Close()
	a.cmd = exec.Command(suite.vaultBin, "agent", "-config="+config, "-log-level=debug")
	a.cmd.Dir, a.cmd.Env = a.dir, a.env()
	a.cmd.Stdout, a.cmd.Stderr = output, output
	if err := a.cmd.Start(); err != nil {
		a.Fatal(err)
	}
	release, err := guard(a.cmd.Process.Pid)
	if err != nil {
		_ = a.cmd.Process.Kill()
		a.Fatal(err)
	}
	a.exited = make(chan struct{})
	go func() {
		_ = a.cmd.Wait()
		release()
		close(a.exited)
	}()
	a.Cleanup(func() {
		a.stop()
		if a.Failed() {
			a.Logf("Agent's log ends:\n%s", tail(a.log()))
		}
	})
}

func (a *agent) stop() {
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.exited:
	case <-time.After(20 * time.Second):
		_ = a.cmd.Process.Kill()
		<-a.exited
	}
}

// renews waits until Vault has renewed leases of keys n times more.
func (a *agent) renews(n int) {
	a.Helper()
	before := a.m.renewals()
	eventually(a.T, 40*time.Second, fmt.Sprintf("%d renewals", n), func() bool { return a.m.renewals() >= before+n })
}

// renewals are those that Vault has granted.
func (v *vault) renewals() (n int) {
	for line := range bytes.Lines(readAll(v.auditPath())) {
		has := func(text string) bool { return bytes.Contains(line, []byte(text)) }
		if has(`"type":"response"`) && has(`"path":"sys/leases/renew"`) && !has(`"error":`) {
			n++
		}
	}
	return n
}

func (a *agent) up() bool {
	select {
	case <-a.exited:
		return false
	default:
		return true
	}
}

// upAndQuiet: it still runs, and has not told the key to its log.
func (a *agent) upAndQuiet() {
	a.Helper()
	if !a.up() {
		a.Error("Agent has ended")
	}
	if where := search(readAll(a.log()), a.m.secrets()); where != "" {
		a.Error("a secret is in Agent's log:", where)
	}
}
