// SPDX-License-Identifier: MPL-2.0

package proc

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if runtime.GOOS != "linux" {
		fmt.Println("skipped: needs /proc")
		return
	}
	if len(os.Args) == 2 && os.Args[1] == "start-and-hang" {
		g, err := Start(exec.Command("sleep", "60"))
		fmt.Println(g.PID, err)
		select {}
	}
	os.Exit(m.Run())
}

func TestParseStat(t *testing.T) {
	const rest = " 17 4211 4211 0 -1 4194560 3010 0 1 0 250 75 0 0 20 0 9 0 1 1 1\n"
	for line, want := range map[string]stat{
		"4242 (vault) S" + rest:        {parent: 17, cpu: 3250 * time.Millisecond},
		"4242 (a ) S 9 (b) ) Z" + rest: {parent: 17, zombie: true, cpu: 3250 * time.Millisecond},
	} {
		if got, err := parseStat([]byte(line)); err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", line, got, err, want)
		}
	}
	for _, bad := range []string{"", "4242 (vault) S 17", "4242 (vault) S x 1 1 0 -1 1 1 0 1 0 250 75 0"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseMemory(t *testing.T) {
	const status = "Name:\tvault\nVmHWM:\t   51200 kB\nVmRSS:\t   20480 kB\nVmBad:\t 3\nThreads:\t9\n"
	for name, want := range map[string]int64{"VmRSS": 20 << 20, "VmHWM": 50 << 20} {
		if got, err := parseMemory([]byte(status), name); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"VmSwap", "VmBad", "Name"} {
		if _, err := parseMemory([]byte(status), name); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestMeasureThisProcess(t *testing.T) {
	rss, peak, err := Memory(os.Getpid())
	if err != nil || rss < 1<<20 || peak < rss/2 {
		t.Errorf("memory %d, peak %d, %v", rss, peak, err)
	}
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); time.Since(began) < 60*time.Millisecond; { // busy
	}
	if after, err := CPU(os.Getpid()); err != nil || after <= before {
		t.Errorf("60 ms of work: CPU went from %s to %s, %v", before, after, err)
	}
}

func startWorker(t *testing.T, name string, args ...string) (w *Worker, out *bufio.Reader) {
	t.Helper()
	w, err := StartWorker(exec.Command(name, args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return w, bufio.NewReader(w.Out)
}

func TestChild(t *testing.T) {
	w, out := startWorker(t, "cat")
	if _, err := w.In.Write([]byte("line\n")); err != nil {
		t.Fatal(err)
	}
	if line, err := out.ReadString('\n'); line != "line\n" {
		t.Errorf("cat answers %q, %v", line, err)
	}
	if pid, err := Child(os.Getpid(), "cat"); err != nil || pid != w.PID {
		t.Errorf("found %d, %v, want %d", pid, err, w.PID)
	}
	if _, err := Child(os.Getpid(), "no-such-program"); err == nil {
		t.Error("found a process that does not exist")
	}
}

// Stop ends the whole group, and may be called twice.
func TestStop(t *testing.T) {
	w, out := startWorker(t, "sh", "-c", "sleep 60 & echo $!; exec sleep 60")
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if member(w.PID) == 0 {
		t.Fatal("no process is running")
	}
	w.Stop()
	w.Stop()
	if pid := member(w.PID); pid != 0 {
		t.Errorf("process %d of the group is still running", pid)
	}
}

// A group ends with the process that started it, even if that is killed.
func TestGuard(t *testing.T) {
	w, out := startWorker(t, os.Args[0], "start-and-hang")
	line, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	group, err := strconv.Atoi(strings.Fields(line)[0])
	if err != nil || member(group) == 0 {
		t.Fatalf("%s: %v, or not running", line, err)
	}
	if err := syscall.Kill(w.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); member(group) != 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			_ = syscall.Kill(-group, syscall.SIGKILL)
			t.Fatal("the group is still running")
		}
	}
}

// member returns a process of the group, or 0. Zombies do not count, because in some
// containers nothing reaps them.
func member(group int) int {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range paths {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		s, err := readStat(pid)
		if id, _ := syscall.Getpgid(pid); err == nil && id == group && !s.zombie {
			return pid
		}
	}
	return 0
}
