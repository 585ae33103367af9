// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"time"
)

// RotationManager is that of Vault Enterprise. Vault Community accepts no jobs.
type RotationManager interface {
	// Keep registers the schedule of rotate-root, or removes it if it is zero. It
	// reports whether the rotation manager will rotate.
	Keep(ctx context.Context, schedule Schedule) bool
}

// reschedule returns c with its next rotate-root, if its schedule or login has changed.
// ManagedRotation is false then, until handOver succeeds.
func (r *rootRotator) reschedule(old *Config, c Config) Config {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	planned := c.rootSchedule().IsZero() || !c.Root.Next.IsZero()
	if c.rootSchedule() == before && planned {
		return c
	}
	c.ManagedRotation = false
	c.Root = c.Root.reschedule(c.rootSchedule(), r.Clock.Now(), r.fraction())
	return c
}

// handOver offers the schedule of a stored config to the rotation manager, unless it has
// it already. A write that is repeated after a crash or a failure completes the hand-over;
// until then both may rotate.
func (r *rootRotator) handOver(ctx context.Context, c Config, manager RotationManager) (Config, error) {
	if c.ManagedRotation || !manager.Keep(ctx, c.rootSchedule()) {
		return c, nil
	}
	c.ManagedRotation = true
	return c, r.storeConfig(ctx, c)
}

// RotateManagedRoot is RotateRoot for the rotation manager, which follows the schedule.
func (r *rootRotator) RotateManagedRoot(ctx context.Context) (time.Time, error) {
	return r.rotateBecause(ctx, ReasonSchedule)
}

// rotateDue rotates if it is due, and resumes what is unresolved.
func (r *rootRotator) rotateDue(ctx context.Context) error {
	c, err := r.store.config(ctx)
	if err != nil || c == nil {
		return err
	}
	now := r.Clock.Now()
	switch {
	case c.unresolved() != nil || c.hasExpired(now):
		if !r.resolution.running.Load() { // it has its own pace
			r.resolution.start(0)
		}
		return nil
	case c.ManagedRotation:
		return nil
	case c.Root.isMissed(c.rootSchedule(), now):
		return r.skipMissed(ctx)
	case !c.Root.isDue(c.rootSchedule(), now):
		return nil
	}
	return r.lock.withConfig(ctx, func(locked *Config) error {
		if locked == nil || locked.Root != c.Root || locked.login() != c.login() || locked.ManagedRotation {
			return nil // another request has rotated or changed it
		}
		_, err := r.rotateLocked(ctx, ReasonSchedule)
		return err
	})
}

// skipMissed schedules the next rotation after one that missed its window.
func (r *rootRotator) skipMissed(ctx context.Context) error {
	return r.lock.withConfig(ctx, func(c *Config) error {
		if c == nil || !c.Root.isMissed(c.rootSchedule(), r.Clock.Now()) {
			return nil
		}
		r.Logger.Warn("rotate-root missed its window", "was_due", c.Root.Next)
		c.Root = c.Root.plan(c.rootSchedule(), r.Clock.Now(), r.fraction())
		return r.store.putConfig(ctx, *c)
	})
}
