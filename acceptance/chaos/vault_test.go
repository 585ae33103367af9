// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// vault is a real Vault on raft, whose data outlive its process.
type vault struct {
	*vaulttest.Node

	mu      sync.Mutex
	answers bytes.Buffer // to failed requests, and what else was recorded
}

type fields = map[string]any

// startVault has the engine at each of these paths.
func startVault(t *testing.T, mounts ...string) *vault {
	t.Helper()
	n, err := vaulttest.NewNode(programs.Vault, vaulttest.Config{Dir: t.TempDir(), PluginDir: programs.Plugin.Dir, Raft: true}, 45*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{Node: n}
	t.Cleanup(v.Kill)
	if err := v.SetUp(); err != nil {
		t.Fatalf("starting Vault: %v", err)
	}
	if err := v.Install(programs.Plugin); err != nil {
		t.Fatal(err)
	}
	for _, mount := range mounts {
		v.must(t, http.MethodPost, "sys/mounts/"+mount, fields{"type": pluginName})
	}
	return v
}

// do sends one request, once. The status is 0 if there is no answer.
func (v *vault) do(method, path string, body any) vaulttest.Response {
	return v.doContext(context.Background(), method, path, body)
}

func (v *vault) doContext(ctx context.Context, method, path string, body any) vaulttest.Response {
	r, err := v.DoContext(ctx, method, path, body)
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
		raw, err := os.ReadFile(v.Path(name))
		if err != nil {
			return nil, err
		}
		all[place] = raw
	}
	return all, nil
}
