package backend

import "context"

// RotationManager is that of Vault Enterprise. Vault Community accepts no jobs.
type RotationManager interface {
	// Keep registers the schedule of rotate-root, or removes it if it is zero. It
	// reports whether the rotation manager will rotate.
	Keep(ctx context.Context, schedule Schedule) bool
}

// reschedule returns c with its next rotate-root, if its schedule or login has changed.
func (r *rootRotator) reschedule(old *Config, c Config) (changed bool, _ Config) {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	planned := c.rootSchedule().IsZero() || !c.Root.Next.IsZero()
	if c.rootSchedule() == before && planned {
		return false, c
	}
	c.ManagedRotation = false // until the rotation manager accepts the schedule
	c.Root = c.Root.reschedule(c.rootSchedule(), r.Clock.Now(), r.fraction())
	return true, c
}

// handOver offers the schedule of a stored config to the rotation manager. If that
// cannot be recorded, both of them rotate.
func (r *rootRotator) handOver(ctx context.Context, c Config, manager RotationManager) Config {
	if !manager.Keep(ctx, c.rootSchedule()) {
		return c
	}
	c.ManagedRotation = true
	if err := r.store.putConfig(context.WithoutCancel(ctx), c); err != nil {
		r.Logger.Warn("rotate-root is scheduled twice, since the registration with Vault's rotation manager could not be stored", "error", err)
	}
	return c
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
		if locked == nil || locked.Root != c.Root || locked.login() != c.login() {
			return nil // another request has rotated or changed it
		}
		_, err := r.rotateLocked(ctx)
		return err
	})
}

// skipMissed schedules the next rotation after one that missed its window.
func (r *rootRotator) skipMissed(ctx context.Context) error {
	return r.lock.withConfig(ctx, func(c *Config) error {
		if c == nil {
			return nil
		}
		r.Logger.Warn("rotate-root missed its window", "was_due", c.Root.Next)
		c.Root = c.Root.plan(c.rootSchedule(), r.Clock.Now(), r.fraction())
		return r.store.putConfig(ctx, *c)
	})
}
