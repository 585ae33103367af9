// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// vault is a real Vault on raft, whose storage can be listed.
type vault struct{ *vaulttest.Node }

type fields = map[string]any

func startVault(t *testing.T) *vault {
	t.Helper()
	n, err := vaulttest.NewNode(programs.Vault, vaulttest.Config{Dir: t.TempDir(), PluginDir: programs.Plugin.Dir, Raft: true}, 45*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{n}
	t.Cleanup(v.Kill)
	if err := errors.Join(v.adjustConfig(), v.SetUp()); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	if err := v.Register(pluginName, programs.Plugin); err != nil {
		t.Fatal(err)
	}
	return v
}

// adjustConfig lets the root token list the storage. It also logs less: a trace of half an
// hour fills the disk.
func (v *vault) adjustConfig() error {
	path := v.Path("vault.hcl")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := strings.Replace(string(raw), `"trace"`, `"info"`, 1) + "raw_storage_endpoint = true\n"
	return os.WriteFile(path, []byte(text), 0o600)
}

// do sends one request, once. The status is 0 if there is no answer.
func (v *vault) do(method, path string, body any) vaulttest.Response {
	r, err := v.Do(method, path, body)
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
	r, err := v.Do("LIST", "sys/raw/"+path, nil)
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
