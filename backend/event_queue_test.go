// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
)

// hang takes an event only when ctx has ended.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// While Vault takes no event, nothing waits for it. The events are lost one by one.
func TestHangingVault(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		readKey(t, e, 5001)
		f.events.taking(hang)
		for what, do := range map[string]func() error{
			"role write":   func() error { return e.WriteRole(t.Context(), "a", RolePatch{UserID: ptr(int32(5001))}) },
			"config write": func() error { return e.WriteConfig(t.Context(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{}) },
			"rotate-key":   func() error { return errOf(e.RotateKey(t.Context(), 5001)) },
			"rotate-root":  func() error { return errOf(e.RotateRoot(t.Context())) },
			"read":         func() error { return errOf(e.IssueKey(t.Context(), 5001, 0)) },
		} {
			checkWithin(t, 100*time.Millisecond, what, do)
		}
		time.Sleep(4 * eventTimeout)
		f.events.taking(nil)
		check(t, e.DeleteRole(t.Context(), "a"))
		checkEvents(t, f, Event{Kind: EventRoleDeleted, Role: "a", UserID: 5001, Modified: true})
	})
}

// Close sends what waits, and gives up in time.
func TestCloseSendsEvents(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		take   func(context.Context) error
		within time.Duration
		sent   int
	}{
		"Vault is slow": {func(context.Context) error { time.Sleep(100 * time.Millisecond); return nil }, time.Second, 5},
		"Vault hangs":   {hang, 3 * time.Second, 0},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			f.events.taking(tt.take)
			for range 5 {
				writeRole(t, e, "a", RolePatch{})
			}
			checkWithin(t, tt.within, "Close", func() error { e.Close(); return nil })
			if n := len(f.events.all()); n != tt.sent {
				t.Errorf("%d events were sent, want %d", n, tt.sent)
			}
			f.events.taking(nil)
			writeRole(t, e, "a", RolePatch{})
			checkWithin(t, 0, "the second Close", func() error { e.Close(); return nil })
			synctest.Wait()
			if n := len(f.events.all()); n != tt.sent {
				t.Errorf("%d events were sent after Close", n-tt.sent)
			}
		})
	}
}

// Events are sent in the order in which they were added. The queue is bounded, and the
// log tells once that events are lost and once that they fail.
func TestEventQueue(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		var log syncBuilder
		var sent eventLog
		q := newEventQueue(sent.add, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug}))
		first := make(chan struct{})
		sent.taking(func(context.Context) error { <-first; return nil })
		for i := range maxQueuedEvents + 10 {
			q.add(Event{UserID: int32(i)})
			if i == 0 {
				synctest.Wait() // it is being sent, and does not wait any more
			}
		}
		close(first)
		synctest.Wait()
		got := sent.all()
		if len(got) != maxQueuedEvents+1 {
			t.Fatalf("%d events were sent, want %d", len(got), maxQueuedEvents+1)
		}
		for i, event := range got {
			if event.UserID != int32(i) {
				t.Fatalf("event %d is sent as number %d", event.UserID, i)
			}
		}
		sent.taking(func(context.Context) error { panic("a bug") })
		for range 3 {
			q.add(Event{})
		}
		synctest.Wait()
		sent.taking(nil)
		q.add(Event{UserID: -1})
		synctest.Wait()
		if n := len(sent.all()); n != maxQueuedEvents+2 {
			t.Errorf("%d events were sent after a panic, want 1", n-maxQueuedEvents-1)
		}
		for _, message := range []string{"are dropped", "does not take events"} {
			if n := strings.Count(log.String(), message); n != 1 {
				t.Errorf("%q is logged %d times", message, n)
			}
		}
	})
}

// Without a receiver nothing is queued.
func TestNobodyWantsEvents(t *testing.T) {
	t.Parallel()
	q := newEventQueue(nil, hclog.NewNullLogger())
	q.add(Event{})
	if len(q.waiting) != 0 {
		t.Error("an event waits")
	}
	q.close(t.Context())
}
