package chaos

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/otherhand"
)

// vault is a real Vault on raft, which survives its own death.
type vault struct {
	dir, addr string
	http      *http.Client
	token     string
	key       string // of the seal

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
	said   bytes.Buffer // the answers to failed requests
}

// reply is what Vault said. Status 0: nothing.
type reply struct {
	Status   int            `json:"-"`
	LeaseID  string         `json:"lease_id"`
	Duration int            `json:"lease_duration"`
	Data     map[string]any `json:"data"`
	Errors   []string       `json:"errors"`

	Keys []string `json:"keys"` // of sys/init
	Root string   `json:"root_token"`
}

func (r reply) ok() bool { return r.Status/100 == 2 }

func startVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{dir: t.TempDir()}
	if err := v.configure(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.kill)
	if err := errors.Join(v.launch(), v.initialize(), v.unseal()); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	v.must(t, http.MethodPut, "sys/audit/file", fields{"type": "file", "options": fields{"file_path": v.path("audit.log")}})
	v.must(t, http.MethodPut, "sys/plugins/catalog/secret/"+pluginName, fields{"sha256": tools.sum, "command": pluginName, "version": tools.version})
	for _, mount := range mounts {
		v.must(t, http.MethodPost, "sys/mounts/"+mount, fields{"type": pluginName})
	}
	return v
}

type fields = map[string]any

func (v *vault) path(name string) string { return filepath.Join(v.dir, name) }

func (v *vault) configure() error {
	authority, err := otherhand.NewAuthority()
	if err != nil {
		return err
	}
	cert, key, err := authority.IssuePEM()
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority.PEM)
	v.http = &http.Client{
		Timeout:   45 * time.Second,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 64},
	}
	api, cluster, err := twoPorts()
	if err != nil {
		return err
	}
	v.addr = "https://" + api
	config := fmt.Sprintf(`
storage "raft" {
  path    = %q
  node_id = "chaos"
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_cert_file   = %q
  tls_key_file    = %q
}
api_addr         = %q
cluster_addr     = "https://%s"
plugin_directory = %q
disable_mlock    = true
log_level        = "trace"
`, v.path("raft"), api, cluster, v.path("cert.pem"), v.path("key.pem"), v.addr, cluster, tools.dir)
	return errors.Join(
		os.Mkdir(v.path("raft"), 0o700),
		os.WriteFile(v.path("cert.pem"), cert, 0o600),
		os.WriteFile(v.path("key.pem"), key, 0o600),
		os.WriteFile(v.path("vault.hcl"), []byte(config), 0o600),
	)
}

func twoPorts() (a, b string, err error) {
	var open []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() // both are held until both are known
		open = append(open, l)
	}
	return open[0].Addr().String(), open[1].Addr().String(), nil
}

func (v *vault) launch() error {
	log, err := os.OpenFile(v.path("vault.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(tools.vault, "server", "-config="+v.path("vault.hcl"))
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = environment(v.dir), v.dir, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in the log
		close(exited)
	}()
	v.mu.Lock()
	v.cmd, v.exited = cmd, exited
	v.mu.Unlock()
	if err := endWithTest(cmd.Process.Pid); err != nil {
		return err
	}
	return v.await("sys/seal-status", func(r reply) bool { return r.Status == http.StatusOK })
}

// endWithTest kills Vault when this process is gone, a timeout of go test for one.
func endWithTest(pid int) error {
	const watch = `while kill -0 "$1" && kill -0 "$2"; do sleep 1; done 2>/dev/null; kill -0 "$1" 2>/dev/null || kill -9 "$2"`
	cmd := exec.Command("sh", "-c", watch, "sh", strconv.Itoa(os.Getpid()), strconv.Itoa(pid))
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}

func (v *vault) await(path string, ready func(reply) bool) error {
	deadline := time.Now().Add(time.Minute)
	for !ready(v.do(http.MethodGet, path, nil)) {
		if time.Now().After(deadline) {
			return errors.New(path + " is not ready after a minute")
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

func (v *vault) initialize() error {
	r := v.do(http.MethodPut, "sys/init", fields{"secret_shares": 1, "secret_threshold": 1})
	if len(r.Keys) != 1 {
		return fmt.Errorf("sys/init answered %d", r.Status)
	}
	v.key, v.token = r.Keys[0], r.Root
	return nil
}

func (v *vault) unseal() error {
	if r := v.do(http.MethodPut, "sys/unseal", fields{"key": v.key}); !r.ok() {
		return fmt.Errorf("sys/unseal answered %d", r.Status)
	}
	return v.await("sys/health", func(r reply) bool { return r.Status == http.StatusOK })
}

// kill is SIGKILL. It may be called again.
func (v *vault) kill() {
	v.mu.Lock()
	cmd, exited := v.cmd, v.exited
	v.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		<-exited
	}
}

// killPlugin kills the processes whose parent is this Vault.
func (v *vault) killPlugin() {
	v.mu.Lock()
	vaultPID := v.cmd.Process.Pid
	v.mu.Unlock()
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=").Output()
	if err != nil {
		out = fromProc()
	}
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		if n, _ := fmt.Sscan(line, &pid, &parent); n == 2 && parent == vaultPID {
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill() // it may have ended
			}
		}
	}
}

// fromProc stands in for ps where there is none.
func fromProc() []byte {
	var out []byte
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		raw, _ := os.ReadFile(name)
		rest := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:])) // after "pid (name)"
		if len(rest) > 1 {
			out = fmt.Appendf(out, "%s %s\n", filepath.Base(filepath.Dir(name)), rest[1])
		}
	}
	return out
}

// do sends one request, once.
func (v *vault) do(method, path string, body any) reply {
	return v.doContext(context.Background(), method, path, body)
}

func (v *vault) doContext(ctx context.Context, method, path string, body any) reply {
	var payload []byte
	if body != nil {
		payload, _ = json.Marshal(body) // maps of plain values
	}
	req, err := http.NewRequestWithContext(ctx, method, v.addr+"/v1/"+path, bytes.NewReader(payload))
	if err != nil {
		return reply{}
	}
	req.Header.Set("X-Vault-Token", v.token)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := v.http.Do(req)
	if err != nil {
		v.keep([]byte(err.Error()))
		return reply{}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return reply{}
	}
	r := reply{Status: resp.StatusCode}
	_ = json.Unmarshal(raw, &r) // not every answer has this form
	if !r.ok() {
		v.keep(raw)
	}
	return r
}

// keep is for the search for secrets.
func (v *vault) keep(said []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.said.Write(append(said, '\n'))
}

func (v *vault) must(t *testing.T, method, path string, body any) reply {
	t.Helper()
	r := v.do(method, path, body)
	if !r.ok() {
		t.Fatalf("%s %s: %d %v", method, path, r.Status, r.Errors)
	}
	return r
}

// written is everything that must not hold a secret.
func (v *vault) written() (map[string][]byte, error) {
	v.mu.Lock()
	all := map[string][]byte{"answers to failed requests": bytes.Clone(v.said.Bytes())}
	v.mu.Unlock()
	for place, name := range map[string]string{"Vault's log and the plugin's stderr": "vault.log", "the audit log": "audit.log"} {
		raw, err := os.ReadFile(v.path(name))
		if err != nil {
			return nil, err
		}
		all[place] = raw
	}
	return all, nil
}
