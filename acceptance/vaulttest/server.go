// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"vault-plugin-ecgrid/internal/testcert"
)

// Config describes a Vault server.
type Config struct {
	Dir       string // for its files, such as vault.hcl, vault.log and ca.pem
	PluginDir string
	Raft      bool // keep data in Dir, after the end of the process; otherwise in memory

	// The rest is for one of several Raft nodes.
	NodeID    string              // "one" if empty
	Authority *testcert.Authority // issues the certificate; nil for an authority of its own
	Leaders   []string            // URLs of nodes to join, whose certificates are of the same Authority
}

// Write writes vault.hcl and what it refers to. It returns the server's URL and the TLS
// settings of a client.
func (c Config) Write() (addr string, trust *tls.Config, err error) {
	api, cluster, err := FreePorts()
	if err != nil {
		return "", nil, err
	}
	if trust, err = c.writeCertificate(); err != nil {
		return "", nil, err
	}
	file := func(name string) string { return filepath.Join(c.Dir, name) }
	storage := `storage "inmem" {}`
	if c.Raft {
		storage = c.raftStorage(file)
		if err := os.Mkdir(file("raft"), 0o700); err != nil {
			return "", nil, err
		}
	}
	addr = "https://" + api
	config := fmt.Sprintf(`%s
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
`, storage, api, cluster, file("cert.pem"), file("key.pem"), addr, cluster, c.PluginDir)
	return addr, trust, os.WriteFile(file("vault.hcl"), []byte(config), 0o600)
}

func (c Config) raftStorage(file func(string) string) string {
	join := ""
	for _, leader := range c.Leaders {
		join += fmt.Sprintf("  retry_join {\n    leader_api_addr = %q\n    leader_ca_cert_file = %q\n  }\n", leader, file("ca.pem"))
	}
	return fmt.Sprintf("storage \"raft\" {\n  path = %q\n  node_id = %q\n%s}", file("raft"), cmp.Or(c.NodeID, "one"), join)
}

func (c Config) writeCertificate() (_ *tls.Config, err error) {
	authority := c.Authority
	if authority == nil {
		if authority, err = testcert.NewAuthority(); err != nil {
			return nil, err
		}
	}
	issued, err := authority.Issue("127.0.0.1")
	if err != nil {
		return nil, err
	}
	cert, key, err := testcert.EncodePEM(issued)
	for name, content := range map[string][]byte{"ca.pem": authority.PEM, "cert.pem": cert, "key.pem": key} {
		err = errors.Join(err, os.WriteFile(filepath.Join(c.Dir, name), content, 0o600))
	}
	return testcert.ClientConfig(authority.PEM), err
}

// FreePorts returns two free addresses (host:port) on loopback. It holds the first while it
// looks for the second, so that they differ.
func FreePorts() (a, b string, err error) {
	first, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer first.Close()
	second, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	defer second.Close()
	return first.Addr().String(), second.Addr().String(), nil
}

// Serve starts the server whose Config was written to dir, and waits until it answers.
func Serve(vaultBin, dir string, c Client) (*Process, error) {
	if err := declareAudit(vaultBin, filepath.Join(dir, "vault.hcl"), filepath.Join(dir, AuditFile)); err != nil {
		return nil, err
	}
	cmd := exec.Command(vaultBin, "server", "-config="+filepath.Join(dir, "vault.hcl"))
	cmd.Dir, cmd.Env = dir, Environment(dir)
	p, err := Start(cmd, filepath.Join(dir, "vault.log"))
	if err != nil {
		return nil, err
	}
	err = c.await("sys/seal-status", func() error {
		if !p.Running() {
			return errors.New("vault has ended")
		}
		return nil
	})
	if err != nil {
		p.Kill()
	}
	return p, err
}

// Initialize creates one unseal key and the root token.
func (c Client) Initialize() (unsealKey, rootToken string, err error) {
	r, err := c.Do(http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	if err == nil && len(r.Keys) != 1 {
		err = fmt.Errorf("sys/init answered %d: %s", r.Status, r.Errors)
	}
	if err != nil {
		return "", "", err
	}
	return r.Keys[0], r.RootToken, nil
}

// Unseal waits until the server is active.
func (c Client) Unseal(key string) error {
	if r, err := c.Do(http.MethodPut, "sys/unseal", map[string]any{"key": key}); err != nil || !r.OK() {
		return fmt.Errorf("sys/unseal answered %d: %w", r.Status, err)
	}
	return c.await("sys/health", func() error { return nil })
}

// await polls a path until the answer is 200. It gives up when check fails.
func (c Client) await(path string, check func() error) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if r, err := c.Do(http.MethodGet, path, nil); err == nil && r.Status == http.StatusOK {
			return nil
		}
		if err := check(); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer 200 within a minute", path)
		}
	}
}
