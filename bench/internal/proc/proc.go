// SPDX-License-Identifier: MPL-2.0

// Package proc starts, measures and stops other processes. It needs Linux's /proc.
package proc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc/<pid>/stat. USER_HZ is 100 on every Linux that
// Go supports.
const tick = 10 * time.Millisecond

// stat is a part of /proc/<pid>/stat.
type stat struct {
	parent int
	zombie bool
	cpu    time.Duration // user and system, all threads
}

// parseStat parses "pid (name) state ppid …". The name may contain anything.
func parseStat(raw []byte) (stat, error) {
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(fields) < 13 {
		return stat{}, errors.New("not a line of /proc/<pid>/stat")
	}
	parent, err1 := strconv.Atoi(fields[1])
	user, err2 := strconv.ParseInt(fields[11], 10, 64)
	system, err3 := strconv.ParseInt(fields[12], 10, 64)
	return stat{parent, fields[0] == "Z", time.Duration(user+system) * tick}, errors.Join(err1, err2, err3)
}

// parseMemory returns a figure of /proc/<pid>/status in bytes.
func parseMemory(raw []byte, name string) (int64, error) {
	for line := range strings.Lines(string(raw)) {
		value, ok := strings.CutPrefix(line, name+":")
		if !ok {
			continue
		}
		number, isKB := strings.CutSuffix(strings.TrimSpace(value), " kB")
		if !isKB {
			return 0, fmt.Errorf("%s is not in kB", name)
		}
		kb, err := strconv.ParseInt(number, 10, 64)
		return kb << 10, err
	}
	return 0, fmt.Errorf("%s is missing", name)
}

func procFile(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

func readStat(pid int) (stat, error) {
	raw, err := os.ReadFile(procFile(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(raw)
}

// CPU returns the CPU time that a process has used.
func CPU(pid int) (time.Duration, error) {
	s, err := readStat(pid)
	return s.cpu, err
}

// Memory returns the resident memory of a process in bytes, and its peak since
// ResetPeak.
func Memory(pid int) (rss, peak int64, err error) {
	raw, err := os.ReadFile(procFile(pid, "status"))
	if err != nil {
		return 0, 0, err
	}
	rss, err1 := parseMemory(raw, "VmRSS")
	peak, err2 := parseMemory(raw, "VmHWM")
	return rss, peak, errors.Join(err1, err2)
}

// ResetPeak starts the peak of Memory again. Some kernels and containers refuse it. Then
// the peak is the one since the process started.
func ResetPeak(pid int) error { return os.WriteFile(procFile(pid, "clear_refs"), []byte("5"), 0) }

// Child returns the oldest child of a process that runs a program with this file name.
// Vault also starts short-lived ones.
func Child(parent int, program string) (int, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	oldest := 0
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		s, err := readStat(pid) // fails if the process has ended
		if err == nil && s.parent == parent && !s.zombie && programName(pid) == program && (oldest == 0 || pid < oldest) {
			oldest = pid
		}
	}
	if oldest == 0 {
		return 0, fmt.Errorf("process %d has no child %q", parent, program)
	}
	return oldest, nil
}

// programName returns the file name of the program that a process runs, or "".
func programName(pid int) string {
	raw, err := os.ReadFile(procFile(pid, "cmdline"))
	if err != nil {
		return ""
	}
	path, _, _ := bytes.Cut(raw, []byte{0})
	return filepath.Base(string(path))
}
