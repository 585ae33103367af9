// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The figures that are measured. MB are 2^20 bytes.
const (
	figRSS         = "plugin RSS, MB"
	figHeap        = "plugin live heap, MB"
	figGoroutines  = "plugin goroutines"
	figThreads     = "plugin threads"
	figFiles       = "plugin open files"
	figConnections = "connections to ECGrid"
	figProcesses   = "plugin processes"
	figSessions    = "sessions open at ECGrid"
	figStorage     = "storage entries"
	figLeases      = "leases"
	figVaultRSS    = "Vault RSS, MB"
)

// allFigures is their order in tables and files.
var allFigures = []string{
	figRSS, figHeap, figGoroutines, figThreads, figFiles, figConnections, figProcesses, figSessions, figStorage, figLeases, figVaultRSS,
}

// sample is what was measured at one time. A figure that could not be measured is absent:
// no process runs during a failover.
type sample struct {
	at      time.Duration // since the start
	phase   string
	figures map[string]float64
}

const mb = 1 << 20

// measureProcess measures a plugin process from outside.
func measureProcess(binary string, pid int, port string) (map[string]float64, error) {
	status, err1 := procStatus(pid)
	files, err2 := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	runtime, err3 := os.ReadFile(fmt.Sprintf("%s.%d.probe", binary, pid))
	connections, err4 := connectionsTo(pid, files, port)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	var goroutines, heap float64
	if _, err := fmt.Sscan(string(runtime), &goroutines, &heap); err != nil {
		return nil, err
	}
	return map[string]float64{
		figRSS: status["VmRSS"] / 1024, figThreads: status["Threads"], figFiles: float64(len(files)),
		figGoroutines: goroutines, figHeap: heap / mb, figConnections: float64(connections),
	}, nil
}

// procStatus reads the numbers of /proc/<pid>/status. Sizes are in kB.
func procStatus(pid int) (map[string]float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil, err
	}
	numbers := map[string]float64{}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(line, ":")
		if f := strings.Fields(value); len(f) > 0 {
			if n, err := strconv.ParseFloat(f[0], 64); err == nil {
				numbers[name] = n
			}
		}
	}
	if numbers["VmRSS"] == 0 {
		return nil, fmt.Errorf("process %d has ended", pid)
	}
	return numbers, nil
}

// connectionsTo counts the process's TCP connections to a port, in any state but closed.
func connectionsTo(pid int, files []os.DirEntry, port string) (int, error) {
	own := map[string]bool{}
	for _, f := range files {
		link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name()))
		if inode, ok := strings.CutPrefix(link, "socket:["); err == nil && ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return 0, err
	}
	suffix := fmt.Sprintf(":%04X", number)
	n := 0
	for _, table := range []string{"tcp", "tcp6"} {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for line := range bytes.Lines(raw) {
			// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode …
			if f := strings.Fields(string(line)); len(f) > 9 && strings.HasSuffix(f[2], suffix) && own[f[9]] {
				n++
			}
		}
	}
	return n, nil
}

// parentOf returns the PID of Vault, for a plugin process.
func parentOf(pid int) (int, error) {
	status, err := procStatus(pid)
	return int(status["PPid"]), err
}

// measure measures everything. Storage is slow to list, so that is optional.
func (w *world) measure(phase string, withStorage bool) sample {
	s := sample{at: time.Since(w.began), phase: phase, figures: map[string]float64{}}
	pids := w.v.Process().Plugins()
	s.figures[figProcesses] = float64(len(pids))
	if len(pids) == 1 {
		_, port, _ := net.SplitHostPort(w.grid.Addr)
		process, err := measureProcess(filepath.Join(programs.Plugin.Dir, pluginName), pids[0], port)
		parent, err2 := parentOf(pids[0])
		vault, err3 := procStatus(parent)
		if errors.Join(err, err2, err3) == nil {
			for name, value := range process {
				s.figures[name] = value
			}
			s.figures[figVaultRSS] = vault["VmRSS"] / 1024
		}
	}
	s.figures[figSessions] = float64(w.grid.OpenSessions())
	if withStorage {
		w.measureStorage(s.figures)
	}
	return s
}

// measureStorage counts the engine's entries of all mounts, and Vault's leases of them.
func (w *world) measureStorage(figures map[string]float64) {
	entries, leases := 0, 0
	for _, m := range w.mounts {
		own, err1 := w.v.list(m.storage)
		of, err2 := w.v.list("sys/expire/id/" + m.path + "/")
		if errors.Join(err1, err2) != nil {
			return // Vault is not up
		}
		entries, leases = entries+len(own), leases+len(of)
	}
	figures[figStorage], figures[figLeases] = float64(entries), float64(leases)
}
