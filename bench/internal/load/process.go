// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"vault-plugin-ecgrid/bench/internal/proc"
)

// Serve is the generator's process. It reads jobs from in, one at a time, and writes
// their results to out. A null stops the running job.
func Serve(in io.Reader, out io.Writer) error {
	jobs, results := json.NewDecoder(in), json.NewEncoder(out)
	stop := func() {}
	for {
		var j *Job
		err := jobs.Decode(&j)
		if err != nil || j == nil {
			stop()
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case j == nil:
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		stop = cancel
		go func() {
			defer cancel()
			_ = results.Encode(Run(ctx, *j)) // fails only if the bench has ended
		}()
	}
}

// Generator is a load generator in a process of its own. It does one job at a time.
type Generator struct {
	worker  *proc.Worker
	jobs    *json.Encoder
	results *json.Decoder
}

// Start starts a generator. The command must call Serve.
func Start(cmd *exec.Cmd) (*Generator, error) {
	w, err := proc.StartWorker(cmd)
	if err != nil {
		return nil, err
	}
	return &Generator{worker: w, jobs: json.NewEncoder(w.In), results: json.NewDecoder(w.Out)}, nil
}

// Run does a job. It stops early if ctx ends.
func (g *Generator) Run(ctx context.Context, j Job) (Result, error) {
	if err := g.Begin(j); err != nil {
		return Result{}, err
	}
	defer context.AfterFunc(ctx, func() { _ = g.stopJob() })()
	r, err := g.result()
	return r, errors.Join(err, ctx.Err())
}

// Begin starts a job. Call End to stop it.
func (g *Generator) Begin(j Job) error { return g.jobs.Encode(&j) }

// End stops the job that Begin started.
func (g *Generator) End() (Result, error) {
	if err := g.stopJob(); err != nil {
		return Result{}, err
	}
	return g.result()
}

func (g *Generator) stopJob() error { return g.jobs.Encode(nil) }

func (g *Generator) result() (r Result, err error) {
	if err = g.results.Decode(&r); err != nil {
		err = fmt.Errorf("the load generator has ended: %w", err)
	}
	return r, err
}

// Stop ends the process.
func (g *Generator) Stop() { g.worker.Stop() }
