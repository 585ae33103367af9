// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Process is a program that runs beside the tests. A nil Process does not run.
type Process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start runs cmd and appends its output to a log file.
func Start(cmd *exec.Cmd, logFile string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	release, err := killWithTests(cmd.Process.Pid)
	if err != nil {
		_ = cmd.Process.Kill()
		return nil, err
	}
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the log says how it ended
		release()
		close(p.exited)
	}()
	return p, nil
}

// killWithTests kills a process if this one dies first, by a timeout of go test for
// instance: the pipe to the shell then closes.
func killWithTests(pid int) (release func(), err error) {
	sh := exec.Command("sh", "-c", `read -r _; kill -KILL "$1"`, "guard", fmt.Sprint(pid))
	pipe, err := sh.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := sh.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = sh.Process.Kill() // before the pipe is closed
		_ = sh.Wait()
		_ = pipe.Close()
	}, nil
}

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// ExitCode is for a process that has ended.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Kill sends SIGKILL and waits for the end. It may be called again.
func (p *Process) Kill() {
	if p.Running() {
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// Stop sends SIGTERM, and SIGKILL after 20 seconds. It may be called again.
func (p *Process) Stop() {
	if !p.Running() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(20 * time.Second):
		p.Kill()
	}
}

// Plugins returns the PIDs of the plugin processes that a Vault server has started.
func (p *Process) Plugins() []int {
	var pids []int
	for _, c := range processes() {
		if c.parent == p.cmd.Process.Pid && strings.Contains(c.command, PluginName) {
			pids = append(pids, c.pid)
		}
	}
	return pids
}

// Alive reports whether a process runs.
func Alive(pid int) bool {
	for _, p := range processes() {
		if p.pid == pid {
			return true
		}
	}
	return false
}

// Signal ignores a process that has ended.
func Signal(pid int, s syscall.Signal) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Signal(s)
	}
}

type processInfo struct {
	pid, parent int
	command     string
}

// processes reads /proc if there is one, since ps is not always installed.
func processes() []processInfo {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 {
		return psProcesses()
	}
	var all []processInfo
	for _, stat := range stats {
		raw, err := os.ReadFile(stat)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid …"; the name may contain anything
		after := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(stat), "cmdline"))
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(stat)))
		parent, _ := strconv.Atoi(after[1])
		if after[0] != "Z" { // not a zombie
			all = append(all, processInfo{pid, parent, string(command)})
		}
	}
	return all
}

func psProcesses() []processInfo {
	out, err := exec.Command("ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "args=").Output()
	if err != nil {
		panic(err)
	}
	var all []processInfo
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) >= 3 {
			pid, _ := strconv.Atoi(f[0])
			parent, _ := strconv.Atoi(f[1])
			all = append(all, processInfo{pid, parent, strings.Join(f[2:], " ")})
		}
	}
	return all
}
