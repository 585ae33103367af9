// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"
)

// Close is called at any time during a request, while ECGrid answers or hangs. It takes
// at most 3 s. Only Logout is called after it. The request ends. The next process
// completes what was in progress.
func TestCloseAtAnyTime(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	for name, do := range map[string]func(*Engine){
		"counted read and revoke": func(e *Engine) {
			if issued, err := e.IssueCreds(ctx, "a", time.Hour); err == nil {
				_ = e.RevokeLease(ctx, issued.Lease)
			}
		},
		"rotate key":  func(e *Engine) { _, _ = e.RotateKey(ctx, 5001) },
		"rotate root": func(e *Engine) { _, _ = e.RotateRoot(ctx) },
		"config write": func(e *Engine) {
			ctx, cancel := context.WithTimeout(ctx, 90*time.Second) // Vault's request timeout
			defer cancel()
			_ = e.WriteConfig(ctx, ConfigPatch{Password: ptr("right")}, noManager{})
		},
		"tick":             func(e *Engine) { e.Tick(ctx) },
		"start":            func(e *Engine) { e.Start() },
		"delete config":    func(e *Engine) { _ = e.DeleteConfig(ctx, noManager{}) },
		"concurrent reads": func(e *Engine) { concurrently(30, func(i int) { _, _ = e.IssueKey(ctx, int32(5001+i%2), 0) }) },
		"role write": func(e *Engine) {
			_ = e.WriteRole(ctx, "b", RolePatch{UserID: ptr(int32(5002)), RotateOnRevoke: ptr(true)})
		},
	} {
		for _, hangs := range []bool{false, true} {
			sweep(t, name+map[bool]string{true: ", ECGrid hangs"}[hangs], every(2*time.Millisecond, 0, 150*time.Millisecond), func(t *testing.T, at time.Duration) {
				f, e, storage := configured(t, func(c *Config) { c.Schedule = Schedule{Period: time.Hour}; c.Root.Next = time.Now().Add(time.Minute) })
				writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(true), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
				time.Sleep(2 * time.Hour) // everything is due
				ended := make(chan struct{})
				go func() { defer close(ended); do(e) }()
				if hangs {
					time.Sleep(at / 2)
					f.set(func() { f.latency = time.Hour })
					time.Sleep(at / 2)
				} else {
					time.Sleep(at)
				}
				checkWithin(t, 3100*time.Millisecond, "Close", func() error { e.Close(); return nil })
				time.Sleep(2 * time.Second)
				before := f.now().calls
				time.Sleep(10 * time.Minute)
				for op, n := range f.now().calls {
					if op != "Logout" && n != before[op] {
						t.Errorf("%s was called after Close", op)
					}
				}
				if !isClosed(ended) {
					t.Error("the request has not ended 10 minutes after Close")
				}
				f.set(func() { f.latency = 10 * time.Millisecond })
				next := testEngine(t, f, storage)
				next.Start()
				tickFor(t, next, 20*time.Minute)
				if c, err := next.ReadConfig(t.Context()); err != nil || c == nil {
					return // it was deleted
				}
				checkHealthy(t, f, next)
				checkSessions(t, f, 1)
				checkRefused(t, f, 3)
			})
		}
	}
}

// Close ends a config write that is logging in. No session stays open.
func TestCloseDuringLogin(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.latency = time.Second
		done := make(chan error)
		go func() { done <- e.WriteConfig(t.Context(), ConfigPatch{Password: ptr("right")}, noManager{}) }()
		time.Sleep(500 * time.Millisecond)
		e.Close()
		<-done
		checkSessions(t, f, 0)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ErrClosed)
	})
}

// A closed connection that is in use is discarded.
func TestClosedConnectionInUse(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, _ := configured(t)
		closed, err := e.connect(t.Context(), *stored())
		check(t, err)
		e.Close()
		e.connections.inUse = closed
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ErrClosed)
	})
}
