// SPDX-License-Identifier: MPL-2.0

package cluster

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// watched is how long the load is watched after an event at least.
const watched = 3 * time.Second

// TestCluster disturbs a cluster of three nodes under load, also in the midst of each kind
// of rotation. Clients miss answers for a while. Nothing else is lost.
func TestCluster(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	if !testing.Short() {
		command, next, err := programs.Plugin.AddVersion(repoRoot, nextVersion)
		must(t, err)
		must(t, c.nodes[0].Register(command, next))
	}
	c.table = newTable(t, "Events under load", "Event", "In the midst of", "Requests", "Failed", "Longest gap", "Leases held", "Leases lost", "Refused logins", "Sessions left", "Rotations twice", "Rotations lost")
	for _, e := range events {
		if e.long && testing.Short() {
			continue
		}
		for _, together := range groups() {
			t.Run(e.name+", "+together[len(together)-1].name, func(t *testing.T) { c.disturb(t, e, together) })
		}
	}
	c.stop()
	c.checkSecrets(t, c.grids...)
}

// groups returns which rotations are in progress during the same event. In the short core
// that is all of them.
func groups() [][]rotation {
	var short []rotation
	for _, r := range rotations {
		if !r.long {
			short = append(short, r)
		}
	}
	if testing.Short() {
		return [][]rotation{short}
	}
	last := len(rotations) - 1
	return [][]rotation{rotations[:1], rotations[1:last], rotations[last:]}
}

// disturb runs an event, and reports a row for each of the rotations.
func (c *cluster) disturb(t *testing.T, e event, together []rotation) {
	t.Helper()
	c.awaitVoters(t)
	var subjects []*subject
	var mounts []string
	for _, r := range together {
		s := c.newSubject(t, r)
		subjects, mounts = append(subjects, s), append(mounts, s.mount)
	}
	for _, s := range subjects {
		s.begin(t)
	}
	was, began := c.active(t), time.Now()
	if e.do(t, c, mounts); time.Since(began) < watched {
		time.Sleep(watched - time.Since(began)) // failures may come late
	}
	for _, s := range subjects {
		s.load.awaitAll(t, time.Now())
	}
	t.Logf("%s: all clients have answers after %v", e.name, time.Since(began).Round(time.Millisecond))
	if e.heal != nil {
		must(t, e.heal(c, was))
	}
	since := c.activeSince(t)
	for _, s := range subjects {
		s.finish(t, e, began, since)
	}
}

// newSubject makes a mount whose clients hold leases.
func (c *cluster) newSubject(t *testing.T, r rotation) *subject {
	t.Helper()
	c.mounts++
	s := &subject{cluster: c, grid: startGrid(t), rotation: r, mount: fmt.Sprint("ecgrid", c.mounts)}
	c.grids = append(c.grids, s.grid)
	c.write(t, "sys/mounts/"+s.mount, fields{"type": pluginName, "config": fields{"plugin_version": programs.Plugin.Version}})
	c.write(t, s.at("config"), s.loginConfig())
	if r.prepare != nil {
		r.prepare(t, s)
	}
	s.load = startLoad(c, s.mount)
	t.Cleanup(s.load.end)
	await(t, patience, "the clients hold leases", func() bool {
		s.load.mu.Lock()
		defer s.load.mu.Unlock()
		return s.load.requests > 2*workers*maxHeld
	})
	return s
}

// begin begins the rotation and the measurement.
func (s *subject) begin(t *testing.T) {
	t.Helper()
	s.load.reset()
	if s.rotation.begin == nil {
		return
	}
	s.before = s.changed(s.rotation.user)
	s.rotation.begin(t, s)
	if now := s.changed(s.rotation.user); now != s.before {
		t.Errorf("%s: the change was applied before the event", s.rotation.name)
	}
}

// finish waits for the rotation, ends the load, and reports the row.
func (s *subject) finish(t *testing.T, e event, began time.Time, since string) {
	t.Helper()
	twice, lost := 0, 0
	if s.rotation.settle != nil {
		twice, lost = s.counts(t, s.rotation.settle(t, s))
	}
	s.load.end()
	failed, how := s.load.failed()
	held, lostLeases := s.load.lostLeases(t)
	_ = within(15*time.Second, "all sessions are logged out", func() bool { return s.OpenSessions() == 0 })
	left := s.OpenSessions()
	s.read(t, s.at("status")) // logs in with the stored password
	refused := s.State().RefusedLogins

	if how != "" {
		how = " (" + how + ")"
	}
	gap := s.load.gap.Round(10 * time.Millisecond)
	s.table.row(e.name, s.rotation.name, s.load.requests, fmt.Sprint(failed, how), gap, held, lostLeases, refused, left, twice, lost)
	for what, n := range map[string]int{"leases lost": lostLeases, "sessions left": left, "rotations done twice": twice, "rotations lost": lost} {
		if n != 0 {
			t.Errorf("%s, %s: %s: %d", e.name, s.rotation.name, what, n)
		}
	}
	if refused > s.rotation.refused {
		t.Errorf("%s, %s: %d refused logins, %d allowed", e.name, s.rotation.name, refused, s.rotation.refused)
	}
	until := s.load.lastFailed.Sub(began)
	switch {
	case s.activeSince(t) != since: // on a machine that is overloaded, Raft elects without an event
		t.Logf("%s, %s: the leader changed once more: the gap is not checked", e.name, s.rotation.name)
	case gap > e.longest || until > e.longest:
		t.Errorf("%s, %s: a client went without an answer for %v, and a request failed %v after the event; %v are allowed", e.name, s.rotation.name, gap, until, e.longest)
	}
	if held == 0 || s.load.requests == 0 {
		t.Errorf("%s, %s: there was no load", e.name, s.rotation.name)
	}
	s.remove(t)
}

// remove unmounts, which fails if a lease cannot be revoked. It is repeated, since many
// leases on a slow disk may cost the leader its place.
func (s *subject) remove(t *testing.T) {
	t.Helper()
	var r vaulttest.Response
	if within(3*time.Minute, "unmount", func() bool {
		r = s.do(t, http.MethodDelete, "sys/mounts/"+s.mount, nil)
		return r.OK()
	}) != nil {
		t.Errorf("unmount answered %d: %s", r.Status, r.Errors)
	}
}
