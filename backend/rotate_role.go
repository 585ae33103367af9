// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
)

// RotateRole replaces the key of the role's user. The schedule of the role counts from
// then on.
func (r *roles) RotateRole(ctx context.Context, name string) (KeyRotation, error) {
	role, err := r.ReadRole(ctx, name)
	if err != nil {
		return KeyRotation{}, err
	}
	event := Event{Kind: EventKeyRotation, Role: name, UserID: role.UserID, Reason: ReasonManual}
	done, err := r.rotator.replaceIf(ctx, role.UserID, always)
	if err != nil {
		r.rotationEnded(event, err)
		return KeyRotation{}, err
	}
	if err := r.recordRotation(ctx, name, role.UserID, nil); err != nil {
		done.Warnings = append(done.Warnings, "the key was rotated, but the role's last_rotation could not be stored")
	}
	r.rotationEnded(event, nil)
	return done, nil
}

// rotateAllDue rotates the keys of all roles whose rotation is due.
func (r *roles) rotateAllDue(ctx context.Context) error {
	due := r.store.agenda.roles
	err := due.load(ctx, r.store.roleNames, r.store.roleWakeTime)
	due.each(ctx, r.Clock.Now(), func(ctx context.Context, name string) error {
		failed := r.rotateDue(ctx, name)
		if meaningOf(failed).skipped {
			due.reload(name)
			return nil
		}
		if failed != nil {
			r.Logger.Warn("a scheduled rotation did not succeed", "role", name, "error", failed)
		}
		return failed
	})
	return err
}

// rotateDue rotates the key of the role if it is due.
func (r *roles) rotateDue(ctx context.Context, name string) error {
	role, err := r.ReadRole(ctx, name)
	if err != nil {
		return err
	}
	now := r.Clock.Now()
	if role.Rotation.isMissed(role.Schedule, now) {
		return r.change(ctx, name, r.skipMissed)
	}
	if !role.Rotation.isDue(role.Schedule, now) {
		r.store.agenda.roles.reload(name)
		return nil
	}
	_, failed := r.rotator.replaceIf(ctx, role.UserID, func(fingerprint string) (bool, error) {
		return r.recordBegin(ctx, name, role, fingerprint)
	})
	if meaningOf(failed).skipped {
		return failed
	}
	err = errors.Join(failed, r.recordRotation(ctx, name, role.UserID, failed))
	r.rotationEnded(Event{Kind: EventKeyRotation, Role: name, UserID: role.UserID, Reason: ReasonSchedule, Modified: failed == nil}, err)
	return err
}

// recordBegin stores which key is about to be replaced. If an earlier try at the same
// rotation recorded another key, that one was replaced already and nothing is replaced.
func (r *roles) recordBegin(ctx context.Context, name string, was Role, fingerprint string) (replace bool, err error) {
	err = r.change(ctx, name, func(old *Role) (Role, error) {
		if old == nil || old.UserID != was.UserID || old.Rotation != was.Rotation {
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

// recordRotation stores the result of a rotation, even if the request was canceled. It
// does nothing if the role has another user by now.
func (r *roles) recordRotation(ctx context.Context, name string, userID int32, failed error) error {
	err := r.change(context.WithoutCancel(ctx), name, func(old *Role) (Role, error) {
		switch {
		case old == nil || old.UserID != userID:
			return Role{}, errRoleChanged
		case failed != nil:
			old.Rotation = old.Rotation.endedBy(failed, r.Clock.Now())
			return *old, nil
		}
		old.Rotating = Rotating{}
		old.Rotation = old.Rotation.succeeded(old.Schedule, r.Clock.Now(), r.fraction())
		return *old, nil
	})
	if errors.Is(err, errRoleChanged) {
		return nil
	}
	if err != nil {
		r.Logger.Error("the result of a role's rotation could not be stored", "role", name, "error", err)
	}
	return err
}

// skipMissed schedules the next rotation of a role that missed its window.
func (r *roles) skipMissed(old *Role) (Role, error) {
	if old == nil || !old.Rotation.isMissed(old.Schedule, r.Clock.Now()) {
		return Role{}, errRoleChanged
	}
	r.Logger.Warn("a rotation missed its window", "user_id", old.UserID, "was_due", old.Rotation.Next)
	old.Rotating = Rotating{}
	old.Rotation = old.Rotation.plan(old.Schedule, r.Clock.Now(), r.fraction())
	return *old, nil
}
