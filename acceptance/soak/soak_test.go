// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	phaseFaults    = "faults"    // one plugin process all the time
	phaseFailovers = "failovers" // and faults

	shortRun = 8 * time.Second
	// maxWarmUp is until the leases are as many as they will be, and all code has run.
	maxWarmUp   = 2 * time.Minute
	sampleEvery = time.Second
	// storageEvery is how many samples share one listing of the storage.
	storageEvery = 5
	// recovery is how long a pause after failed Logins may take, with some margin.
	recovery = 20 * time.Minute
)

// TestSoak runs load and failures, then the same with failovers, and at last waits until
// nothing is left of either.
func TestSoak(t *testing.T) {
	programs.Need(t)
	parallelIfShort(t)
	duration, seed := soakTime(t), rand.Uint64()
	if text := os.Getenv("ECGRID_SOAK_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	w := newWorld(t)
	w.prepare(t)
	idle := w.awaitIdle(t, time.Minute)
	t.Logf("ECGRID_SOAK=%s ECGRID_SOAK_SEED=%d", cmp.Or(duration, shortRun), seed)

	duration = cmp.Or(duration, shortRun)
	w.runPhases(t, duration, seed)
	w.grid.ClearFaults()
	w.awaitReads(t)
	w.revokeAll(t)
	end := w.awaitEnd(t, idle)

	w.print(t, idle, end)
	w.checkEnd(t, idle, end)
	w.checkMeasured(t)
	if duration >= longRun {
		w.checkFlat(t)
	}
	if path := os.Getenv("ECGRID_SOAK_CSV"); path != "" {
		if err := writeCSV(path, w.samples); err != nil {
			t.Error(err)
		}
	}
}

// runPhases runs load and disturbances, with failovers in the last third.
func (w *world) runPhases(t *testing.T, duration time.Duration, seed uint64) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for _, m := range w.mounts {
		for range workersPerMount {
			seed++
			all.Go(func() { w.runLoad(ctx, m, seed) })
		}
	}
	for _, d := range disturbances {
		seed++
		all.Go(func() { w.disturb(ctx, d, seed) })
	}
	w.sampleUntil(t, phaseFaults, duration*2/3, nil)
	for end := time.Now().Add(duration / 3); time.Now().Before(end); seed++ {
		w.sampleUntil(t, phaseFailovers, 0, w.failOver(ctx, seed, min(duration/24, 45*time.Second)))
	}
}

// sampleUntil measures again and again until the time is over and the work beside it is done.
func (w *world) sampleUntil(t *testing.T, phase string, d time.Duration, beside <-chan error) {
	t.Helper()
	w.enterPhase(phase)
	for end := time.Now().Add(d); time.Now().Before(end) || beside != nil; {
		s := w.measure(phase, len(w.samples)%storageEvery == 0)
		w.samples = append(w.samples, s)
		select {
		case err := <-beside:
			if err != nil {
				t.Fatal(err)
			}
			beside = nil
		case <-time.After(sampleEvery):
		}
	}
}

// failOver runs two failovers, one of Vault or of its seal and one of the plugin, with a
// pause for the engine to work after each.
func (w *world) failOver(ctx context.Context, seed uint64, gap time.Duration) <-chan error {
	r := rand.New(rand.NewPCG(seed, 3))
	done := make(chan error, 1)
	go func() {
		first := 2 * r.IntN(2)
		if w.counted(failovers[0].name) == 0 {
			first = 0
		}
		for _, f := range []failover{failovers[first], failovers[1+2*r.IntN(2)]} {
			if err := f.do(w.v); err != nil {
				done <- fmt.Errorf("%s: %w", f.name, err)
				return
			}
			w.count(f.name)
			pause(ctx, max(gap, time.Second))
		}
		done <- nil
	}()
	return done
}

// awaitReads waits until both mounts serve keys again.
func (w *world) awaitReads(t *testing.T) {
	t.Helper()
	for _, m := range w.mounts {
		w.await(t, recovery, m.path+": a key can be read", func() bool {
			return w.v.do(http.MethodGet, fmt.Sprintf("%s/keys/%d", m.path, m.users[0]), nil).OK()
		})
	}
}

func (w *world) await(t *testing.T, within time.Duration, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !met(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
	}
}

func (w *world) revokeAll(t *testing.T) {
	t.Helper()
	for _, m := range w.mounts {
		w.await(t, recovery, m.path+": all leases can be revoked", func() bool {
			return w.v.do(http.MethodPut, "sys/leases/revoke-prefix/"+m.path, fields{"sync": true}).OK()
		})
	}
}

// awaitIdle waits until no session is open, and measures.
func (w *world) awaitIdle(t *testing.T, within time.Duration) sample {
	t.Helper()
	var s sample
	w.await(t, within, "idle: no session open, one process", func() bool {
		if w.grid.OpenSessions() > 0 {
			return false
		}
		time.Sleep(300 * time.Millisecond) // the probe writes five times a second
		s = w.measure("idle", true)
		_, listed := s.figures[figStorage]
		return listed && s.figures[figGoroutines] > 0 && s.figures[figSessions] == 0
	})
	return s
}

// idleFigures are the same at the end as at the beginning, within their tolerances.
var idleFigures = []string{figGoroutines, figFiles, figThreads, figProcesses, figConnections}

// exceeds returns the figures that are higher at the end than at the beginning.
func exceeds(idle, end sample) (figures []string) {
	for _, figure := range idleFigures {
		if end.figures[figure] > tolerances[figure].limit(idle.figures[figure]) {
			figures = append(figures, figure)
		}
	}
	return figures
}

// awaitEnd is awaitIdle. It also waits for unused connections to be closed and, after a long
// run, for the records of leases that Vault lost when it was killed.
func (w *world) awaitEnd(t *testing.T, idle sample) (end sample) {
	t.Helper()
	for deadline := time.Now().Add(6 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		if end = w.awaitIdle(t, 5*time.Minute); len(exceeds(idle, end)) == 0 && len(w.leftovers(t)) == 0 {
			break
		}
	}
	return end
}

// checkMeasured fails the test if a figure was never measured.
func (w *world) checkMeasured(t *testing.T) {
	t.Helper()
	for _, phase := range []string{phaseFaults, phaseFailovers} {
		for _, c := range changes(w.samples, phase, 0) {
			if c.samples == 0 || c.most == 0 {
				t.Errorf("%s: %s was not measured", phase, c.figure)
			}
		}
	}
	for what, n := range w.counts {
		if strings.HasPrefix(what, "read ") && strings.HasSuffix(what, ": 500") {
			t.Errorf("%d times %s, without a failover", n, what)
		}
	}
	for _, f := range []string{failovers[0].name, "read keys: done", "read creds: done", "revoke: done"} {
		if w.counted(f) == 0 {
			t.Errorf("the run proves nothing: there was no %s", f)
		}
	}
}

// checkFlat compares the beginning of each phase with its end.
func (w *world) checkFlat(t *testing.T) {
	t.Helper()
	for _, phase := range []string{phaseFaults, phaseFailovers} {
		for _, c := range changes(w.samples, phase, w.warmUp(phase)) {
			if c.grows() {
				t.Errorf("%s grows:\n%s\n%s", c.figure, changeHeader, c)
			}
			if c.samples < 3 {
				t.Errorf("%s was measured %d times", c.figure, c.samples)
			}
		}
	}
}

var (
	// mayStay are the storage entries that an idle mount may have. A replacement that ECGrid
	// did not confirm is noted for a while, as are failed Logins.
	mayStay = regexp.MustCompile(`^(config|salt|logins|replace/\d+|roles/(plain|counted|scheduled)-\d+)$`)
	// lostLease is the record of a counted lease. If Vault is killed before it has stored the
	// lease, the record stays until 2 minutes after the end of the lease.
	lostLease = regexp.MustCompile(`^lease/`)
)

// leftovers describes what is in storage and should not be.
func (w *world) leftovers(t *testing.T) (found []string) {
	t.Helper()
	isShort := soakTime(t) < longRun
	for _, m := range w.mounts {
		names, err := w.v.list(m.storage)
		if err != nil {
			found = append(found, err.Error())
		}
		for _, name := range names {
			if mayStay.MatchString(name) || isShort && lostLease.MatchString(name) {
				continue
			}
			prefix, _, _ := strings.Cut(name, "/")
			found = append(found, m.path+": an entry of "+prefix)
		}
	}
	return found
}

// checkEnd compares the idle end with the idle beginning.
func (w *world) checkEnd(t *testing.T, idle, end sample) {
	t.Helper()
	for _, m := range w.mounts {
		if u, _ := w.grid.User(m.admin); u.LockedOut {
			t.Errorf("%s: the login is locked out", m.path)
		}
	}
	for _, entry := range w.leftovers(t) {
		t.Errorf("left in storage: %s", entry)
	}
	for _, figure := range exceeds(idle, end) {
		t.Errorf("%s: %v when idle at the end, %v at the beginning", figure, end.figures[figure], idle.figures[figure])
	}
	if n := end.figures[figLeases]; n > 0 {
		t.Errorf("%v leases are left", n)
	}
	if n := w.grid.State().BadRequests; n > 0 {
		t.Errorf("%d requests did not follow the WSDL or the REST documentation", n)
	}
}

// print prints the tables of a run.
func (w *world) print(t *testing.T, idle, end sample) {
	t.Helper()
	var out strings.Builder
	fmt.Fprintln(&out, changeHeader)
	for _, phase := range []string{phaseFaults, phaseFailovers} {
		for _, c := range changes(w.samples, phase, w.warmUp(phase)) {
			fmt.Fprintln(&out, c)
		}
	}
	fmt.Fprintf(&out, "\n%-36s %9s %9s\n", "idle", "beginning", "end")
	for _, figure := range allFigures {
		fmt.Fprintf(&out, "%-36s %9.1f %9.1f\n", figure, idle.figures[figure], end.figures[figure])
	}
	state := w.grid.State()
	fmt.Fprintf(&out, "\n%-52s %9d\n%-52s %9d\n%-52s %9d\n", "calls to ECGrid", w.grid.Count(""), "Logins refused", state.RefusedLogins, "most sessions open, both logins", state.MaxOpenSessions)
	fmt.Fprintf(&out, "%-52s %9d\n", "connections accepted by ECGrid", w.grid.Connections())
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		fmt.Fprintf(&out, "%-52s %9d\n", what, w.counts[what])
	}
	t.Logf("\n%s", out.String())
}

// warmUp is at most a quarter of a phase.
func (w *world) warmUp(phase string) time.Duration {
	var first, last time.Duration
	for _, s := range w.samples {
		if s.phase == phase {
			first, last = min(cmp.Or(first, s.at), s.at), s.at
		}
	}
	return min(maxWarmUp, (last-first)/4)
}
