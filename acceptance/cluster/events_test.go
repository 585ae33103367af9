// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"net/http"
	"testing"
	"time"
)

// event is something that happens to a cluster under load.
type event struct {
	name string
	do   func(t *testing.T, c *cluster, mounts []string)
	// heal brings back the node that was active before, if the event has ended it.
	heal func(c *cluster, n *node) error
	// longest is the limit of the time that a client goes without an answer.
	longest time.Duration
	long    bool // not part of the short core
}

const nextVersion = "v99.0.0"

// events in the order in which they happen. Vault waits for requests in progress, and for
// the plugin's round of periodic work (20 s at most), before it steps down, seals or ends
// a plugin. Raft's default timing takes up to about 15 s to replace a dead leader.
var events = []event{
	{name: "step-down", longest: 30 * time.Second,
		do: func(t *testing.T, c *cluster, _ []string) {
			was := c.active(t)
			was.must(t, http.MethodPut, "sys/step-down", nil)
			await(t, patience, "the node has stepped down", func() bool { return !was.isActive() }) // it may finish requests before
		}},
	{name: "SIGKILL of the leader and its plugin", longest: time.Minute,
		do:   func(t *testing.T, c *cluster, _ []string) { c.active(t).KillAll() },
		heal: restart},
	{name: "restart of the leader (SIGTERM) and unseal", longest: 30 * time.Second, long: true,
		do:   func(t *testing.T, c *cluster, _ []string) { c.active(t).Process().Stop() },
		heal: restart},
	{name: "upgrade to a second registered version", longest: 30 * time.Second, long: true, do: upgrade},
	{name: "plugin reload", longest: 30 * time.Second, long: true,
		do: func(t *testing.T, c *cluster, _ []string) {
			c.active(t).must(t, http.MethodPut, "sys/plugins/reload/backend", fields{"plugin": pluginName})
		}},
	{name: "seal of the leader, unseal", longest: 30 * time.Second, long: true,
		do:   func(t *testing.T, c *cluster, _ []string) { c.active(t).must(t, http.MethodPut, "sys/seal", nil) },
		heal: func(c *cluster, n *node) error { return c.unseal(n) }},
}

func restart(c *cluster, n *node) error {
	if err := n.relaunch(); err != nil {
		return err
	}
	return c.unseal(n)
}

func upgrade(t *testing.T, c *cluster, mounts []string) {
	for _, mount := range mounts {
		c.write(t, "sys/mounts/"+mount+"/tune", fields{"plugin_version": nextVersion})
	}
	c.write(t, "sys/plugins/reload/backend", fields{"mounts": mounts})
	for _, mount := range mounts {
		if version := c.read(t, mount+"/info").Data["version"]; version != nextVersion {
			t.Errorf("%s runs %v after the upgrade", mount, version)
		}
	}
}

func (n *node) must(t *testing.T, method, path string, body any) {
	t.Helper()
	r, err := n.Do(method, path, body)
	must(t, err)
	if !r.OK() {
		t.Fatalf("%s answered %d: %s", path, r.Status, r.Errors)
	}
}
