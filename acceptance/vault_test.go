package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// storage is where a Vault keeps its data: raft survives its process.
type storage string

const (
	inmem storage = "inmem"
	raft  storage = "raft"
)

// vault is a real Vault server with the plugin in its catalog. Its embedded
// client is root's.
type vault struct {
	*client

	dir       string
	addr      string // https://127.0.0.1:port
	unsealKey string
	mounts    atomic.Int32

	mu       sync.Mutex
	cmd      *exec.Cmd
	exited   chan struct{}
	failures bytes.Buffer // what every failed command and request said
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
	if err := errors.Join(v.launch(), v.initialize(), v.unseal(), v.enableAudit(), v.registerPlugin()); err != nil {
		v.stop()
		return nil, fmt.Errorf("starting Vault: %w\n%s", err, tail(v.logPath()))
	}
	return v, nil
}

func (v *vault) logPath() string   { return filepath.Join(v.dir, "vault.log") }
func (v *vault) auditPath() string { return filepath.Join(v.dir, "audit.log") }
func (v *vault) caPath() string    { return filepath.Join(v.dir, "ca.pem") }

func (v *vault) configure(s storage) error {
	port, clusterPort, err := freePorts()
	if err != nil {
		return err
	}
	tlsConfig, err := writeCertificate(v.dir)
	if err != nil {
		return err
	}
	v.addr = fmt.Sprintf("https://127.0.0.1:%d", port)
	v.client = &client{vault: v, http: &http.Client{
		Timeout:   time.Minute,
		Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxIdleConnsPerHost: 256},
	}}
	store := `storage "inmem" {}`
	if s == raft {
		path := filepath.Join(v.dir, "raft")
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		store = fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = \"one\"\n}", path)
	}
	config := fmt.Sprintf(`%s
listener "tcp" {
  address         = "127.0.0.1:%d"
  cluster_address = "127.0.0.1:%d"
  tls_cert_file   = %q
  tls_key_file    = %q
}
api_addr         = %q
cluster_addr     = "https://127.0.0.1:%d"
plugin_directory = %q
disable_mlock    = true
log_level        = "trace"
`, store, port, clusterPort, filepath.Join(v.dir, "cert.pem"), filepath.Join(v.dir, "key.pem"), v.addr, clusterPort, suite.pluginDir)
	return os.WriteFile(filepath.Join(v.dir, "vault.hcl"), []byte(config), 0o600)
}

// freePorts holds both before it lets go of either, so that they differ.
func freePorts() (a, b int, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, 0, err
	}
	defer second.Close()
	return first.Addr().(*net.TCPAddr).Port, second.Addr().(*net.TCPAddr).Port, nil
}

// launch starts the process and waits until it answers.
func (v *vault) launch() error {
	log, err := os.OpenFile(v.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(suite.vaultBin, "server", "-config="+filepath.Join(v.dir, "vault.hcl"))
	cmd.Dir, cmd.Env = v.dir, cleanEnv(v.dir)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	release, err := guard(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in the log
		release()
		close(exited)
	}()
	v.mu.Lock()
	v.cmd, v.exited = cmd, exited
	v.mu.Unlock()
	return v.await(func() bool {
		_, err := v.do(http.MethodGet, "sys/seal-status", nil)
		return err == nil
	})
}

// guard ends a process when this one dies without tidying up, on a timeout of go
// test for instance: the pipe then closes.
func guard(pid int) (release func(), err error) {
	sh := exec.Command("sh", "-c", `read -r _; kill -KILL "$1"`, "guard", fmt.Sprint(pid))
	hold, err := sh.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := sh.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = sh.Process.Kill() // first, or closing the pipe would make it act
		_ = sh.Wait()
		_ = hold.Close()
	}, nil
}

// cleanEnv keeps a user's own Vault settings and token out of the tests.
func cleanEnv(home string) []string {
	env := []string{"HOME=" + home}
	for _, name := range []string{"PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// await polls, and gives up at once when the process has ended.
func (v *vault) await(ready func() bool) error {
	deadline := time.After(time.Minute)
	for !ready() {
		select {
		case <-v.exited:
			return errors.New("vault has ended")
		case <-deadline:
			return errors.New("vault is not ready after a minute")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

func (v *vault) initialize() error {
	a, err := v.do(http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err != nil {
		return err
	}
	var keys struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	if err := a.decode(&keys); err != nil || len(keys.Keys) != 1 {
		return fmt.Errorf("sys/init answered %d: %w", a.Status, err)
	}
	v.unsealKey, v.client.token = keys.Keys[0], keys.RootToken
	return nil
}

func (v *vault) unseal() error {
	if a, err := v.do(http.MethodPut, "sys/unseal", map[string]any{"key": v.unsealKey}); err != nil || a.Status != http.StatusOK {
		return fmt.Errorf("sys/unseal answered %d: %w", a.Status, err)
	}
	return v.await(func() bool {
		a, err := v.do(http.MethodGet, "sys/health", nil)
		return err == nil && a.Status == http.StatusOK
	})
}

func (v *vault) enableAudit() error {
	a, err := v.do(http.MethodPut, "sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": v.auditPath()}})
	if err == nil && a.Status >= 400 {
		err = fmt.Errorf("sys/audit answered %d: %s", a.Status, a.body)
	}
	return err
}

func (v *vault) registerPlugin() error {
	out, code := v.cli("plugin", "register", "-sha256="+suite.pluginSum, "-version="+suite.pluginVersion, "secret", pluginName)
	if code != 0 {
		return fmt.Errorf("vault plugin register: %s", out)
	}
	return nil
}

func (v *vault) pid() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.cmd.Process.Pid
}

// kill is SIGKILL: nothing gets to tidy up.
func (v *vault) kill() {
	_ = v.cmd.Process.Kill()
	<-v.exited
}

// restart brings a raft Vault back after kill.
func (v *vault) restart(t *testing.T) {
	t.Helper()
	if err := errors.Join(v.launch(), v.unseal()); err != nil {
		t.Fatalf("%v\n%s", err, tail(v.logPath()))
	}
}

func (v *vault) running() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.cmd == nil {
		return false
	}
	select {
	case <-v.exited:
		return false
	default:
		return true
	}
}

// stop ends the server and whatever is left of its plugins. It may be called again.
func (v *vault) stop() {
	if !v.running() {
		return
	}
	plugins := v.plugins()
	_ = v.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-v.exited:
	case <-time.After(20 * time.Second):
		v.kill()
	}
	for _, pid := range plugins {
		signal(pid, syscall.SIGKILL)
	}
}

// record keeps what a failure said, for the search for secrets.
func (v *vault) record(said []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures.Write(said)
	v.failures.WriteByte('\n')
}

// leaks names the places where any of the secrets has been written. Vault's log
// holds the plugin's stderr.
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
		if where := search(text, secrets); where != "" {
			found = append(found, place+": "+where)
		}
	}
	return found
}

// search shows where the first secret stands, without showing it.
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

// client is one token's way to a Vault.
type client struct {
	vault *vault
	http  *http.Client
	token string
}

func (c *client) as(token string) *client {
	other := *c
	other.token = token
	return &other
}

// answer is what Vault's HTTP API said.
type answer struct {
	Status        int            `json:"-"`
	LeaseID       string         `json:"lease_id"`
	LeaseDuration int            `json:"lease_duration"`
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
	Errors        []string       `json:"errors"`
	Auth          struct {
		ClientToken string `json:"client_token"`
	} `json:"auth"`
	body []byte
}

// do sends one request; path is taken as it is, %-escapes and all.
func (c *client) do(method, path string, body any) (answer, error) {
	return c.doContext(context.Background(), method, path, body)
}

func (c *client) doContext(ctx context.Context, method, path string, body any) (answer, error) {
	var a answer
	payload, err := jsonBody(body)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.vault.addr+"/v1/"+path, payload)
	if err != nil {
		return a, err
	}
	req.Header.Set("X-Vault-Token", c.token)
	req.Header.Set("X-Vault-Request", "true")
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.Status = resp.StatusCode
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return a, err
	}
	if a.Status >= 400 {
		c.vault.record(a.body)
	}
	_ = a.decode(&a) // not every answer has this form: then the fields stay empty
	return a, nil
}

// cli runs the real vault command and gives back what it said, on both streams,
// and its exit code.
func (c *client) cli(args ...string) (string, int) {
	return c.cliInput("", args...)
}

func (c *client) cliInput(stdin string, args ...string) (string, int) {
	cmd := exec.Command(suite.vaultBin, args...)
	cmd.Dir = c.vault.dir
	cmd.Env = append(cleanEnv(c.vault.dir), "VAULT_ADDR="+c.vault.addr, "VAULT_CACERT="+c.vault.caPath(), "VAULT_TOKEN="+c.token)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err == nil {
		return string(out), 0
	}
	c.vault.record(out)
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	return err.Error(), -1
}
