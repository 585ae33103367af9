// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// vault is a real Vault on raft, whose storage can be listed.
type vault struct {
	dir       string
	client    vaulttest.Client
	unsealKey string
	process   atomic.Pointer[vaulttest.Process]
}

type fields = map[string]any

func startVault(t *testing.T) *vault {
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
	if err := errors.Join(v.adjustConfig(), v.launch(), v.initialize(), v.unseal()); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	v.must(t, http.MethodPut, "sys/plugins/catalog/secret/"+pluginName, fields{"sha256": programs.plugin.Sum, "command": pluginName, "version": programs.plugin.Version})
	return v
}

// adjustConfig lets the root token list the storage. It also logs less: a trace of half an
// hour fills the disk.
func (v *vault) adjustConfig() error {
	path := filepath.Join(v.dir, "vault.hcl")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := strings.Replace(string(raw), `"trace"`, `"info"`, 1) + "raw_storage_endpoint = true\n"
	return os.WriteFile(path, []byte(text), 0o600)
}

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
	r, err := v.client.Do(method, path, body)
	if err != nil {
		return vaulttest.Response{}
	}
	return r
}

func (v *vault) must(t *testing.T, method, path string, body any) vaulttest.Response {
	t.Helper()
	r := v.do(method, path, body)
	if !r.OK() {
		t.Fatalf("%s %s: %d %v", method, path, r.Status, r.Errors)
	}
	return r
}

// mount mounts the engine and returns the path of its storage.
func (v *vault) mount(t *testing.T, path string) (storage string) {
	t.Helper()
	v.must(t, http.MethodPost, "sys/mounts/"+path, fields{"type": pluginName})
	r := v.must(t, http.MethodGet, "sys/mounts/"+path, nil)
	uuid, _ := r.Data["uuid"].(string)
	if uuid == "" {
		t.Fatalf("%s has no storage", path)
	}
	return "logical/" + uuid + "/"
}

// list returns the keys of all entries below a path of Vault's storage, without the path.
func (v *vault) list(path string) ([]string, error) {
	r, err := v.client.Do("LIST", "sys/raw/"+path, nil)
	if err != nil || r.Status == http.StatusNotFound {
		return nil, err
	}
	if !r.OK() {
		return nil, fmt.Errorf("sys/raw answered %d: %v", r.Status, r.Errors)
	}
	var all []string
	keys, _ := r.Data["keys"].([]any)
	for _, key := range keys {
		name := fmt.Sprint(key)
		if !strings.HasSuffix(name, "/") {
			all = append(all, name)
			continue
		}
		below, err := v.list(path + name)
		if err != nil {
			return nil, err
		}
		for _, other := range below {
			all = append(all, name+other)
		}
	}
	return all, nil
}
