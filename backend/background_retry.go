// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/panics"
)

// background runs work beside the requests until the mount is closed.
type background struct {
	ctx context.Context
	end context.CancelFunc
	log hclog.Logger
}

func newBackground(log hclog.Logger) *background {
	ctx, end := context.WithCancel(context.Background())
	return &background{ctx: ctx, end: end, log: log}
}

// run starts a job. Its context ends with the mount.
func (b *background) run(job func(ctx context.Context)) {
	go func() {
		var err error
		defer panics.Recover(b.log, &err)
		job(b.ctx)
	}()
}

const (
	firstRetryAfter = time.Second
	maxRetryAfter   = 2 * time.Minute
)

// retry runs a job in the background, again and again until it is done. The pauses
// double from firstRetryAfter to maxRetryAfter.
type retry struct {
	background *background
	job        func(ctx context.Context) (done bool)
	running    atomic.Bool
	wake       chan struct{}
}

func newRetry(b *background, job func(ctx context.Context) (done bool)) *retry {
	return &retry{background: b, job: job, wake: make(chan struct{}, 1)}
}

// start starts the job after a pause. If it is running already, its current pause ends
// now.
func (r *retry) start(after time.Duration) {
	if !r.running.CompareAndSwap(false, true) {
		select {
		case r.wake <- struct{}{}:
		default:
		}
		return
	}
	r.background.run(func(ctx context.Context) {
		defer r.running.Store(false)
		for pause := firstRetryAfter; r.sleep(ctx, after); pause = min(2*pause, maxRetryAfter) {
			if r.job(ctx) {
				return
			}
			after = pause
		}
	})
}

// sleep waits for d or until the job is woken up. It returns false if ctx ends first.
func (r *retry) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.wake:
		return true
	case <-ctx.Done():
		return false
	}
}
