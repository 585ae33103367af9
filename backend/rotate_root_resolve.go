// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-ecgrid/backend/session"
)

// tryToResolve resolves in the background. A write to the config interrupts it, and it
// runs again later.
func (r *rootRotator) tryToResolve(ctx context.Context) (done bool) {
	err := r.Resolve(ctx)
	return err == nil || meaningOf(err).notApplied || r.isResolved(ctx)
}

func (r *rootRotator) isResolved(ctx context.Context) bool {
	c, err := r.store.config(ctx)
	return err == nil && (c == nil || c.unresolved() == nil && !c.hasExpired(r.Clock.Now()))
}

// Resolve finds out which password ECGrid has after an unconfirmed rotate-root, and
// completes the change. It does nothing if there is no such change. It may be canceled
// at any time.
func (r *rootRotator) Resolve(ctx context.Context) error {
	ctx, release, err := r.lock.acquireInBackground(ctx)
	if err != nil {
		return err
	}
	defer release()
	at, err := r.resolve(ctx)
	r.sendSettledEvent(at, err)
	return err
}

// sendSettledEvent sends an event if a change is resolved by now.
func (r *rootRotator) sendSettledEvent(at time.Time, err error) {
	settled := Event{Kind: EventRootRotation, Reason: ReasonSettled}
	switch unchanged := (foundUnchanged{}); {
	case errors.As(err, &unchanged):
		r.rotationEnded(settled, ErrNotApplied)
	case err == nil && !at.IsZero():
		r.rotationEnded(settled, nil)
	}
}

// resolve is Resolve for a caller that holds the config lock. It returns when the
// password was rotated, or the zero time if it was not.
func (r *rootRotator) resolve(ctx context.Context) (time.Time, error) {
	c, err := r.store.config(ctx)
	switch {
	case err != nil || c == nil || len(c.Pending) == 0:
		return time.Time{}, err
	case r.Tainted():
		return time.Time{}, ErrTainted
	case c.APIKey != "": // there is no Login that could tell
		return time.Time{}, r.storeConfig(ctx, c.withoutExpired(r.Clock.Now()))
	}
	current, err := r.currentOrStored(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if works := current.session.Password(); works != "" && works != c.Password {
		return r.confirmLate(ctx, *c, works)
	}
	current = &connection{config: *c, link: current.link}
	switch pending := c.unresolved(); {
	case pending != nil:
		return r.tryOldThenNew(ctx, current, *pending)
	case c.hasExpired(r.Clock.Now()):
		return r.dropExpired(ctx, current)
	}
	return time.Time{}, nil
}

// tryOldThenNew logs in. If the old password works, it sends the same change again.
func (r *rootRotator) tryOldThenNew(ctx context.Context, current *connection, pending Pending) (time.Time, error) {
	works, err := r.loginAgain(ctx, current)
	if errors.Is(err, session.ErrClosed) {
		r.setCurrent(nil)
	}
	if err != nil {
		return time.Time{}, r.recordUnresolved(ctx, pending, err)
	}
	if works != current.config.Password {
		return r.confirmLate(ctx, current.config, works)
	}
	_, err = r.changePassword(ctx, current, pending.Password)
	switch {
	case err == nil:
		return r.confirmLate(ctx, current.config, pending.Password)
	case r.Clock.Now().Sub(pending.Since) > keptFor: // ECGrid will not accept it
		return r.refused(ctx, current, pending.Password, err)
	}
	// A refusal proves nothing: ECGrid may still apply the first call.
	return time.Time{}, r.recordUnresolved(ctx, pending, err)
}

// confirmLate is confirm for a change that was sent more than once: another copy of the
// call may still be in progress.
func (r *rootRotator) confirmLate(ctx context.Context, c Config, password string) (time.Time, error) {
	return r.confirm(ctx, c, password, r.Clock.Now().Add(keptFor))
}

// dropExpired removes expired passwords, once a Login with the stored one succeeds.
func (r *rootRotator) dropExpired(ctx context.Context, current *connection) (time.Time, error) {
	works, err := r.loginAgain(ctx, current)
	if err != nil {
		return time.Time{}, err
	}
	if works != current.config.Password {
		return r.confirm(ctx, current.config, works, time.Time{})
	}
	err = r.storeConfig(ctx, current.config.withoutExpired(r.Clock.Now()))
	r.setCurrent(nil) // the next connection does not know them
	return time.Time{}, err
}

// recordUnresolved records that it is still unknown which password ECGrid has.
func (r *rootRotator) recordUnresolved(ctx context.Context, p Pending, failed error) error {
	err := fmt.Errorf("%w: %w", ErrUnresolved, failed)
	if errors.Is(failed, session.ErrClosed) || ctx.Err() != nil { // interrupted
		return err
	}
	message := describeLasting(err)
	r.Logger.Warn("it is unknown whether ECGrid has the password from before rotate-root or the new one", "since", p.Since, "error", message)
	r.record(ctx, func(rotation Rotation) Rotation {
		rotation.LastError = message
		return rotation
	})
	return err
}
