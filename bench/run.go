// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"vault-plugin-ecgrid/bench/internal/load"
	"vault-plugin-ecgrid/bench/internal/measure"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// run measures, or reads the result of an earlier run. Then it prints the tables and
// writes the files.
func run(ctx context.Context, o options, out, log io.Writer) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	result, err := o.result(ctx, log)
	if err != nil {
		return err
	}
	plots, err := result.Plot(o.out)
	if err != nil {
		return err
	}
	fragment := result.Markdown(plots)
	if err := os.WriteFile(filepath.Join(o.out, "results.md"), []byte(fragment), 0o644); err != nil {
		return err
	}
	if o.doc != "" {
		if err := report.PutInto(o.doc, fragment); err != nil {
			return err
		}
	}
	fmt.Fprint(out, result.Table())
	fmt.Fprintf(out, "\nWrote results.md and %d plots to %s\n", len(plots), o.out)
	return nil
}

func (o options) result(ctx context.Context, log io.Writer) (*report.Result, error) {
	if o.from != "" {
		return report.Read(o.from)
	}
	r, err := o.measure(ctx, log)
	if err != nil {
		return nil, err
	}
	return r, r.Write(filepath.Join(o.out, "results.json"))
}

// measure starts the child processes, measures, and stops them again.
func (o options) measure(ctx context.Context, log io.Writer) (*report.Result, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("the benchmark needs Linux, because it reads /proc")
	}
	if o.vault == "" {
		return nil, errors.New("no vault binary: use `make bench`, or set -vault or VAULT_BIN")
	}
	start := time.Now()
	logf := func(format string, a ...any) {
		fmt.Fprintf(log, "%7.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, a...))
	}
	logf("%s plan, seed %d", o.plan.Name, o.seed)
	machine := report.ThisMachine() // first, since it includes the load average
	tools, err := testbed.Prepare(ctx, testbed.Options{Root: o.root, Vault: o.vault, Plugin: o.plugin, Other: o.other})
	if err != nil {
		return nil, err
	}
	defer tools.Close()
	machine.Vault, machine.Commit = tools.VaultVersion, tools.Commit

	// These two do not end with ctx, because Vault still needs them while it stops.
	ecgrid, err := upstream.Start(child(upstreamProcess, strconv.Itoa(o.plan.Users)))
	if err != nil {
		return nil, err
	}
	defer ecgrid.Stop()
	generator, err := load.Start(child(loadProcess))
	if err != nil {
		return nil, err
	}
	defer generator.Stop()

	b := &measure.Bench{
		Plan: o.plan, Tools: tools, Root: o.root, Upstream: ecgrid, Load: generator,
		SelectContender: selector(o.contenders),
		Random:          rand.New(rand.NewPCG(o.seed, 0)),
		Logf:            logf,
		Result: &report.Result{
			Plan: o.plan.Name, Command: o.command, Date: start.UTC().Format(time.DateOnly), Seed: o.seed, Machine: machine,
		},
	}
	err = b.Run(ctx, selector(o.parts))
	b.Result.Took = time.Since(start).Seconds()
	return b.Result, err
}

// child returns the command of a child process, which runs this binary.
func child(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stderr = os.Stderr
	return cmd
}
