// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"
)

// Node is a Vault server of a test. Its Client has the root token when it is set up.
type Node struct {
	Client

	Dir       string // with vault.hcl, vault.log and ca.pem
	UnsealKey string

	bin     string
	process atomic.Pointer[Process]
}

// NewNode writes the configuration of a server, which is not started. A request of its
// Client takes at most timeout.
func NewNode(bin string, c Config, timeout time.Duration) (*Node, error) {
	addr, trust, err := c.Write()
	if err != nil {
		return nil, err
	}
	return &Node{Client: Client{Addr: addr, HTTP: newHTTPClient(trust, timeout)}, Dir: c.Dir, bin: bin}, nil
}

func newHTTPClient(trust *tls.Config, timeout time.Duration) *http.Client {
	return &http.Client{Timeout: timeout, Transport: &http.Transport{TLSClientConfig: trust, MaxIdleConnsPerHost: 256}}
}

// Path returns the path of a file in Dir.
func (n *Node) Path(name string) string { return filepath.Join(n.Dir, name) }

// Launch starts the process and waits until it answers.
func (n *Node) Launch() error {
	p, err := Serve(n.bin, n.Dir, n.Client)
	n.process.Store(p)
	return err
}

// SetUp starts a server for the first time, and initializes and unseals it.
func (n *Node) SetUp() (err error) {
	if err := n.Launch(); err != nil {
		return err
	}
	if n.UnsealKey, n.Token, err = n.Initialize(); err != nil {
		return err
	}
	return n.Unseal()
}

// Unseal waits until the server is active.
func (n *Node) Unseal() error { return n.Client.Unseal(n.UnsealKey) }

// Register adds a version of the plugin to the catalog. The command is the name of its binary.
func (n *Node) Register(command string, p Plugin) error {
	r, err := n.Do(http.MethodPut, "sys/plugins/catalog/secret/"+PluginName, map[string]string{"command": command, "sha256": p.Sum, "version": p.Version})
	if err == nil && !r.OK() {
		err = fmt.Errorf("registering %s answered %d: %s", command, r.Status, r.Errors)
	}
	return err
}

// Install enables the audit device and registers the plugin.
func (n *Node) Install(p Plugin) error {
	return errors.Join(n.EnableAudit(n.Path(AuditFile)), n.Register(PluginName, p))
}

// Process is the running server. It is nil before Launch.
func (n *Node) Process() *Process { return n.process.Load() }

// Kill ends the server with SIGKILL, and leaves its plugin. It may be called again.
func (n *Node) Kill() { n.Process().Kill() }

// KillAll ends the server and its plugin with SIGKILL, as the loss of a machine does. It may be
// called again.
func (n *Node) KillAll() { n.endWith((*Process).Kill) }

// Stop ends the server with SIGTERM, and a plugin that is left with SIGKILL. It may be called
// again.
func (n *Node) Stop() { n.endWith((*Process).Stop) }

func (n *Node) endWith(end func(*Process)) {
	if !n.Process().Running() {
		return
	}
	plugins := n.Process().Plugins()
	end(n.Process())
	for _, pid := range plugins {
		Signal(pid, syscall.SIGKILL)
	}
}

// KillPlugins ends the processes of the plugin with SIGKILL.
func (n *Node) KillPlugins() {
	for _, pid := range n.Process().Plugins() {
		Signal(pid, syscall.SIGKILL)
	}
}
