// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"net/http"
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
				time.Sleep(3 * time.Second)
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

// A replacement that waits for its turn holds up no read of its user, and gives up.
func TestReplacementThatWaits(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.MaxConcurrentCalls = 4 })
		check(t, e.WriteRole(t.Context(), "counted", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)}))
		issued, err := e.IssueCreds(t.Context(), "counted", 0)
		check(t, err)
		f.on("GenerateAPIKey", func() { time.Sleep(4 * time.Minute) })
		go concurrently(2, func(i int) { _, _ = e.RotateKey(t.Context(), int32(5002+1000*i)) })
		f.set(func() { f.keys[6002] = "key-6002" })
		time.Sleep(time.Second)
		checkWithin(t, queueTimeout+time.Second, "the end of a lease", func() error {
			wantStatus(t, e.RevokeLease(t.Context(), issued.Lease), http.StatusGatewayTimeout)
			return nil
		})
		go func() { _, _ = e.RotateKey(t.Context(), 5001) }()
		time.Sleep(time.Second)
		checkWithin(t, 50*time.Millisecond, "a counted read", func() error { return errOf(e.IssueCreds(t.Context(), "counted", 0)) })
		f.set(func() { f.tainted.Store(true) })
		time.Sleep(10 * time.Minute)
		if f.now().keys[5001] != "key-5001" {
			t.Error("a replacement that waited was made on a tainted mount")
		}
	})
}

// A read that joined a call late waits no longer than a request may take, even if another
// read joins the call that it then makes.
func TestLateReadEndsInTime(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		check(t, errOf(e.IssueKey(t.Context(), 5001, 0)))
		most := storedConfig(t, e).requestDeadline() + time.Second
		f.failWith("UserGetAPIKey", nil)
		f.set(func() { f.latency = time.Hour })
		concurrently(10, func(i int) {
			time.Sleep(time.Duration(i) * 10 * time.Second)
			checkWithin(t, most, "a read", func() error {
				if errOf(e.IssueKey(t.Context(), 5001, 0)) == nil {
					t.Error("a read was answered")
				}
				return nil
			})
		})
	})
}
