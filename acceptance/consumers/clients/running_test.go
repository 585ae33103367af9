// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	interval = 300 * time.Millisecond
	callers  = 3
	patience = 40 * time.Second
)

// running is a program that runs and makes calls.
type running struct {
	program
	id      string // such as java-api
	home    string
	keyFile string // "" if it reads the key from Vault itself
	process *vaulttest.Process
}

// start starts a program that trusts a CA.
func (p program) start(t testing.TB, id, caFile string, env ...string) *running {
	t.Helper()
	r := &running{program: p, id: id, home: t.TempDir()}
	options, trust, err := p.trust(r.home, caFile)
	consumertest.Must(t, err)
	command := slices.Insert(slices.Clone(p.command), 1, options...)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(vaulttest.Environment(r.home),
		"INTERVAL="+strconv.FormatFloat(interval.Seconds(), 'f', -1, 64), "CALLERS="+strconv.Itoa(callers))
	cmd.Env = append(append(cmd.Env, trust...), env...)
	r.process, err = vaulttest.Start(cmd, r.log())
	consumertest.Must(t, err)
	t.Cleanup(r.process.Kill)
	return r
}

func (r *running) log() string { return filepath.Join(r.home, r.id+".log") }

// lines returns the complete lines that the program has printed, without the first ones.
func (r *running) lines(t testing.TB, without int) []string {
	t.Helper()
	raw, err := os.ReadFile(r.log())
	consumertest.Must(t, err)
	lines := strings.SplitAfter(string(raw), "\n")
	lines = lines[:len(lines)-1] // "" or a part of a line
	if len(lines) < without {
		t.Fatalf("%s: the output has become shorter", r.id)
	}
	return lines[without:]
}

// await waits until the lines after the first ones satisfy a condition, and returns them.
func (r *running) await(t testing.TB, what string, without int, enough func(lines []string) bool) []string {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if lines := r.lines(t, without); enough(lines) {
			return lines
		}
		if !r.process.Running() {
			t.Fatalf("%s has ended with %d:\n%s", r.id, r.process.ExitCode(), r.lines(t, 0))
		}
	}
	lines := r.lines(t, without)
	t.Fatalf("%s: %s: not within %v: %d lines, and the last are:\n%s", r.id, what, patience, len(lines), lines[max(0, len(lines)-5):])
	return nil
}

func failed(line string) bool    { return strings.HasPrefix(line, "error: ") }
func succeeded(line string) bool { return strings.HasPrefix(line, "ok ") }

// count is for the conditions of await.
func count(lines []string, matches func(string) bool) (n int) {
	for _, line := range lines {
		if matches(line) {
			n++
		}
	}
	return n
}

func says(text string) func(string) bool {
	return func(line string) bool { return failed(line) && strings.Contains(line, text) }
}

// rounds is for await: so many times all callers.
func rounds(n int, matches func(string) bool) func([]string) bool {
	return func(lines []string) bool { return count(lines, matches) >= n*callers }
}

// replace writes a file as Vault Agent does, so that nobody reads a part of it.
func replace(t testing.TB, file, content string) {
	t.Helper()
	consumertest.Must(t, os.WriteFile(file+".new", []byte(content), 0o600))
	consumertest.Must(t, os.Rename(file+".new", file))
}
