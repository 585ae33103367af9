// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"fmt"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/internal/simulator"
)

// measured is what becomes a row of docs/consumers.md.
type measured struct{ noticed, afterECGrid, afterVault, end map[string]time.Duration }

// TestClients runs all programs at once through rotations, outages and a user that ECGrid
// refuses.
func TestClients(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	f.begin(t)
	var m measured
	m.noticed = f.rotation(t)
	f.lateFile(t)
	m.afterECGrid = f.withoutECGrid(t)
	m.afterVault = f.withoutVault(t)
	f.refusedUser(t)
	m.end = f.end(t)
	for _, r := range f.clients {
		t.Run(r.id, func(t *testing.T) { f.report(t, r, m) })
	}
	for _, p := range programs() {
		if why := p.missing(); why != "" {
			t.Run(p.dir, func(t *testing.T) { consumertest.NotRun(t, p.name+" client", why) })
		}
	}
}

// begin: the key is read once for many calls at once, and then kept.
func (f *fleet) begin(t *testing.T) {
	m := mark{}
	f.await(t, m, "the start", all(rounds(3, succeeded)))
	f.wantNoFailure(t, m, everyone)
	f.wantReads(t, m, 1)
}

// rotation: no call fails, and the key is read once, although all callers were refused.
func (f *fleet) rotation(t *testing.T) map[string]time.Duration {
	m := f.mark(t)
	f.front.while(func() {
		f.world.Rotate(t)
		f.renewFiles(t)
		m.at = time.Now()
	})
	f.await(t, m, "a rotation", all(rounds(3, succeeded)))
	f.wantNoFailure(t, m, everyone)
	f.wantReads(t, m, 1)
	noticed := map[string]time.Duration{}
	for _, r := range f.clients {
		if n := f.refusals(r, m); n < 1 || n > callers {
			t.Errorf("%s: ECGrid has refused %d calls, and not 1 to %d", r.id, n, callers)
		}
		noticed[r.id] = f.first(t, r, m, func(c call) bool { return c.key == f.world.Key() })
	}
	return noticed
}

// lateFile: until Agent has written a replaced key, calls fail and are not repeated. Who
// asks Vault itself has the new key at once.
func (f *fleet) lateFile(t *testing.T) {
	m := f.mark(t)
	f.front.while(func() { f.world.Grid.ReplaceKey(consumertest.UserID) })
	f.await(t, m, "a replaced key", func(r *running, lines []string) bool {
		if byAPI(r) {
			return rounds(3, succeeded)(lines)
		}
		return rounds(3, says("gave the same one"))(lines)
	})
	f.wantNoFailure(t, m, byAPI)
	f.wantReads(t, m, 1)
	f.wantNoRepeats(t, m, fromFile)
	f.renewFiles(t)
	m = f.mark(t)
	f.await(t, m, "a late file", all(rounds(2, succeeded)))
}

// wantNoRepeats: a refused call is followed by none before the caller's next one.
func (f *fleet) wantNoRepeats(t *testing.T, m mark, which func(*running) bool) {
	t.Helper()
	for _, r := range f.clients {
		refusals := f.refusals(r, m)
		if failures := count(r.lines(t, m.lines[r.id]), failed); which(r) && refusals > failures+callers {
			t.Errorf("%s: ECGrid has refused %d calls, and %d have failed", r.id, refusals, failures)
		}
	}
}

// withoutECGrid: calls fail, and neither Vault nor the file is asked for another key.
func (f *fleet) withoutECGrid(t *testing.T) map[string]time.Duration {
	m := f.mark(t)
	up := f.world.ECGridDown()
	f.await(t, m, "ECGrid down", all(rounds(2, failed)))
	up()
	back := f.mark(t)
	f.await(t, back, "ECGrid up", all(rounds(2, succeeded)))
	f.wantReads(t, m, 0)
	after := map[string]time.Duration{}
	for _, r := range f.clients {
		after[r.id] = f.first(t, r, back, func(call) bool { return true })
	}
	return after
}

// withoutVault: calls succeed with the key in memory. A key that is replaced meanwhile is
// noticed as soon as Vault is back.
func (f *fleet) withoutVault(t *testing.T) map[string]time.Duration {
	m := f.mark(t)
	up := f.world.VaultDown(t)
	f.await(t, m, "Vault down", all(rounds(3, succeeded)))
	f.wantNoFailure(t, m, everyone)
	m = f.mark(t)
	f.front.while(func() { f.world.Grid.ReplaceKey(consumertest.UserID) })
	f.await(t, m, "a key replaced while Vault is down", all(rounds(1, says("(HTTP 401)"))))
	f.wantNoRepeats(t, m, everyone)
	up()
	f.renewFiles(t)
	back := f.mark(t)
	f.await(t, back, "Vault up", all(rounds(2, succeeded)))
	after := map[string]time.Duration{}
	for _, r := range f.clients {
		after[r.id] = f.first(t, r, back, func(c call) bool { return c.key == f.world.Key() })
	}
	return after
}

// refusedUser: each call costs ECGrid one refusal, and a second one only after a new key.
func (f *fleet) refusedUser(t *testing.T) {
	status := func(s string) {
		f.world.Grid.Update(consumertest.UserID, func(u *simulator.User) { u.Status = s })
	}
	m := f.mark(t)
	f.front.while(func() { status("Suspended") })
	f.await(t, m, "a suspended user", all(rounds(3, says("gave the same one"))))
	f.wantNoRepeats(t, m, everyone)
	for _, r := range f.clients {
		reads, failures := f.reads(t)[r.id]-m.reads[r.id], count(r.lines(t, m.lines[r.id]), failed)
		if reads > failures+callers {
			t.Errorf("%s: %d calls have failed, and the key was read %d times", r.id, failures, reads)
		}
	}
	m = f.mark(t)
	f.front.while(func() {
		f.world.Grid.ReplaceKey(consumertest.UserID)
		f.renewFiles(t)
	})
	f.await(t, m, "a suspended user with a new key", all(func(lines []string) bool {
		return count(lines, says("check in Vault")) > 0 && count(lines, says("gave the same one")) >= 2*callers
	}))
	status("Active")
	f.await(t, f.mark(t), "an active user", all(rounds(1, succeeded)))
}

// end: SIGTERM ends each program, and none has printed a secret.
func (f *fleet) end(t *testing.T) map[string]time.Duration {
	took := map[string]time.Duration{}
	for _, r := range f.clients {
		began := time.Now()
		r.process.Stop()
		if took[r.id] = time.Since(began); took[r.id] > 3*time.Second+consumertest.Slack {
			t.Errorf("%s ends %v after SIGTERM", r.id, took[r.id])
		}
		consumertest.CheckLog(t, r.log(), append(f.world.Grid.Secrets(), f.world.Token, "hvs.")...)
	}
	return took
}

func (f *fleet) report(t *testing.T, r *running, m measured) {
	row := consumertest.Row{
		Consumer:   r.name + " client, API",
		Version:    r.version,
		Arrives:    "read by the application itself",
		Noticed:    fmt.Sprintf("%s, by the first call (one each %s), which succeeds", consumertest.Rounded(m.noticed[r.id]), consumertest.Rounded(interval)),
		ECGridDown: "calls fail; first success after " + consumertest.Rounded(m.afterECGrid[r.id]),
		VaultDown:  "calls succeed; a key replaced meanwhile is noticed after " + consumertest.Rounded(m.afterVault[r.id]),
		Note:       fmt.Sprintf("one read for %d refused calls at once; ends %s after SIGTERM", callers, consumertest.Rounded(m.end[r.id])),
	}
	if fromFile(r) {
		row.Consumer = r.name + " client, file"
		row.Arrives = "in a file, read by the application after a 401"
		row.VaultDown = "calls succeed; a new key as soon as the file has it"
		row.Noticed += " if the file has the key"
	}
	row.Report(t)
}
