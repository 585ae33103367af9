package backend

import (
	"context"
	"errors"
)

// RotateRole replaces the key of the role's user; the role's schedule counts from
// then on.
func (e *Engine) RotateRole(ctx context.Context, name string) (KeyRotation, error) {
	r, err := e.ReadRole(ctx, name)
	if err != nil {
		return KeyRotation{}, err
	}
	done, err := e.replaceKey(ctx, r.UserID, always)
	if err != nil {
		return KeyRotation{}, err
	}
	if err := e.noteRotation(ctx, name, r.UserID, nil); err != nil {
		done.Warnings = append(done.Warnings, "the key was rotated, but the role's last_rotation could not be stored")
	}
	return done, nil
}

// rotateDue rotates the role's key if its time has come.
func (e *Engine) rotateDue(ctx context.Context, name string) error {
	r, err := e.ReadRole(ctx, name)
	if err != nil {
		return err
	}
	now := e.Clock.Now()
	if r.Rotation.missed(r.Schedule, now) {
		return e.changeRole(ctx, name, e.replanned)
	}
	if !r.Rotation.due(r.Schedule, now) {
		e.agenda.roles.unread(name)
		return nil
	}
	_, failed := e.replaceKey(ctx, r.UserID, func(fingerprint string) (bool, error) {
		return e.markRotating(ctx, name, r, fingerprint)
	})
	if errors.Is(failed, errRoleChanged) || errors.Is(failed, ErrTainted) {
		return failed
	}
	if err := e.noteRotation(ctx, name, r.UserID, failed); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// markRotating stores which key is about to be replaced, before it is. Where an
// earlier try at this same rotation has stored another, that one was replaced since:
// once is enough.
func (e *Engine) markRotating(ctx context.Context, name string, r Role, fingerprint string) (replace bool, err error) {
	err = e.changeRole(ctx, name, func(old *Role) (Role, error) {
		if old == nil || old.UserID != r.UserID || old.Rotation != r.Rotation {
			return Role{}, errRoleChanged
		}
		begun := old.Rotating.Due.Equal(old.Rotation.Next) && old.Rotating.Fingerprint != ""
		if begun && !isFingerprintOf(old.Rotating.Fingerprint, fingerprint) {
			return *old, nil
		}
		replace = true
		old.Rotating = Rotating{Fingerprint: fingerprint, Due: old.Rotation.Next}
		return *old, nil
	})
	return replace && err == nil, err
}

// noteRotation stores how a rotation of the role's key went, unless the role is
// another by now. A client that hung up does not keep it from being stored.
func (e *Engine) noteRotation(ctx context.Context, name string, userID int32, failed error) error {
	err := e.changeRole(context.WithoutCancel(ctx), name, func(old *Role) (Role, error) {
		if old == nil || old.UserID != userID {
			return Role{}, errRoleChanged
		}
		if failed != nil {
			old.Rotation = old.Rotation.failed(describe(failed), e.Clock.Now())
			return *old, nil
		}
		old.Rotating = Rotating{}
		old.Rotation = old.Rotation.succeeded(old.Schedule, e.Clock.Now(), e.fraction())
		return *old, nil
	})
	if errors.Is(err, errRoleChanged) {
		return nil
	}
	if err != nil {
		e.Logger.Error("how a role's rotation went could not be stored", "role", name, "error", err)
	}
	return err
}

// replanned is a role whose rotation missed its window: it waits for the next.
func (e *Engine) replanned(old *Role) (Role, error) {
	if old == nil || !old.Rotation.missed(old.Schedule, e.Clock.Now()) {
		return Role{}, errRoleChanged
	}
	e.Logger.Warn("a rotation missed its window", "user_id", old.UserID, "was_due", old.Rotation.Next)
	old.Rotating = Rotating{}
	old.Rotation = old.Rotation.plan(old.Schedule, e.Clock.Now(), e.fraction())
	return *old, nil
}
