// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// vault is a real Vault on raft, whose data outlive its process.
type vault struct {
	dir       string
	client    vaulttest.Client
	unsealKey string
	process   atomic.Pointer[vaulttest.Process]

	mu      sync.Mutex
	answers bytes.Buffer // to failed requests, and what else was recorded
}

type fields = map[string]any

// startVault has the engine at each of these paths.
func startVault(t *testing.T, mounts ...string) *vault {
	t.Helper()
	v := &vault{dir: t.TempDir()}
	addr, trust, err := vaulttest.Config{Dir: v.dir, PluginDir: programs.plugin.Dir, Raft: true}.Write()
	if err != nil {
		t.Fatal(err)
	}
	v.client = vaulttest.Client{Addr: addr, HTTP: &http.Client{
		Timeout:   45 * time.Second,
		Transport: &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 64},
	}}
	t.Cleanup(v.kill)
	if err := errors.Join(v.launch(), v.initialize(), v.unseal()); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	if err := v.client.EnableAudit(v.path(vaulttest.AuditFile)); err != nil {
		t.Fatal(err)
	}
	v.must(t, http.MethodPut, "sys/plugins/catalog/secret/"+pluginName, fields{"sha256": programs.plugin.Sum, "command": pluginName, "version": programs.plugin.Version})
	for _, mount := range mounts {
		v.must(t, http.MethodPost, "sys/mounts/"+mount, fields{"type": pluginName})
	}
	return v
}

func (v *vault) path(name string) string { return filepath.Join(v.dir, name) }

func (v *vault) launch() error {
	p, err := vaulttest.Serve(programs.vault, v.dir, v.client)
	v.process.Store(p)
	return err
}

func (v *vault) initialize() (err error) {
	v.unsealKey, v.client.Token, err = v.client.Initialize()
	return err
}

func (v *vault) unseal() error { return v.client.Unseal(v.unsealKey) }

// kill sends SIGKILL. It may be called again.
func (v *vault) kill() { v.process.Load().Kill() }

func (v *vault) killPlugin() {
	for _, pid := range v.process.Load().Plugins() {
		vaulttest.Signal(pid, syscall.SIGKILL)
	}
}

// do sends one request, once. The status is 0 if there is no answer.
func (v *vault) do(method, path string, body any) vaulttest.Response {
	return v.doContext(context.Background(), method, path, body)
}

func (v *vault) doContext(ctx context.Context, method, path string, body any) vaulttest.Response {
	r, err := v.client.DoContext(ctx, method, path, body)
	if err != nil {
		v.recordAnswer([]byte(err.Error()))
		return vaulttest.Response{}
	}
	if !r.OK() {
		v.recordAnswer(r.Body)
	}
	return r
}

// recordAnswer keeps an answer for the search for secrets.
func (v *vault) recordAnswer(answer []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.answers.Write(append(answer, '\n'))
}

func (v *vault) must(t *testing.T, method, path string, body any) vaulttest.Response {
	t.Helper()
	r := v.do(method, path, body)
	if !r.OK() {
		t.Fatalf("%s %s: %d %v", method, path, r.Status, r.Errors)
	}
	return r
}

// written is everything that must not contain a secret.
func (v *vault) written() (map[string][]byte, error) {
	v.mu.Lock()
	all := map[string][]byte{"the answers": bytes.Clone(v.answers.Bytes())}
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
