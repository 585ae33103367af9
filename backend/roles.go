// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
)

// Role is a team's name for one user's key, with its own lease and rotation rules.
type Role struct {
	UserID         int32         `json:"user_id"`
	Description    string        `json:"description,omitempty"`
	TTL            time.Duration `json:"ttl,omitempty"`     // 0: the config's
	MaxTTL         time.Duration `json:"max_ttl,omitempty"` // 0: the config's
	RotateOnRevoke bool          `json:"rotate_on_revoke,omitempty"`
	Schedule       Schedule      `json:"schedule,omitzero"`
	Rotation       Rotation      `json:"rotation,omitzero"`
	Since          time.Time     `json:"since,omitzero"` // when it got its user

	Rotating Rotating `json:"rotating,omitzero"`
}

// Rotating is a scheduled rotation that has begun. After a crash it tells whether the
// key was replaced.
type Rotating struct {
	Fingerprint string    `json:"fingerprint,omitempty"` // of the key to replace
	Due         time.Time `json:"due,omitzero"`          // Rotation.Next at that time
}

// rotates reports whether the engine replaces the user's key because of this role.
func (r Role) rotates() bool { return r.RotateOnRevoke || !r.Schedule.IsZero() }

// RolePatch is a write to a role. A nil field is left unchanged.
type RolePatch struct {
	UserID         *int32
	Description    *string
	TTL, MaxTTL    *time.Duration
	RotateOnRevoke *bool
	Schedule       SchedulePatch
}

func (p RolePatch) apply(old *Role, now time.Time, fraction float64) (Role, error) {
	var r Role
	if old != nil {
		r = *old
	}
	set(&r.UserID, p.UserID)
	set(&r.Description, p.Description)
	set(&r.TTL, p.TTL)
	set(&r.MaxTTL, p.MaxTTL)
	set(&r.RotateOnRevoke, p.RotateOnRevoke)
	if r.UserID == 0 {
		return r, Invalid("user_id is missing: send the UserID of the ECGrid user whose key the role returns")
	}
	if err := validateTTLs(r.TTL, r.MaxTTL); err != nil {
		return r, err
	}
	schedule, err := p.Schedule.apply(r.Schedule)
	if err != nil {
		return r, err
	}
	otherUser := old != nil && old.UserID != r.UserID
	if otherUser {
		r.Rotation = Rotation{}
	}
	if otherUser || r.Since.IsZero() { // also in a role of a build without it
		r.Since = now.UTC()
	}
	if schedule != r.Schedule || otherUser {
		r.Schedule, r.Rotating = schedule, Rotating{}
		r.Rotation = r.Rotation.reschedule(schedule, now, fraction)
	}
	return r, nil
}

// roles stores roles and rotates their users' keys.
type roles struct {
	*connections
	rotator *keyRotator
	lock    *semaphore.Weighted // held while a role is read and written, never during a call to ECGrid
}

// ReadRole returns the role, or ErrRoleNotFound.
func (r *roles) ReadRole(ctx context.Context, name string) (Role, error) {
	role, err := r.store.role(ctx, name)
	if err == nil {
		err = mustExist(name, role)
	}
	if err != nil {
		return Role{}, err
	}
	return *role, nil
}

func mustExist(name string, role *Role) error {
	if role == nil {
		return fmt.Errorf("role %q: %w", name, ErrRoleNotFound)
	}
	return nil
}

// ListRoles returns the names of all roles.
func (r *roles) ListRoles(ctx context.Context) ([]string, error) { return r.store.roleNames(ctx) }

// WriteRole applies a patch. It does not check that the user exists: ECGrid says so when
// the key is read. It asks ECGrid only if the role rotates, since that might replace the
// config's own api_key.
func (r *roles) WriteRole(ctx context.Context, name string, patch RolePatch) error {
	return r.write(ctx, name, patch, func(string, *Role) error { return nil })
}

// PatchRole is WriteRole for a role that exists.
func (r *roles) PatchRole(ctx context.Context, name string, patch RolePatch) error {
	return r.write(ctx, name, patch, mustExist)
}

// errCheckUser: ECGrid has to be asked about the user before the lock is taken.
var errCheckUser = errors.New("the user has to be checked first")

// write asks ECGrid without the lock, and again if the role was given another user
// meanwhile.
func (r *roles) write(ctx context.Context, name string, patch RolePatch, check func(string, *Role) error) error {
	var checked, user int32
	for {
		kind := EventRoleUpdated
		err := r.changeThen(ctx, name, func(old *Role) (Role, error) {
			if err := check(name, old); err != nil {
				return Role{}, err
			}
			if old == nil {
				kind = EventRoleCreated
			}
			role, err := patch.apply(old, r.Clock.Now(), r.fraction())
			if err == nil && role.rotates() && role.UserID != checked {
				user, err = role.UserID, errCheckUser
			}
			return role, err
		}, func(role Role) { r.sendEvent(Event{Kind: kind, Role: name, UserID: role.UserID}) })
		if !errors.Is(err, errCheckUser) {
			return err
		}
		if err := r.refuseOwnUser(ctx, user); err != nil {
			return err
		}
		checked = user
	}
}

// DeleteRole deletes a role. Its leases can still be revoked. Those issued with
// rotate_on_revoke still replace the key.
func (r *roles) DeleteRole(ctx context.Context, name string) error {
	if err := r.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.lock.Release(1)
	old, unreadable := r.store.role(ctx, name)
	if err := r.store.deleteRole(ctx, name); err != nil {
		return err
	}
	switch {
	case old != nil:
		r.sendEvent(Event{Kind: EventRoleDeleted, Role: name, UserID: old.UserID})
	case unreadable != nil:
		r.sendEvent(Event{Kind: EventRoleDeleted, Role: name})
	}
	return nil
}

// change reads, changes and stores a role under the lock. The change must not call
// ECGrid.
func (r *roles) change(ctx context.Context, name string, change func(*Role) (Role, error)) error {
	return r.changeThen(ctx, name, change, func(Role) {})
}

// changeThen is change, and calls stored before it releases the lock.
func (r *roles) changeThen(ctx context.Context, name string, change func(*Role) (Role, error), stored func(Role)) error {
	if err := r.lock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.lock.Release(1)
	old, err := r.store.role(ctx, name)
	if err != nil {
		return err
	}
	changed, err := change(old)
	if err != nil {
		return err
	}
	if err := r.store.putRole(ctx, name, changed); err != nil {
		return err
	}
	stored(changed)
	return nil
}
