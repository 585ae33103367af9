// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// load reads each item once. An item that was written meanwhile keeps what was written.
// An item that cannot be read does not stop the others, and is read again.
func TestCalendarLoad(t *testing.T) {
	t.Parallel()
	c := newCalendar()
	now := clock(12, 0, 0)
	list := func(context.Context) ([]string, error) {
		return []string{"deleted", "now", "postponed", "unreadable"}, nil
	}
	failed := errAny
	read := func(_ context.Context, name string) (time.Time, error) {
		switch name {
		case "unreadable":
			return now, failed
		case "deleted": // after it was read
			c.set(name, time.Time{})
		case "postponed": // after it was read
			c.set(name, now.Add(time.Hour))
		}
		return now, nil
	}
	wantDue := func(when string, want ...string) {
		t.Helper()
		if due := c.due(now); !slices.Equal(due, want) {
			t.Errorf("%s: %v are due, want %v", when, due, want)
		}
	}
	wantErr(t, c.load(t.Context(), list, read), errAny)
	wantDue("after a load that failed for one", "now")
	failed = nil
	check(t, c.load(t.Context(), list, read))
	wantDue("after the next load", "now", "unreadable")
	c.reload("now")
	wantDue("after another node wrote it", "unreadable")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantErr(t, c.load(ctx, list, read), context.Canceled)
}

// A write during load is not overwritten by what load has read.
func TestCalendarWriteDuringLoad(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(time.Hour)
	for i := range 200_000 {
		c := newCalendar()
		var written sync.WaitGroup
		list := func(context.Context) ([]string, error) { return []string{"a"}, nil }
		read := func(context.Context, string) (time.Time, error) {
			written.Go(func() { c.set("a", at) })
			return time.Time{}, nil
		}
		check(t, c.load(t.Context(), list, read))
		written.Wait()
		if len(c.at) == 0 && len(c.unread) == 0 {
			t.Fatalf("try %d: a role that was just given a schedule is never due", i)
		}
	}
}

// A role that cannot be decoded does not stop the rotation of the others.
func TestUnreadableRoleStopsNoOther(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		writeRole(t, e, "b", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		e.Close()
		for name, value := range map[string]string{"a": "no JSON", "z": "{"} {
			check(t, storage.Put(t.Context(), &logical.StorageEntry{Key: rolePrefix + name, Value: []byte(value)}))
		}
		e = testEngine(t, f, storage)
		tickFor(t, e, 80*time.Minute)
		checkChanges(t, f, 1)
		tickFor(t, e, 24*time.Hour-80*time.Minute)
		if n := f.now().calls["GenerateAPIKey"]; n < 20 {
			t.Errorf("%d rotations of role b in a day, want at least 20", n)
		}
	})
}

// With 5,000 roles and 5,000 counted leases an idle minute reads next to nothing from
// storage. A role that becomes due is not missed.
func TestIdleMinuteReadsNothing(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := withCountedRoles(t)
		for i := range 5000 {
			writeRole(t, e, fmt.Sprintf("r%d", i), RolePatch{UserID: ptr(int32(5002))})
		}
		for range 5000 {
			issueCreds(t, e, "a")
		}
		e.Close()
		reads := 0
		e, _ = startProcess(t, f, storage, func(s step) error {
			if !s.done && (s.op == "Get" || s.op == "List") {
				reads++
			}
			return nil
		})
		e.Tick(t.Context()) // the first round of a process reads everything
		reads = 0
		tickFor(t, e, 10*time.Minute)
		if reads > 10*3 {
			t.Errorf("%d reads from storage in 10 idle minutes, want at most 30", reads)
		}
		writeRole(t, e, "r7", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		e.Invalidate(rolePrefix + "r8") // another node has written it
		tickFor(t, e, 80*time.Minute)
		checkChanges(t, f, 1)
	})
}
