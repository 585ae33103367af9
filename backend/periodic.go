// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"time"

	"vault-plugin-ecgrid/internal/panics"
)

const (
	// tickTimeout is how long Vault waits for a round. Vault holds its state lock
	// meanwhile and can neither seal nor step down.
	tickTimeout = 20 * time.Second
	// roundTimeout bounds a round, which goes on in the background. The next round does
	// what this one did not reach.
	roundTimeout = 5 * time.Minute
)

// Tick does what is due. Vault calls it about once a minute on the active node. It does
// nothing on a tainted mount.
func (e *Engine) Tick(ctx context.Context) {
	if e.Tainted() || !e.inRound.CompareAndSwap(false, true) {
		return
	}
	done := make(chan struct{})
	e.background.run(func(ctx context.Context) {
		defer close(done)
		defer e.inRound.Store(false)
		ctx, cancel := context.WithTimeout(ctx, roundTimeout)
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

// doDue runs all parts of a round. A failure or a panic of one part does not stop the
// others.
func (e *Engine) doDue(ctx context.Context) {
	for _, part := range []func(context.Context) error{e.rootRotator.rotateDue, e.roles.rotateAllDue, e.removeExpiredKeys, e.leases.tidyDue} {
		if err := e.guarded(ctx, part); err != nil {
			e.Logger.Warn("a part of the periodic work failed", "error", err)
		}
	}
}

func (e *Engine) guarded(ctx context.Context, part func(context.Context) error) (err error) {
	defer panics.Recover(e.Logger, &err)
	return part(ctx)
}

func (c *connections) removeExpiredKeys(context.Context) error {
	if current := c.current(); current != nil {
		current.keys.removeExpired()
	}
	return nil
}
