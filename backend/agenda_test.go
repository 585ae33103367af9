package backend

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// What is written while the calendar is filled says more than what was read before;
// what cannot be read holds nothing else up, and is looked at again.
func TestCalendarFill(t *testing.T) {
	t.Parallel()
	c := newCalendar()
	now := clock(12, 0, 0)
	list := func(context.Context) ([]string, error) { return []string{"bad", "gone", "later", "now"}, nil }
	broken := true
	read := func(_ context.Context, name string) (time.Time, error) {
		switch name {
		case "bad":
			if broken {
				return time.Time{}, errAny
			}
			return now, nil
		case "gone": // deleted between its reading and its entry
			c.set("gone", time.Time{})
			return now, nil
		case "later": // put off in the same way
			c.set("later", now.Add(time.Hour))
			return now, nil
		}
		return now, nil
	}
	if err := c.load(t.Context(), list, read); !errors.Is(err, errAny) {
		t.Errorf("got %v", err)
	}
	if due := c.due(now); !slices.Equal(due, []string{"now"}) {
		t.Errorf("due: %v", due)
	}
	broken = false
	if err := c.load(t.Context(), list, read); err != nil {
		t.Error(err)
	}
	if due := c.due(now); !slices.Equal(due, []string{"bad", "now"}) {
		t.Errorf("due later: %v", due)
	}
	c.reload("now")
	if due := c.due(now); !slices.Equal(due, []string{"bad"}) {
		t.Errorf("due after another node wrote it: %v", due)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := c.load(ended, list, read); !errors.Is(err, context.Canceled) {
		t.Errorf("without time: %v", err)
	}
}

// One record that cannot be decoded keeps no other role from its rotation.
func TestUnreadableRoleHoldsUpNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		first, storage := configured(t, f)
		writeRole(t, first, storage, "z", RolePatch{UserID: ptr(int32(5001)), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		if err := storage.Put(t.Context(), &logical.StorageEntry{Key: rolePrefix + "bad", Value: []byte("{")}); err != nil {
			t.Fatal(err)
		}
		e := testEngine(f, storage)
		ticks(t, e, storage, 80*time.Minute)
		if f.changed() != 1 {
			t.Errorf("%d changes", f.changed())
		}
		e.Close()
	})
}

// What the calendar is told while it is filled is newer than what filling finds.
func TestAttackCalendarIsNotOverwritten(t *testing.T) {
	t.Parallel()
	at := time.Now().Add(time.Hour)
	for i := range 200_000 {
		c := newCalendar()
		var told sync.WaitGroup
		list := func(context.Context) ([]string, error) { return []string{"a"}, nil }
		read := func(context.Context, string) (time.Time, error) {
			told.Go(func() { c.set("a", at) })
			return time.Time{}, nil
		}
		if err := c.load(t.Context(), list, read); err != nil {
			t.Fatal(err)
		}
		told.Wait()
		if len(c.at) == 0 && len(c.unread) == 0 {
			t.Fatalf("try %d: a role that was just given a schedule is never looked at", i)
		}
	}
}
