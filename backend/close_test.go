package backend

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// Close comes at any time of anything, with ECGrid well or hung: it takes 3 s at the
// most, nothing new is asked of ECGrid afterwards but Logout, no request stays for ever,
// and what was under way is put right by the next process.
func TestAttackCloseAtAnyTime(t *testing.T) {
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
			ctx, cancel := context.WithTimeout(ctx, 90*time.Second) // Vault's own; the fake has none
			defer cancel()
			_ = e.WriteConfig(ctx, ConfigPatch{Password: ptr("right")}, noManager{})
		},
		"round":        func(e *Engine) { e.Tick(ctx) },
		"start":        func(e *Engine) { e.Start() },
		"delete":       func(e *Engine) { _ = e.DeleteConfig(ctx, noManager{}) },
		"many at once": func(e *Engine) { atOnce(30, func(i int) { _, _ = e.IssueKey(ctx, int32(5001+i%2), 0) }) },
		"role of a own": func(e *Engine) {
			_ = e.WriteRole(ctx, "b", RolePatch{UserID: ptr(int32(5002)), RotateOnRevoke: ptr(true)})
		},
	} {
		for _, hung := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", hung"}[hung], func(t *testing.T) {
				t.Parallel()
				for at := time.Duration(0); at < 150*time.Millisecond; at += 2 * time.Millisecond {
					synctest.Test(t, func(t *testing.T) {
						f := newFake()
						e, raw := configured(t, f, func(c *Config) { c.Schedule = Schedule{Period: time.Hour}; c.Root.Next = time.Now().Add(time.Minute) })
						writeRole(t, e, raw, "a", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
						time.Sleep(2 * time.Hour) // all is due
						ended := make(chan struct{})
						go func() { defer close(ended); do(e) }()
						if hung {
							time.Sleep(at / 2)
							f.set(func() { f.latency = time.Hour })
							time.Sleep(at / 2)
						} else {
							time.Sleep(at)
						}
						began := time.Now()
						e.Close()
						if took := time.Since(began); took > 3100*time.Millisecond {
							t.Errorf("Close took %s", took)
						}
						time.Sleep(2 * time.Second)
						calls := callsBut(f, "Logout")
						time.Sleep(10 * time.Minute)
						if now := callsBut(f, "Logout"); now != calls {
							t.Errorf("%d calls after Close", now-calls)
						}
						select {
						case <-ended:
						default:
							t.Error("it has not ended 10 minutes after Close")
						}
						f.set(func() { f.latency = 10 * time.Millisecond })
						goesOn(t, f, raw)
					})
					if t.Failed() {
						t.Fatalf("at %s", at)
					}
				}
			})
		}
	}
}

func callsBut(f *fakeECGrid, op string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, count := range f.counts {
		if name != op {
			n += count
		}
	}
	return n
}

// goesOn is the next process.
func goesOn(t *testing.T, f *fakeECGrid, raw logical.Storage) {
	t.Helper()
	e := testEngine(f, raw)
	e.Start()
	defer e.Close()
	ticks(t, e, raw, 20*time.Minute)
	if c, err := e.ReadConfig(t.Context()); err != nil || c == nil {
		return // it was deleted
	}
	settled(t, f, e, raw)
	if n := f.openSessions(); n > 1 {
		t.Errorf("%d sessions", n)
	}
	if n := f.refusedIn(15 * time.Minute); n > 3 {
		t.Errorf("%d refused logins", n)
	}
}
