// SPDX-License-Identifier: MPL-2.0

package report

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
)

// ThisMachine describes this machine. The caller adds Vault and Commit.
func ThisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	m.CPU = readField("/proc/cpuinfo", "model name")
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(readField("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.Memory = math.Round(kb / (1 << 20))
	}
	if kernel, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.System += ", kernel " + strings.TrimSpace(string(kernel))
	}
	if load, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(load), " ")
	}
	return m
}

// readField returns the value of the first line "name: value" of a file, or "".
func readField(path, name string) string {
	raw, _ := os.ReadFile(path)
	for line := range strings.Lines(string(raw)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func (m Machine) String() string {
	return fmt.Sprintf("%d × %s, %.0f GB, %s; %s, Vault %s, plugin %s; load average before the run %s",
		m.CPUs, m.CPU, m.Memory, m.System, m.Go, m.Vault, m.Commit, m.Load)
}
