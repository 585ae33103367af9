package backend

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// RotateRole replaces the key of the role's user; the role's schedule counts from
// then on.
func (e *Engine) RotateRole(ctx context.Context, storage logical.Storage, name string) (KeyRotation, error) {
	r, err := e.role(ctx, storage, name)
	if err != nil {
		return KeyRotation{}, err
	}
	unlock, err := e.users.lock(ctx, r.UserID)
	if err != nil {
		return KeyRotation{}, err
	}
	defer unlock()
	done, err := e.replaceKey(ctx, storage, r.UserID, always)
	if err != nil {
		return KeyRotation{}, err
	}
	if err := e.noteRotation(ctx, storage, name, r.UserID, nil); err != nil {
		done.Warnings = append(done.Warnings, "the key was rotated, but the role's last_rotation could not be stored")
	}
	return done, nil
}

// rotateDue rotates the role's key if its time has come.
func (e *Engine) rotateDue(ctx context.Context, storage logical.Storage, name string) error {
	r, err := e.role(ctx, storage, name)
	if err != nil {
		return err
	}
	now := e.Clock.Now()
	if r.Rotation.missed(r.Schedule, now) {
		return e.changeRole(ctx, storage, name, func(old *Role) (Role, error) {
			return e.replanned(old)
		})
	}
	if !r.Rotation.due(r.Schedule, now) {
		return nil
	}
	unlock, err := e.users.lock(ctx, r.UserID)
	if err != nil {
		return err
	}
	defer unlock()
	_, failed := e.replaceKey(ctx, storage, r.UserID, func(fingerprint string) (bool, error) {
		return e.markRotating(ctx, storage, name, r, fingerprint)
	})
	if errors.Is(failed, errRoleChanged) {
		return failed
	}
	if err := e.noteRotation(ctx, storage, name, r.UserID, failed); err != nil {
		return errors.Join(failed, err)
	}
	return failed
}

// markRotating stores which key is about to be replaced, before it is. Where an
// earlier try has stored another, that one did replace it and died: once is enough.
func (e *Engine) markRotating(ctx context.Context, storage logical.Storage, name string, r Role, fingerprint string) (replace bool, err error) {
	if r.Rotating != "" && !isFingerprintOf(r.Rotating, fingerprint) {
		return false, nil
	}
	err = e.changeRole(ctx, storage, name, func(old *Role) (Role, error) {
		if old == nil || old.UserID != r.UserID || old.Rotation != r.Rotation {
			return Role{}, errRoleChanged
		}
		old.Rotating = fingerprint
		return *old, nil
	})
	return err == nil, err
}

// errRoleChanged: the role was deleted, given another user or rotated meanwhile.
var errRoleChanged = errors.New("the role was changed meanwhile")

// noteRotation stores how a rotation of the role's key went, unless the role is
// another by now. A client that hung up does not keep it from being stored.
func (e *Engine) noteRotation(ctx context.Context, storage logical.Storage, name string, userID int32, failed error) error {
	err := e.changeRole(context.WithoutCancel(ctx), storage, name, func(old *Role) (Role, error) {
		if old == nil || old.UserID != userID {
			return Role{}, errRoleChanged
		}
		if failed != nil {
			old.Rotation = old.Rotation.failed(describe(failed), e.Clock.Now())
			return *old, nil
		}
		old.Rotating = ""
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

func (e *Engine) replanned(old *Role) (Role, error) {
	if old == nil {
		return Role{}, errRoleChanged
	}
	e.Logger.Warn("a rotation missed its window", "user_id", old.UserID, "was_due", old.Rotation.Next)
	old.Rotation = old.Rotation.plan(old.Schedule, e.Clock.Now(), e.fraction())
	return *old, nil
}

// hopeless are the failures that the next role would meet too.
var hopeless = []error{
	ErrLoginRefused, ErrLoginPaused, ErrNotConfigured, ErrClosed,
	ecgrid.ErrUnreachable, ecgrid.ErrTimeout,
	context.Canceled, context.DeadlineExceeded,
}
