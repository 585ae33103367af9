// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
)

// ECGrid applies the change at any time up to a minute after it was sent: before, during
// and after each step by which this process, or the next one, resolves it. The password
// is never lost, logins are paced, and the next rotate-root works.
func TestRotateRootAppliedLate(t *testing.T) {
	t.Parallel()
	delays := append(every(50*time.Millisecond, 0, 5*time.Second), every(700*time.Millisecond, 5*time.Second, time.Minute+1)...)
	for name, tt := range map[string]struct {
		killed        time.Duration // after the change was sent; 0: not
		comparesEarly bool
	}{
		"one process":                    {},
		"one process, compares early":    {comparesEarly: true},
		"killed at once":                 {killed: time.Millisecond},
		"killed before the answer":       {killed: 2500 * time.Millisecond},
		"killed after the answer":        {killed: 16 * time.Second},
		"killed at once, compares early": {killed: time.Millisecond, comparesEarly: true},
		"killed while it is unresolved":  {killed: 20 * time.Second},
	} {
		for nextName, next := range nextEvents {
			sweep(t, name+", then "+nextName, delays, func(t *testing.T, delay time.Duration) {
				f, _, storage := configured(t)
				f.applyAfter, f.comparesEarly = []time.Duration{delay}, tt.comparesEarly
				rotateRootAppliedLate(t, f, storage, tt.killed, next)
			})
		}
	}
}

func rotateRootAppliedLate(t *testing.T, f *fakeECGrid, storage logical.Storage, killed time.Duration, next func(*Engine)) {
	e, p := startProcess(t, f, storage, nil)
	if killed == 0 {
		if err := errOf(e.RotateRoot(context.Background())); err != nil {
			wantStatus(t, err, http.StatusConflict)
		}
	} else {
		go e.RotateRoot(context.Background())
		time.Sleep(killed + 50*time.Millisecond)
		p.kill()
		e = testEngine(t, f, storage)
	}
	for range 20 {
		next(e)
		time.Sleep(time.Second)
	}
	time.Sleep(30 * time.Minute)
	checkHealthy(t, f, e)
	checkRefused(t, f, 3)
	err := errOf(e.RotateRoot(t.Context()))
	if errors.Is(err, session.ErrPaused) { // for a second after a refused login
		time.Sleep(2 * time.Second)
		err = errOf(e.RotateRoot(t.Context()))
	}
	check(t, err)
	time.Sleep(2 * time.Minute)
	checkHealthy(t, f, e)
	e.Close()
	time.Sleep(2 * time.Minute)
	if killed == 0 {
		checkSessions(t, f, 0)
	}
}

// Two processes resolve the same rotate-root at once, as when a node steps down slowly.
// ECGrid applies what they send late.
func TestTwoProcessesResolve(t *testing.T) {
	t.Parallel()
	for _, delay := range every(1300*time.Millisecond, 0, time.Minute+1) {
		for _, gap := range every(500*time.Millisecond, 0, 4*time.Second+1) {
			runCase(t, fmt.Sprintf("%s, %s", delay, gap), func(t *testing.T) {
				f, one, storage := configured(t)
				f.applyAfter = []time.Duration{delay, delay / 2, delay / 3}
				go func() { _, _ = one.RotateRoot(context.Background()) }()
				time.Sleep(gap + 50*time.Millisecond)
				two := testEngine(t, f, storage)
				two.Start()
				time.Sleep(30 * time.Minute)
				one.Close()
				two.Tick(t.Context())
				time.Sleep(20 * time.Minute)
				checkHealthy(t, f, two)
				checkRefused(t, f, 6) // 3 for each process
				two.Close()
				time.Sleep(2 * time.Minute)
			})
		}
	}
}
