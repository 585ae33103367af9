package backend

import (
	"sync/atomic"
	"testing"
	"time"
)

// Lists and rotations, in any number, leave half of the concurrent calls to reads.
func TestHalfOfTheCallsIsForReads(t *testing.T) {
	t.Parallel()
	for name, bulk := range map[string]struct {
		op string
		do func(t *testing.T, e *Engine, i int) error
	}{
		"rotations": {"GenerateAPIKey", func(t *testing.T, e *Engine, i int) error {
			return errOf(e.RotateKey(t.Context(), int32(6000+i)))
		}},
		"lists": {"UserList", func(t *testing.T, e *Engine, _ int) error {
			return errOf(e.ListUsers(t.Context()))
		}},
		"leases that end": {"GenerateAPIKey", func(t *testing.T, e *Engine, i int) error {
			issued, err := e.IssueKey(t.Context(), int32(6000+i), 0)
			if err != nil {
				return err
			}
			issued.Lease.Counted, issued.Lease.ID = true, "last"
			if err := e.leases.holders.save(t.Context(), issued.Lease, issued.Terms); err != nil {
				return err
			}
			return e.RevokeLease(t.Context(), issued.Lease)
		}},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t, func(c *Config) { c.MaxConcurrentCalls = 8 })
			check(t, errOf(e.IssueKey(t.Context(), 5001, 0)))
			var inProgress, most atomic.Int32
			f.set(func() {
				for i := range 40 {
					f.keys[int32(6000+i)] = "key"
				}
			})
			f.on(bulk.op, func() {
				n := inProgress.Add(1)
				defer inProgress.Add(-1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(5 * time.Second)
			})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				concurrently(40, func(i int) { check(t, bulk.do(t, e, i)) })
			}()
			time.Sleep(time.Second)
			checkWithin(t, 50*time.Millisecond, "a read", func() error { return errOf(e.IssueKey(t.Context(), 5001, 0)) })
			<-ended
			if most.Load() != 4 {
				t.Errorf("%d of 8 calls in progress, want 4", most.Load())
			}
		})
	}
}

// A config of an earlier version has no limit stored, and one call is enough for all.
func TestConcurrentCalls(t *testing.T) {
	t.Parallel()
	for stored, want := range map[int]int{0: DefaultMaxConcurrentCalls, 1: 1, 256: 256} {
		if got := (Config{MaxConcurrentCalls: stored}).ConcurrentCalls(); got != want {
			t.Errorf("%d: %d", stored, got)
		}
	}
	runCase(t, "one", func(t *testing.T) {
		_, e, _ := configured(t, func(c *Config) { c.MaxConcurrentCalls = 1 })
		concurrently(20, func(i int) {
			check(t, errOf(e.IssueKey(t.Context(), 5001, 0)))
			check(t, errOf(e.ListUsers(t.Context())))
			check(t, errOf(e.RotateKey(t.Context(), 5002)))
		})
	})
}
