// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"
)

const (
	shortMounts = 5
	longMounts  = 100
)

// TestMounts mounts the engine, uses it and unmounts it again and again, beside a mount that
// stays, since the process ends with the last one.
func TestMounts(t *testing.T) {
	programs.Need(t)
	parallelIfShort(t)
	times := shortMounts
	if soakTime(t) > 0 {
		times = longMounts
	}
	w := newWorld(t)
	w.prepare(t)
	w.awaitIdle(t, time.Minute)
	for range 3 { // warm-up
		w.mountAndUnmount(t)
	}
	before, all := w.awaitIdle(t, time.Minute), w.countStorage(t)
	for range times {
		w.mountAndUnmount(t)
		w.samples = append(w.samples, w.measure("mounts", false))
	}
	after := w.awaitEnd(t, before)

	t.Logf("%-28s %9s %9s   mounted and unmounted %d times", "", "before", "after", times)
	for _, figure := range allFigures {
		t.Logf("%-28s %9.1f %9.1f", figure, before.figures[figure], after.figures[figure])
		limit, ok := tolerances[figure]
		if ok && after.figures[figure] > limit.limit(before.figures[figure]) {
			t.Errorf("%s: %.1f before, %.1f after", figure, before.figures[figure], after.figures[figure])
		}
	}
	now := w.countStorage(t)
	t.Logf("%-28s %9d %9d", "entries of all engines", all, now)
	if now > all {
		t.Errorf("%d entries of unmounted engines are left in storage", now-all)
	}
	if n := w.grid.State().RefusedLogins; n > 0 {
		t.Errorf("%d Logins were refused", n)
	}
	w.checkLastUnmount(t)
}

// mountAndUnmount uses a mount with a session, a counted lease and a schedule.
func (w *world) mountAndUnmount(t *testing.T) {
	t.Helper()
	m := w.mounts[len(w.samples)%len(w.mounts)]
	const path = "short-lived"
	w.v.must(t, http.MethodPost, "sys/mounts/"+path, fields{"type": pluginName})
	w.v.must(t, http.MethodPost, path+"/config", w.config(m))
	w.v.must(t, http.MethodPost, path+"/roles/r", fields{"user_id": m.users[0], "rotate_on_revoke": true, "rotation_period": "1h"})
	w.v.must(t, http.MethodGet, path+"/creds/r", nil)
	w.v.must(t, http.MethodGet, fmt.Sprintf("%s/keys/%d", path, m.users[1]), nil)
	w.v.must(t, http.MethodDelete, "sys/mounts/"+path, nil)
	if n := w.grid.OpenSessions(); n > 0 {
		w.await(t, 10*time.Second, "no session is open after unmount", func() bool { return w.grid.OpenSessions() == 0 })
	}
}

// countStorage counts the entries of all engines in Vault's storage, unmounted ones too.
func (w *world) countStorage(t *testing.T) int {
	t.Helper()
	names, err := w.v.list("logical/")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// checkLastUnmount unmounts all that is left. Then no process, session or lease is left.
func (w *world) checkLastUnmount(t *testing.T) {
	t.Helper()
	for _, m := range w.mounts {
		w.v.must(t, http.MethodDelete, "sys/mounts/"+m.path, nil)
	}
	w.await(t, 30*time.Second, "the plugin process has ended", func() bool { return len(w.v.Process().Plugins()) == 0 })
	w.mounts = nil
	if n := w.grid.OpenSessions(); n > 0 {
		t.Errorf("%d sessions are open after the last unmount", n)
	}
	probes, err := filepath.Glob(filepath.Join(programs.Plugin.Dir, "*.probe"))
	if err != nil || len(probes) == 0 {
		t.Errorf("the probe has written nothing: %v", err)
	}
}
