package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Role is a team's name for one user's key, with its own lease and rotation rules.
type Role struct {
	UserID         int32         `json:"user_id"`
	Description    string        `json:"description,omitempty"`
	TTL            time.Duration `json:"ttl,omitempty"`     // 0 is the config's
	MaxTTL         time.Duration `json:"max_ttl,omitempty"` // 0 is the config's
	RotateOnRevoke bool          `json:"rotate_on_revoke,omitempty"`
	Schedule       Schedule      `json:"schedule,omitzero"`
	Rotation       Rotation      `json:"rotation,omitzero"`

	Rotating Rotating `json:"rotating,omitzero"`
}

// Rotating is a scheduled rotation that was begun: after a crash it tells whether
// that was done.
type Rotating struct {
	Fingerprint string    `json:"fingerprint,omitempty"` // of the key that was to be replaced
	Due         time.Time `json:"due,omitzero"`          // which rotation it is: Rotation.Next of then
}

// rotates tells whether the role makes the engine replace its user's key.
func (r Role) rotates() bool { return r.RotateOnRevoke || !r.Schedule.IsZero() }

// RolePatch is what a write to a role says; nil was omitted and stays.
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
		return r, Invalid("user_id is missing: send the UserID of the ECGrid user whose key the role gives out")
	}
	if r.MaxTTL > 0 && r.TTL > r.MaxTTL {
		return r, Invalid("ttl (%s) is above max_ttl (%s): lower ttl or raise max_ttl", r.TTL, r.MaxTTL)
	}
	schedule, err := p.Schedule.apply(r.Schedule)
	if err != nil {
		return r, err
	}
	otherUser := old != nil && old.UserID != r.UserID
	if otherUser {
		r.Rotation = Rotation{}
	}
	if schedule != r.Schedule || otherUser {
		r.Schedule, r.Rotating = schedule, Rotating{}
		r.Rotation = r.Rotation.replan(schedule, now, fraction)
	}
	return r, nil
}

// ReadRole gives the role, or ErrRoleNotFound.
func (e *Engine) ReadRole(ctx context.Context, name string) (Role, error) {
	r, err := e.store.role(ctx, name)
	if err != nil {
		return Role{}, err
	}
	if r == nil {
		return Role{}, fmt.Errorf("role %q: %w", name, ErrRoleNotFound)
	}
	return *r, nil
}

// ListRoles gives the names of all roles.
func (e *Engine) ListRoles(ctx context.Context) ([]string, error) { return e.store.roleNames(ctx) }

// WriteRole applies a patch. Whether the user exists is ECGrid's to say, when a
// key is read; ECGrid is asked only where a role that rotates could hit the
// config's own api_key.
func (e *Engine) WriteRole(ctx context.Context, name string, patch RolePatch) error {
	return e.writeRole(ctx, name, patch, func(*Role) error { return nil })
}

// PatchRole is WriteRole of a role that is there.
func (e *Engine) PatchRole(ctx context.Context, name string, patch RolePatch) error {
	return e.writeRole(ctx, name, patch, func(old *Role) error {
		if old == nil {
			return fmt.Errorf("role %q: %w", name, ErrRoleNotFound)
		}
		return nil
	})
}

// writeRole asks ECGrid before it takes the lock, and again where the role has
// become another meanwhile.
func (e *Engine) writeRole(ctx context.Context, name string, patch RolePatch, allow func(old *Role) error) error {
	var asked int32
	for {
		var ask int32
		err := e.changeRole(ctx, name, func(old *Role) (Role, error) {
			if err := allow(old); err != nil {
				return Role{}, err
			}
			r, err := patch.apply(old, e.Clock.Now(), e.fraction())
			if err == nil && r.rotates() && r.UserID != asked {
				ask, err = r.UserID, errAskFirst
			}
			return r, err
		})
		if !errors.Is(err, errAskFirst) {
			return err
		}
		if err := e.refuseOwnUser(ctx, ask); err != nil {
			return err
		}
		asked = ask
	}
}

// errAskFirst: it is to be asked about that user, and not under the lock.
var errAskFirst = errors.New("ECGrid has to be asked first")

// DeleteRole deletes a role. Its leases can still be revoked, and rotate on
// revoke if they were issued so.
func (e *Engine) DeleteRole(ctx context.Context, name string) error {
	if err := e.rolesLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.rolesLock.Release(1)
	return e.store.deleteRole(ctx, name)
}

// changeRole reads, changes and stores a role under the roles' lock. Change must not
// call ECGrid.
func (e *Engine) changeRole(ctx context.Context, name string, change func(*Role) (Role, error)) error {
	if err := e.rolesLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.rolesLock.Release(1)
	old, err := e.store.role(ctx, name)
	if err != nil {
		return err
	}
	r, err := change(old)
	if err != nil {
		return err
	}
	return e.store.putRole(ctx, name, r)
}
