// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/testcert"
)

// patience is how long a test waits for what is not measured.
const patience = 90 * time.Second

// node is a Vault server.
type node struct{ *vaulttest.Node }

// cluster is a Vault of several Raft nodes. All have the same unseal key.
type cluster struct {
	dir       string
	nodes     []*node
	unsealKey string
	mounts    int
	grids     []*grid
	table     *table
}

// startCluster starts n nodes with the plugin in the catalog. They end with the test.
func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	programs.Need(t)
	c := &cluster{dir: t.TempDir()}
	t.Cleanup(c.stop)
	authority, err := testcert.NewAuthority()
	must(t, err)
	first := c.addNode(t, authority)
	c.unsealKey, first.Token, err = first.Initialize()
	must(t, errors.Join(err, first.Client.Unseal(c.unsealKey)))
	if n > 1 { // nodes vote after 10 s by default
		c.write(t, "sys/storage/raft/autopilot/configuration", fields{"server_stabilization_time": "1s"})
	}
	for len(c.nodes) < n {
		other := c.addNode(t, authority)
		other.Token = first.Token
		must(t, c.unseal(other))
	}
	must(t, first.EnableAudit(c.auditPath()))
	must(t, first.Register(pluginName, programs.Plugin))
	return c
}

// addNode starts a node. If it does not start, another process may have taken its ports.
func (c *cluster) addNode(t *testing.T, authority *testcert.Authority) *node {
	t.Helper()
	id := fmt.Sprint("node", len(c.nodes)+1)
	config := vaulttest.Config{Dir: filepath.Join(c.dir, id), PluginDir: programs.Plugin.Dir, Raft: true, NodeID: id, Authority: authority}
	if len(c.nodes) > 0 {
		config.Leaders = []string{c.nodes[0].Addr}
	}
	n, err := &node{}, errors.New("not tried")
	for try := 0; err != nil && try < 5; try++ {
		must(t, os.RemoveAll(config.Dir))
		must(t, os.Mkdir(config.Dir, 0o700))
		made, failed := vaulttest.NewNode(programs.Vault, config, time.Minute) // as Vault's own client
		must(t, failed)
		n.Node, err = made, made.Launch()
	}
	must(t, err)
	c.nodes = append(c.nodes, n)
	return n
}

func (c *cluster) auditPath() string { return filepath.Join(c.dir, "audit.log") }

// relaunch starts a node that has ended. A connection of another process may have its port
// for a moment.
func (n *node) relaunch() error {
	var err error
	_ = within(patience, "the node starts", func() bool {
		err = n.Launch()
		return err == nil
	})
	return err
}

// unseal waits until a node is unsealed and has joined the cluster. It sends the key again
// only after a refusal: Vault 1.21.0 that is unsealed twice while it joins ignores every later
// step-down.
func (c *cluster) unseal(n *node) error {
	accepted := false
	return within(patience, n.Dir+" is unsealed", func() bool {
		if !accepted {
			r, err := n.Do(http.MethodPut, "sys/unseal", fields{"key": c.unsealKey})
			accepted = err == nil && r.OK()
		}
		health, err := n.Do(http.MethodGet, "sys/health?standbyok=true", nil)
		return err == nil && health.OK()
	})
}

// stop ends all nodes. It may be called again.
func (c *cluster) stop() {
	for _, n := range c.nodes {
		n.KillAll()
	}
}

// isActive asks a node about itself.
func (n *node) isActive() bool {
	r, err := n.Do(http.MethodGet, "sys/leader", nil)
	var leader struct {
		IsSelf bool `json:"is_self"`
	}
	return err == nil && json.Unmarshal(r.Body, &leader) == nil && leader.IsSelf
}

// activeSince returns when the active node became active. It changes with each change of
// the leader.
func (c *cluster) activeSince(t *testing.T) string {
	t.Helper()
	var leader struct {
		ActiveTime string `json:"active_time"`
	}
	r := c.do(t, http.MethodGet, "sys/leader", nil)
	if err := json.Unmarshal(r.Body, &leader); err != nil || leader.ActiveTime == "" {
		t.Fatalf("sys/leader answered %d without active_time: %v", r.Status, err)
	}
	return leader.ActiveTime
}

// active waits for the active node.
func (c *cluster) active(t *testing.T) *node {
	t.Helper()
	var found *node
	await(t, patience, "an active node", func() bool {
		for _, n := range c.nodes {
			if n.Process().Running() && n.isActive() {
				if r, err := n.Do(http.MethodGet, "sys/health", nil); err == nil && r.OK() {
					found = n
					return true
				}
			}
		}
		return false
	})
	return found
}

// awaitVoters waits until all nodes are unsealed and vote. Without that a cluster does not
// survive the loss of a node.
func (c *cluster) awaitVoters(t *testing.T) {
	t.Helper()
	await(t, patience, "all nodes vote", func() bool {
		r := c.do(t, http.MethodGet, "sys/storage/raft/autopilot/state", nil)
		var state struct {
			Data struct {
				Healthy bool     `json:"healthy"`
				Voters  []string `json:"voters"`
			} `json:"data"`
		}
		return json.Unmarshal(r.Body, &state) == nil && state.Data.Healthy && len(state.Data.Voters) == len(c.nodes)
	})
}

// do sends one request to the active node.
func (c *cluster) do(t *testing.T, method, path string, body any) vaulttest.Response {
	t.Helper()
	r, err := c.active(t).Do(method, path, body)
	if err != nil {
		return vaulttest.Response{Errors: []string{err.Error()}}
	}
	return r
}

func (c *cluster) write(t *testing.T, path string, body any) vaulttest.Response {
	t.Helper()
	r := c.do(t, http.MethodPost, path, body)
	if !r.OK() {
		t.Fatalf("%s answered %d: %s", path, r.Status, r.Errors)
	}
	return r
}

func (c *cluster) read(t *testing.T, path string) vaulttest.Response {
	t.Helper()
	r := c.do(t, http.MethodGet, path, nil)
	if !r.OK() {
		t.Fatalf("%s answered %d: %s", path, r.Status, r.Errors)
	}
	return r
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within polls for an event in another process.
func within(d time.Duration, what string, met func() bool) error {
	for deadline := time.Now().Add(d); !met(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", d, what)
		}
	}
	return nil
}

func await(t *testing.T, d time.Duration, what string, met func() bool) {
	t.Helper()
	must(t, within(d, what, met))
}
