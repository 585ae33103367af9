package acceptance

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

type process struct {
	pid, parent int
	command     string
}

// processes come from /proc where there is one, since ps is not always installed.
func processes() []process {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		return psProcesses()
	}
	var all []process
	for _, stat := range stats {
		raw, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid …", and the name may hold anything
		after := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		parent, _ := strconv.Atoi(after[1])
		if after[0] != "Z" {
			all = append(all, process{pid, parent, string(command)})
		}
	}
	return all
}

func psProcesses() []process {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "args=").Output()
	if err != nil {
		panic(err)
	}
	var all []process
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 {
			pid, _ := strconv.Atoi(f[0])
			parent, _ := strconv.Atoi(f[1])
			all = append(all, process{pid, parent, strings.Join(f[2:], " ")})
		}
	}
	return all
}

// plugins are the pids of a Vault's plugin processes.
func (v *vault) plugins() []int {
	var pids []int
	for _, p := range processes() {
		if p.parent == v.pid() && strings.Contains(p.command, pluginName) {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

// plugin is the pid of the one that serves the mounts; that of a registration
// ends by itself.
func (v *vault) plugin(t *testing.T) int {
	t.Helper()
	var pids []int
	eventually(t, 10*time.Second, "one plugin process", func() bool {
		pids = v.plugins()
		return len(pids) == 1
	})
	return pids[0]
}

func alive(pid int) bool {
	for _, p := range processes() {
		if p.pid == pid {
			return true
		}
	}
	return false
}

func signal(pid int, s syscall.Signal) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Signal(s) // it may have ended
	}
}
