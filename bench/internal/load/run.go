// SPDX-License-Identifier: MPL-2.0

package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"vault-plugin-ecgrid/bench/internal/stat"
)

// Run does a job in this process. If ctx ends, it waits for the answers to the requests
// that were sent.
func Run(ctx context.Context, j Job) Result {
	r := &run{Job: j, template: j.template(), ctx: ctx, start: make(chan struct{})}
	workers := make([]*worker, j.Workers)
	var done sync.WaitGroup
	for i := range workers {
		workers[i] = &worker{run: r, number: i}
		r.warm.Add(1)
		done.Go(workers[i].work)
	}
	r.warm.Wait()
	r.started = time.Now()
	close(r.start)
	done.Wait()
	return r.summarize(workers)
}

type run struct {
	Job
	template template
	ctx      context.Context
	warm     sync.WaitGroup // done when all workers are warm
	start    chan struct{}  // closed then
	started  time.Time
}

// isOver reports whether a worker that has sent n requests is done.
func (r *run) isOver(n int) bool {
	switch {
	case r.ctx.Err() != nil:
		return true
	case r.PerWorker > 0:
		return n >= r.PerWorker
	case r.Duration > 0:
		return time.Since(r.started) >= r.Duration
	}
	return false
}

type worker struct {
	*run
	number     int
	conn       *conn
	sent       int // with the warm-up
	warmUps    int
	times      []time.Duration
	lastAnswer time.Time
	errors     int
	firstError error
}

func (w *worker) work() {
	for range w.WarmUp {
		if w.ctx.Err() == nil && w.read() == nil {
			w.warmUps++
		}
	}
	if w.conn == nil { // there was no warm-up
		w.conn, _ = dial(w.Addr)
	}
	w.warm.Done()
	<-w.start
	for n := 0; !w.isOver(n); n++ {
		sent := time.Now()
		if err := w.read(); err != nil {
			w.pause()
			continue
		}
		w.lastAnswer = time.Now()
		w.times = append(w.times, w.lastAnswer.Sub(sent))
	}
	if w.conn != nil {
		w.conn.Close()
	}
}

// read makes the next request and counts an error. After a broken connection the next
// request makes a new one.
func (w *worker) read() error {
	err := w.roundTrip()
	if err == nil {
		return nil
	}
	w.errors++
	if w.firstError == nil {
		w.firstError = err
	}
	if answered := (statusError{}); !errors.As(err, &answered) && w.conn != nil {
		w.conn.Close()
		w.conn = nil
	}
	return err
}

func (w *worker) roundTrip() (err error) {
	if w.conn == nil {
		if w.conn, err = dial(w.Addr); err != nil {
			return err
		}
	}
	request := w.template.request(w.user(w.number, w.sent))
	w.sent++
	return w.conn.roundTrip(request)
}

// pause spares a server that returns errors.
func (w *worker) pause() {
	select {
	case <-time.After(10 * time.Millisecond):
	case <-w.ctx.Done():
	}
}

// summarize combines the results of the workers. The rate is the sum of the workers'
// rates, each until the worker's last answer. So it does not depend on how long the
// others wait for the last answers of a slow upstream.
func (r *run) summarize(workers []*worker) Result {
	var result Result
	var times []time.Duration
	for _, w := range workers {
		result.WarmUps += w.warmUps
		result.Errors += w.errors
		if w.firstError != nil && result.FirstError == "" {
			result.FirstError = w.firstError.Error()
		}
		if len(w.times) == 0 {
			continue
		}
		times = append(times, w.times...)
		took := w.lastAnswer.Sub(r.started)
		result.Wall = max(result.Wall, took)
		result.RPS += float64(len(w.times)) / took.Seconds()
	}
	slices.Sort(times)
	result.Reads = len(times)
	result.P50, result.P99 = stat.Percentile(times, 0.5), stat.Percentile(times, 0.99)
	return result
}
