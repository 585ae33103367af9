package backend

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

const (
	// tickTimeout bounds one round: what it does not come to is due in the next.
	tickTimeout = 5 * time.Minute
	// reapInterval is how often leases are looked for that Vault has forgotten.
	reapInterval = time.Hour
)

// Tick does what is due: Vault calls it about once a minute, on the active node.
func (e *Engine) Tick(ctx context.Context, storage logical.Storage) {
	ctx, cancel := context.WithTimeout(ctx, tickTimeout)
	defer cancel()
	if err := e.rotateRootDue(ctx, storage); err != nil {
		e.Logger.Warn("the scheduled rotate-root did not succeed", "error", err)
	}
	e.rotateRolesDue(ctx, storage)
	if a := e.live.Load(); a != nil {
		a.keys.sweep()
	}
	e.reap(ctx, storage)
}

func (e *Engine) rotateRootDue(ctx context.Context, storage logical.Storage) error {
	c, err := e.ReadConfig(ctx, storage)
	if err != nil || c == nil || c.ManagedRotation {
		return err
	}
	now := e.Clock.Now()
	if c.Root.missed(c.rootSchedule(), now) {
		return e.replanRoot(ctx, storage)
	}
	if !c.Root.due(c.rootSchedule(), now) {
		return nil
	}
	_, err = e.RotateRoot(ctx, storage)
	return err
}

// replanRoot waits for the next window after one that was missed.
func (e *Engine) replanRoot(ctx context.Context, storage logical.Storage) error {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	c, err := e.ReadConfig(ctx, storage)
	if err != nil || c == nil {
		return err
	}
	e.Logger.Warn("rotate-root missed its window", "was_due", c.Root.Next)
	c.Root = c.Root.plan(c.rootSchedule(), e.Clock.Now(), e.fraction())
	return writeConfig(ctx, storage, *c)
}

func (e *Engine) rotateRolesDue(ctx context.Context, storage logical.Storage) {
	names, err := e.ListRoles(ctx, storage)
	if err != nil {
		e.Logger.Warn("scheduled rotations could not be looked up", "error", err)
		return
	}
	for _, name := range names {
		err := e.rotateDue(ctx, storage, name)
		if err == nil || errors.Is(err, ErrRoleNotFound) || errors.Is(err, errRoleChanged) {
			continue
		}
		e.Logger.Warn("a scheduled rotation did not succeed", "role", name, "error", err)
		if isAny(err, hopeless) {
			return // the others stay due
		}
	}
}
