package backend

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// agenda knows what comes due when, so that an idle minute reads nothing. It is
// filled from storage once, in as many rounds as that takes, and then follows every
// write.
type agenda struct {
	roles, leases *calendar
}

func newAgenda() *agenda {
	return &agenda{roles: newCalendar(), leases: newCalendar()}
}

// calendar is when each thing of one kind is due.
type calendar struct {
	mu     sync.Mutex
	listed bool
	todo   map[string]bool // stored, and not looked at yet
	at     map[string]time.Time
}

func newCalendar() *calendar {
	return &calendar{todo: map[string]bool{}, at: map[string]time.Time{}}
}

// set enters when a thing is due; the zero time is never.
func (c *calendar) set(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enter(name, at)
}

// enter is set under mu.
func (c *calendar) enter(name string, at time.Time) {
	delete(c.todo, name)
	if at.IsZero() {
		delete(c.at, name)
		return
	}
	c.at[name] = at
}

// unread has a thing looked at again.
func (c *calendar) unread(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, name)
	c.todo[name] = true
}

// fill looks at what has not been looked at. What cannot be read holds up nothing
// else; where ctx ends first, the next round goes on.
func (c *calendar) fill(ctx context.Context, list func(context.Context) ([]string, error), read func(context.Context, string) (time.Time, error)) error {
	if err := c.list(ctx, list); err != nil {
		return err
	}
	var failed error
	for _, name := range c.unseen() {
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
		at, err := read(ctx, name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		c.saw(name, at)
	}
	return failed
}

// saw enters what was read of a thing, unless it was written meanwhile, which says more.
func (c *calendar) saw(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.todo[name] {
		c.enter(name, at)
	}
}

func (c *calendar) list(ctx context.Context, list func(context.Context) ([]string, error)) error {
	c.mu.Lock()
	listed := c.listed
	c.mu.Unlock()
	if listed {
		return nil
	}
	names, err := list(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listed = true
	for _, name := range names {
		if _, known := c.at[name]; !known {
			c.todo[name] = true
		}
	}
	return nil
}

func (c *calendar) unseen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.todo))
}

// due is what has come due, the longest due first.
func (c *calendar) due(now time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var names []string
	for name, at := range c.at {
		if !now.Before(at) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(c.at[a].Compare(c.at[b]), cmp.Compare(a, b)) })
	return names
}
