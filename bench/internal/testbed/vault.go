// SPDX-License-Identifier: MPL-2.0

package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/bench/internal/proc"
)

// Storage backends of Vault.
const (
	Inmem = "inmem"
	Raft  = "raft"
)

// Vault is a Vault server.
type Vault struct {
	*proc.Group
	Addr  string // host:port
	Token string // of a reader. Its policy allows everything in the mounts.

	tools *Tools
	dir   string
	api   vaulttest.Client // with the root token
}

// Start starts a new Vault, initializes it and unseals it.
func (t *Tools) Start(ctx context.Context, storage string) (*Vault, error) {
	dir, err := os.MkdirTemp(t.dir, "vault")
	if err != nil {
		return nil, err
	}
	v := &Vault{tools: t, dir: dir, api: vaulttest.Client{HTTP: &http.Client{Timeout: 5 * time.Minute}}}
	if err := v.start(ctx, storage); err != nil {
		log := v.logTail()
		v.Stop()
		return nil, fmt.Errorf("starting Vault: %w\n%s", err, log)
	}
	return v, nil
}

func (v *Vault) start(ctx context.Context, storage string) error {
	if err := v.writeConfig(storage); err != nil {
		return err
	}
	log, err := os.Create(v.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(v.tools.vault, "server", "-config="+v.configFile())
	cmd.Dir, cmd.Stdout, cmd.Stderr = v.dir, log, log
	cmd.Env = vaulttest.Environment(v.dir, "GOMAXPROCS", "GOGC", "GOMEMLIMIT")
	if v.Group, err = proc.Start(cmd); err != nil {
		return err
	}
	if err := v.await(ctx, "sys/seal-status"); err != nil {
		return err
	}
	if err := v.unseal(); err != nil {
		return err
	}
	return v.createToken(ctx)
}

func (v *Vault) logFile() string    { return filepath.Join(v.dir, "vault.log") }
func (v *Vault) configFile() string { return filepath.Join(v.dir, "vault.hcl") }

// await waits until a path answers 200.
func (v *Vault) await(ctx context.Context, path string) error {
	return v.Await(ctx, func() bool { return v.Do(ctx, http.MethodGet, path, nil, nil) == nil })
}

func (v *Vault) writeConfig(storage string) error {
	addr, cluster, err := vaulttest.FreePorts()
	if err != nil {
		return err
	}
	v.Addr, v.api.Addr = addr, "http://"+addr
	stanza := `storage "inmem" {}`
	if storage == Raft {
		// HashiCorp recommends a multiplier of 1 for production.
		stanza = fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = \"one\"\n  performance_multiplier = 1\n}", v.dir)
	}
	config := fmt.Sprintf(`%s
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
api_addr         = "http://%s"
cluster_addr     = "https://%s"
plugin_directory = %q
disable_mlock    = true
log_level        = "error"
`, stanza, addr, cluster, addr, cluster, v.tools.pluginDir)
	return os.WriteFile(v.configFile(), []byte(config), 0o600)
}

// unseal initializes and unseals Vault.
func (v *Vault) unseal() error {
	key, root, err := v.api.Initialize()
	if err != nil {
		return err
	}
	v.api.Token = root
	return v.api.Unseal(key)
}

// createToken creates the reader's token. A root token would skip the policy check.
func (v *Vault) createToken(ctx context.Context) error {
	policy := map[string]any{"policy": `path "+/*" { capabilities = ["create", "read", "update", "list"] }`}
	if err := v.Do(ctx, http.MethodPut, "sys/policies/acl/bench", policy, nil); err != nil {
		return err
	}
	var token struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		} `json:"auth"`
	}
	err := v.Do(ctx, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"bench"}, "ttl": "24h"}, &token)
	v.Token = token.Auth.ClientToken
	return err
}

type statusError struct {
	method, path string
	status       int
	body         []byte
}

func (e *statusError) Error() string {
	const maxShown = 500
	return fmt.Sprintf("%s %s: HTTP %d: %s", e.method, e.path, e.status, bytes.TrimSpace(e.body[:min(len(e.body), maxShown)]))
}

// Status returns the HTTP status of an error of Do, or 0 if Vault did not answer.
func Status(err error) int {
	if s := (*statusError)(nil); errors.As(err, &s) {
		return s.status
	}
	return 0
}

// Do sends a request with the root token. It decodes the answer into result unless that
// is nil.
func (v *Vault) Do(ctx context.Context, method, path string, body, result any) error {
	r, err := v.api.DoContext(ctx, method, path, body)
	switch {
	case err != nil:
		return err
	case !r.OK():
		return &statusError{method, path, r.Status, r.Body}
	case result == nil:
		return nil
	}
	return json.Unmarshal(r.Body, result)
}

// Stop stops Vault and its plugins, and removes its data.
func (v *Vault) Stop() {
	v.api.HTTP.CloseIdleConnections()
	if v.Group != nil {
		v.Group.Stop(20 * time.Second)
	}
	_ = os.RemoveAll(v.dir)
}

// logTail returns the last lines of Vault's log.
func (v *Vault) logTail() string {
	raw, _ := os.ReadFile(v.logFile())
	lines := strings.Split(string(raw), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
