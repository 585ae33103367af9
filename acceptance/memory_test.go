// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

const mb = 1 << 20

// TestMemory measures the plugin's process.
func TestMemory(t *testing.T) {
	t.Parallel()
	needVault(t)
	if _, err := memory(os.Getpid(), "VmRSS"); err != nil {
		t.Skip("needs Linux's /proc/<pid>/status to measure another process:", err)
	}
	v := ownVault(t, inmem)
	m := configuredMount(t, v, nil)
	for range 50 {
		m.readKey(t, simulator.UserID5001)
	}
	pid := v.pluginPID(t)
	idle := mustMeasure(t, pid, "VmRSS")
	t.Logf("idle: %.1f MB", float64(idle)/mb)
	if idle > 40*mb {
		t.Errorf("the idle plugin takes %d MB, want at most 40", idle/mb)
	}

	// If the kernel allows a reset of the peak, compare the peak.
	measure := "VmRSS"
	if os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) == nil {
		measure = "VmHWM"
	}
	before := mustMeasure(t, pid, "VmRSS")
	clear := m.Inject(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHuge, Bytes: 50 * mb})
	for range 5 {
		m.wantStatus(t, http.StatusBadGateway, http.MethodGet, m.at("keys/5001"), nil)
	}
	clear()
	after := mustMeasure(t, pid, measure)
	t.Logf("answers of 50 MB: %.1f MB, then %s %.1f MB", float64(before)/mb, measure, float64(after)/mb)
	if grown := after - before; grown > 5*mb {
		t.Errorf("an answer of 50 MB grew %s by %d MB, want at most 5", measure, grown/mb)
	}
	m.awaitRead(t)
}

func mustMeasure(t *testing.T, pid int, name string) int64 {
	t.Helper()
	n, err := memory(pid, name)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// memory reads a figure of /proc/<pid>/status, in bytes.
func memory(pid int, name string) (int64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no %s in /proc/%d/status", name, pid)
}
