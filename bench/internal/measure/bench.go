// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"regexp"
	"strconv"
	"time"

	"vault-plugin-ecgrid/bench/internal/allocs"
	"vault-plugin-ecgrid/bench/internal/load"
	"vault-plugin-ecgrid/bench/internal/proc"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// Bench is one run. The caller starts and stops its processes.
type Bench struct {
	Plan     Plan
	Tools    *testbed.Tools
	Upstream *upstream.Upstream
	Load     *load.Generator
	Root     string // the repository
	Random   *rand.Rand
	// SelectContender reports whether a contender is measured in cells.
	SelectContender func(name string) bool
	Logf            func(format string, a ...any)
	Result          *report.Result
}

// Parts are the parts of a run, in order. The names are values of the -parts flag.
var Parts = []struct {
	Name string
	run  func(*Bench, context.Context) error
}{
	{"sizes", (*Bench).sizes},
	{"first", (*Bench).firstReads},
	{"allocs", (*Bench).allocs},
	{"cells", (*Bench).cells},
	{"herd", (*Bench).herds},
	{"storm", (*Bench).storms},
	{"growth", (*Bench).growth},
	{"list", (*Bench).list},
}

// Run measures the selected parts.
func (b *Bench) Run(ctx context.Context, selected func(part string) bool) error {
	for _, c := range testbed.Contenders {
		if b.Tools.Has(c) {
			b.Result.Contenders = append(b.Result.Contenders, report.Contender{Name: c.Name, About: c.About})
		}
	}
	for _, part := range Parts {
		if !selected(part.Name) {
			continue
		}
		if err := part.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", part.Name, err)
		}
	}
	return nil
}

// mounted is a contender in a running Vault.
type mounted struct {
	testbed.Contender
	logins int // that the mount has made
}

// withVault starts a Vault, mounts the contenders for this many users, calls do, and
// stops the Vault. The latency of the upstream is 0 at first.
func (b *Bench) withVault(ctx context.Context, storage string, contenders []testbed.Contender, users int, do func(*testbed.Vault, []mounted) error) error {
	if err := b.Upstream.SetLatency(ctx, 0); err != nil {
		return err
	}
	v, err := b.Tools.Start(ctx, storage)
	if err != nil {
		return err
	}
	defer v.Stop()
	var all []mounted
	for _, c := range contenders {
		var refused string
		calls, err := b.Upstream.During(ctx, func() (err error) {
			refused, err = v.Mount(ctx, c, b.Upstream.Access, users)
			return err
		})
		switch {
		case err != nil:
			return err
		case refused != "":
			b.recordMissing(c, refused)
		default:
			all = append(all, mounted{c, calls.Calls[upstream.Login]})
		}
	}
	return do(v, all)
}

func (b *Bench) recordMissing(c testbed.Contender, why string) {
	for i := range b.Result.Contenders {
		if r := &b.Result.Contenders[i]; r.Name == c.Name && r.Missing == "" {
			r.Missing = why
			b.Logf("%s is left out: %s", c.Name, why)
		}
	}
}

// find returns the contenders with these names.
func find(names ...string) []testbed.Contender {
	var all []testbed.Contender
	for _, name := range names {
		all = append(all, testbed.MustFind(name))
	}
	return all
}

// usage is what Vault, the plugin and the upstream did during a load.
type usage struct {
	vaultCPU, pluginCPU time.Duration
	rss, peak           int64 // of the plugin
	upstream            upstream.State
}

// observe returns the usage while do runs. For a contender that has no plugin or is not
// in Vault, the figures of that are 0.
func (b *Bench) observe(ctx context.Context, v *testbed.Vault, c testbed.Contender, do func() error) (u usage, err error) {
	pid, err := v.PID(c)
	if err != nil {
		return u, err
	}
	if pid > 0 {
		_ = proc.ResetPeak(pid) // if it is refused, the peak includes earlier rounds
	}
	u.upstream, err = b.Upstream.During(ctx, func() error {
		vaultCPU, pluginCPU := cpu(v.Group.PID), cpu(pid)
		err := do()
		if c.InVault() {
			u.vaultCPU, u.pluginCPU = cpu(v.Group.PID)-vaultCPU, cpu(pid)-pluginCPU
		}
		return err
	})
	if err == nil && pid > 0 {
		u.rss, u.peak, err = proc.Memory(pid)
	}
	return u, err
}

// cpu returns the CPU time of a process, or 0 for no process.
func cpu(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	used, _ := proc.CPU(pid) // if it has crashed, its reads fail
	return used
}

// load does a job and returns its usage.
func (b *Bench) load(ctx context.Context, v *testbed.Vault, c testbed.Contender, job load.Job) (r load.Result, u usage, err error) {
	u, err = b.observe(ctx, v, c, func() (err error) {
		r, err = b.Load.Run(ctx, job)
		return err
	})
	if r.Errors > 0 {
		b.Logf("%s: %d errors, the first: %s", c.Name, r.Errors, r.FirstError)
	}
	return r, u, err
}

func (b *Bench) sizes(context.Context) error {
	for _, program := range []string{testbed.Plugin, testbed.Noop} {
		b.Result.Binaries = append(b.Result.Binaries, report.Binary{Program: program, Bytes: b.Tools.Size(program)})
	}
	return nil
}

func (b *Bench) allocs(ctx context.Context) error {
	b.Logf("allocations of a read")
	if err := b.Upstream.SetLatency(ctx, 0); err != nil {
		return err
	}
	var err error
	if b.Result.Allocs, err = allocs.Count(b.Upstream.Access, b.Plan.AllocReads); err != nil || !b.Plan.RootBenchmark {
		return err
	}
	b.Result.RootAllocs, err = b.rootAllocs(ctx)
	return err
}

var allocsPerOp = regexp.MustCompile(`BenchmarkReadKey/asked\S*\s.*\s(\d+) allocs/op`)

// rootAllocs runs the benchmark of a read in the root package.
func (b *Bench) rootAllocs(ctx context.Context) (float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkReadKey$/^asked$", "-benchmem", "-benchtime", "3000x", ".")
	cmd.Dir = b.Root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("BenchmarkReadKey: %w\n%s", err, out)
	}
	found := allocsPerOp.FindSubmatch(out)
	if found == nil {
		return 0, fmt.Errorf("BenchmarkReadKey did not print allocs/op:\n%s", out)
	}
	return strconv.ParseFloat(string(found[1]), 64)
}

func inMS(d time.Duration) float64 { return report.Round(float64(d) / float64(time.Millisecond)) }

// perRead returns the milliseconds of each read.
func perRead(d time.Duration, reads int) float64 { return inMS(d / time.Duration(max(reads, 1))) }
