// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// storage is where a Vault keeps its data. Raft survives the end of the process.
type storage string

const (
	inmem storage = "inmem"
	raft  storage = "raft"
)

// vault is a real Vault server with the plugin in its catalog. The embedded client has
// the root token.
type vault struct {
	*client

	dir    string
	node   *vaulttest.Node // nil before it is configured
	mounts atomic.Int32

	mu       sync.Mutex
	failures bytes.Buffer // the output of every failed command and request
}

var vaultCount atomic.Int32

func startVault(s storage) (*vault, error) {
	v := &vault{dir: filepath.Join(suite.dir, fmt.Sprintf("vault%d", vaultCount.Add(1)))}
	if err := os.Mkdir(v.dir, 0o700); err != nil {
		return nil, err
	}
	suite.mu.Lock()
	suite.vaults = append(suite.vaults, v)
	suite.mu.Unlock()
	if err := v.configure(s); err != nil {
		return nil, err
	}
	if err := errors.Join(v.setUp(), v.enableAudit(), v.registerPlugin()); err != nil {
		v.stop()
		return nil, fmt.Errorf("starting Vault: %w\n%s", err, tail(v.logPath()))
	}
	return v, nil
}

func (v *vault) logPath() string   { return filepath.Join(v.dir, "vault.log") }
func (v *vault) auditPath() string { return filepath.Join(v.dir, vaulttest.AuditFile) }
func (v *vault) caPath() string    { return filepath.Join(v.dir, "ca.pem") }

func (v *vault) configure(s storage) (err error) {
	v.node, err = vaulttest.NewNode(suite.vaultBin, vaulttest.Config{Dir: v.dir, PluginDir: suite.pluginDir, Raft: s == raft}, time.Minute)
	if err == nil {
		v.client = &client{vault: v, http: v.node.HTTP}
	}
	return err
}

func (v *vault) launch() error { return v.node.Launch() }

// setUp launches, initializes and unseals the server.
func (v *vault) setUp() error {
	err := v.node.SetUp()
	v.client.token = v.node.Token
	return err
}

func (v *vault) unseal() error { return v.node.Unseal() }

func (v *vault) enableAudit() error { return v.node.EnableAudit(v.auditPath()) }

func (v *vault) registerPlugin() error {
	out, code := v.cli("plugin", "register", "-sha256="+suite.pluginSum, "-version="+suite.pluginVersion, "secret", pluginName)
	if code != 0 {
		return fmt.Errorf("vault plugin register: %s", out)
	}
	return nil
}

// kill sends SIGKILL.
func (v *vault) kill() { v.node.Kill() }

// restart starts a killed raft Vault again.
func (v *vault) restart(t *testing.T) {
	t.Helper()
	if err := errors.Join(v.launch(), v.unseal()); err != nil {
		t.Fatalf("%v\n%s", err, tail(v.logPath()))
	}
}

func (v *vault) running() bool { return v.node != nil && v.node.Process().Running() }

// stop ends the server and any plugin process that is left. It may be called again.
func (v *vault) stop() {
	if v.running() {
		v.node.Stop()
	}
}

// pluginPID is the process that serves the mounts. The one that served a registration
// ends by itself.
func (v *vault) pluginPID(t *testing.T) int {
	t.Helper()
	var pids []int
	eventually(t, 10*time.Second, "one plugin process", func() bool {
		pids = v.node.Process().Plugins()
		return len(pids) == 1
	})
	return pids[0]
}

// recordFailure keeps the output of a failure for the search for secrets.
func (v *vault) recordFailure(output []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures.Write(output)
	v.failures.WriteByte('\n')
}

// leaks names the places that contain any of the secrets. Vault's log contains the
// plugin's stderr.
func (v *vault) leaks(secrets []string) []string {
	v.mu.Lock()
	failures := bytes.Clone(v.failures.Bytes())
	v.mu.Unlock()
	var found []string
	for place, text := range map[string][]byte{
		"Vault's log or the plugin's stderr": readAll(v.logPath()),
		"the audit log":                      readAll(v.auditPath()),
		"the answer to a failed request":     failures,
	} {
		if before := search(text, secrets); before != "" {
			found = append(found, place+": "+before)
		}
	}
	return found
}

// search shows the text before the first secret, without the secret.
func search(text []byte, secrets []string) string {
	for _, secret := range secrets {
		if i := bytes.Index(text, []byte(secret)); i >= 0 && secret != "" {
			before := text[max(0, i-200):i]
			return fmt.Sprintf("…%s<%d secret bytes>", before[bytes.LastIndexByte(before, '\n')+1:], len(secret))
		}
	}
	return ""
}

func readAll(path string) []byte {
	raw, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	return raw
}

func tail(path string) string {
	lines := strings.Split(string(readAll(path)), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// client sends requests and runs commands with one token.
type client struct {
	vault *vault
	http  *http.Client
	token string
}

func (c *client) withToken(token string) *client {
	other := *c
	other.token = token
	return &other
}

func (c *client) api() vaulttest.Client {
	return vaulttest.Client{HTTP: c.http, Addr: c.vault.node.Addr, Token: c.token}
}

type answer = vaulttest.Response

// do sends one request; path is sent as it is, %-escapes included.
func (c *client) do(method, path string, body any) (answer, error) {
	a, err := c.api().Do(method, path, body)
	if a.Status >= 400 {
		c.vault.recordFailure(a.Body)
	}
	return a, err
}

// cli runs the real vault command. It returns both output streams and the exit code.
func (c *client) cli(args ...string) (string, int) {
	return c.cliInput("", args...)
}

func (c *client) cliInput(stdin string, args ...string) (string, int) {
	cmd := exec.Command(suite.vaultBin, args...)
	cmd.Dir = c.vault.dir
	cmd.Env = append(vaulttest.Environment(c.vault.dir), "VAULT_ADDR="+c.vault.node.Addr, "VAULT_CACERT="+c.vault.caPath(), "VAULT_TOKEN="+c.token)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), 0
	}
	c.vault.recordFailure(out)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	return err.Error(), -1
}
