// SPDX-License-Identifier: MPL-2.0

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

// agenda records which roles and holders are due when, so that an idle minute reads
// nothing from storage. It is loaded from storage once, in one or more rounds. Then it
// follows every write.
type agenda struct {
	roles, holders *calendar
	rotations      *roleRotations
}

func newAgenda() *agenda {
	roles := newCalendar()
	return &agenda{roles: roles, holders: newCalendar(), rotations: newRoleRotations(roles)}
}

// calendar records when each item of one kind is due.
type calendar struct {
	mu     sync.Mutex // guards the following
	listed bool
	unread map[string]bool // items in storage that were not read yet
	at     map[string]time.Time
}

func newCalendar() *calendar {
	return &calendar{unread: map[string]bool{}, at: map[string]time.Time{}}
}

// set records when an item is due; the zero time means never.
func (c *calendar) set(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enter(name, at)
}

// enter is set for a caller that holds mu.
func (c *calendar) enter(name string, at time.Time) {
	delete(c.unread, name)
	if at.IsZero() {
		delete(c.at, name)
		return
	}
	c.at[name] = at
}

// written records a write of an item, which may have happened even if it failed.
func (c *calendar) written(name string, at time.Time, err error) error {
	if err != nil {
		c.reload(name)
		return err
	}
	c.set(name, at)
	return nil
}

// reload has an item read again by the next load.
func (c *calendar) reload(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.at, name)
	c.unread[name] = true
}

// load reads the items that were not read yet. An item that cannot be read does not stop
// it. If ctx ends first, the next call goes on.
func (c *calendar) load(ctx context.Context, list func(context.Context) ([]string, error), read func(context.Context, string) (time.Time, error)) error {
	if err := c.list(ctx, list); err != nil {
		return err
	}
	var failed error
	for _, name := range c.unreadNames() {
		if ctx.Err() != nil {
			return errors.Join(failed, ctx.Err())
		}
		at, err := read(ctx, name)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		c.setRead(name, at)
	}
	return failed
}

// setRead records what was read, unless the item was written meanwhile.
func (c *calendar) setRead(name string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unread[name] {
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
			c.unread[name] = true
		}
	}
	return nil
}

func (c *calendar) isUnread(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.unread[name]
}

func (c *calendar) unreadNames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.unread))
}

// count returns how many items are due at some time, with those that must be read again. It
// returns nil before the items were listed.
func (c *calendar) count() *int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.listed {
		return nil
	}
	n := len(c.at) + len(c.unread)
	return &n
}

// each calls do for each item that is due. It stops at a failure that the next item would
// meet too; the others stay due.
func (c *calendar) each(ctx context.Context, now time.Time, do func(ctx context.Context, name string) error) {
	for _, name := range c.due(now) {
		if err := do(ctx, name); err != nil && (meaningOf(err).systemic || ctx.Err() != nil) {
			return
		}
	}
}

// due returns the items that are due, the longest overdue first.
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
