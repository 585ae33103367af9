package backend

import (
	"context"
	"errors"
	"time"

	"vault-plugin-ecgrid/internal/panics"
)

const (
	// tickTimeout is how long Vault waits for a round: it holds its state lock
	// meanwhile, so that neither seal nor step-down go on.
	tickTimeout = 20 * time.Second
	// roundTimeout bounds a round, which may go on in the background. What it does
	// not come to is due in the next.
	roundTimeout = 5 * time.Minute
)

// Tick does what is due: Vault calls it about once a minute, on the active node. A
// mount that is being removed or moved is left alone.
func (e *Engine) Tick(ctx context.Context) {
	if e.Tainted() || !e.round.CompareAndSwap(false, true) {
		return
	}
	done := make(chan struct{})
	e.inBackground(func(life context.Context) {
		defer close(done)
		defer e.round.Store(false)
		ctx, cancel := context.WithTimeout(life, roundTimeout)
		defer cancel()
		e.doDue(ctx)
	})
	enough := time.NewTimer(tickTimeout)
	defer enough.Stop()
	select {
	case <-done:
	case <-enough.C:
	case <-ctx.Done():
	}
}

// doDue does one thing after the other; what fails, by a bug too, keeps the next from
// nothing.
func (e *Engine) doDue(ctx context.Context) {
	for _, part := range []func(context.Context) error{e.rotateRootDue, e.rotateRolesDue, e.sweep, e.reap} {
		if err := e.guarded(ctx, part); err != nil {
			e.Logger.Warn("what was due could not be done", "error", err)
		}
	}
}

func (e *Engine) guarded(ctx context.Context, part func(context.Context) error) (err error) {
	defer panics.Recover(e.Logger, &err)
	return part(ctx)
}

// sweep forgets keys that must not be served from memory any more.
func (e *Engine) sweep(context.Context) error {
	if a, _ := e.accounts.now(); a != nil {
		a.keys.sweep()
	}
	return nil
}

func (e *Engine) rotateRootDue(ctx context.Context) error {
	c, err := e.store.config(ctx)
	if err != nil || c == nil {
		return err
	}
	now := e.Clock.Now()
	switch {
	case c.livePending() != nil || c.expired(now):
		if !e.settling.Load() { // it has its own pace
			e.settleInBackground(0)
		}
		return nil
	case c.ManagedRotation:
		return nil
	case c.Root.missed(c.rootSchedule(), now):
		e.Logger.Warn("rotate-root missed its window", "was_due", c.Root.Next)
		return e.changeConfig(ctx, func(c Config) Config {
			c.Root = c.Root.plan(c.rootSchedule(), now, e.fraction())
			return c
		})
	case !c.Root.due(c.rootSchedule(), now):
		return nil
	}
	return e.rotateRootIfDue(ctx, *c)
}

// rotateRootIfDue rotates, unless another has done that since.
func (e *Engine) rotateRootIfDue(ctx context.Context, due Config) error {
	return e.withConfig(ctx, func(c *Config) error {
		if c == nil || c.Root != due.Root || c.login() != due.login() {
			return nil
		}
		_, err := e.rotateRootNow(ctx)
		return err
	})
}

// changeConfig stores a change that is about neither login nor endpoint.
func (e *Engine) changeConfig(ctx context.Context, change func(Config) Config) error {
	return e.withConfig(ctx, func(c *Config) error {
		if c == nil {
			return nil
		}
		return e.store.putConfig(ctx, change(*c))
	})
}

func (e *Engine) rotateRolesDue(ctx context.Context) error {
	roles := e.agenda.roles
	err := roles.fill(ctx, e.store.roleNames, func(ctx context.Context, name string) (time.Time, error) {
		r, err := e.store.role(ctx, name)
		if err != nil || r == nil {
			return time.Time{}, err
		}
		return r.Rotation.wakes(r.Schedule), nil
	})
	for _, name := range roles.due(e.Clock.Now()) {
		failed := e.rotateDue(ctx, name)
		switch {
		case failed == nil, errors.Is(failed, errRoleChanged):
			continue
		case errors.Is(failed, ErrRoleNotFound):
			roles.unread(name)
			continue
		}
		e.Logger.Warn("a scheduled rotation did not succeed", "role", name, "error", failed)
		if meaningOf(failed).general || ctx.Err() != nil {
			break // the others stay due
		}
	}
	return err
}
