package backend

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// roleStoragePrefix is where roles are stored, by name.
const roleStoragePrefix = "roles/"

// Role is a team's name for one user's key, with its own lease and rotation rules.
type Role struct {
	UserID         int32         `json:"user_id"`
	Description    string        `json:"description,omitempty"`
	TTL            time.Duration `json:"ttl,omitempty"`     // 0 is the config's
	MaxTTL         time.Duration `json:"max_ttl,omitempty"` // 0 is the config's
	RotateOnRevoke bool          `json:"rotate_on_revoke,omitempty"`
	Schedule       Schedule      `json:"schedule,omitzero"`
	Rotation       Rotation      `json:"rotation,omitzero"`

	// Rotating is the fingerprint of the key that a scheduled rotation is about to
	// replace: after a crash it tells whether that was done.
	Rotating string `json:"rotating,omitempty"`
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
		r.Rotation, r.Rotating = Rotation{}, ""
	}
	if schedule != r.Schedule || otherUser {
		r.Schedule = schedule
		r.Rotation = r.Rotation.replan(schedule, now, fraction)
	}
	return r, nil
}

// ReadRole gives the role, or nil where there is none.
func (e *Engine) ReadRole(ctx context.Context, storage logical.Storage, name string) (*Role, error) {
	entry, err := storage.Get(ctx, roleStoragePrefix+name)
	if err != nil {
		return nil, fmt.Errorf("reading role %q from storage: %w", name, err)
	}
	if entry == nil {
		return nil, nil
	}
	r := new(Role)
	if err := entry.DecodeJSON(r); err != nil {
		return nil, fmt.Errorf("decoding the stored role %q: %w", name, err)
	}
	return r, nil
}

// role is ReadRole where the role has to be.
func (e *Engine) role(ctx context.Context, storage logical.Storage, name string) (Role, error) {
	r, err := e.ReadRole(ctx, storage, name)
	if err != nil {
		return Role{}, err
	}
	if r == nil {
		return Role{}, fmt.Errorf("role %q: %w", name, ErrRoleNotFound)
	}
	return *r, nil
}

// ListRoles gives the names of all roles.
func (e *Engine) ListRoles(ctx context.Context, storage logical.Storage) ([]string, error) {
	names, err := storage.List(ctx, roleStoragePrefix)
	if err != nil {
		return nil, fmt.Errorf("listing the roles in storage: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// WriteRole applies a patch. Whether the user exists is ECGrid's to say, when a
// key is read; ECGrid is asked only where a role that rotates could hit the
// config's own api_key.
func (e *Engine) WriteRole(ctx context.Context, storage logical.Storage, name string, patch RolePatch) error {
	return e.changeRole(ctx, storage, name, func(old *Role) (Role, error) {
		r, err := patch.apply(old, e.Clock.Now(), e.fraction())
		if err != nil || !r.rotates() {
			return r, err
		}
		return r, e.refuseOwnUser(ctx, storage, r.UserID)
	})
}

// DeleteRole deletes a role. Its leases can still be revoked, and rotate on
// revoke if they were issued so.
func (e *Engine) DeleteRole(ctx context.Context, storage logical.Storage, name string) error {
	if err := e.rolesLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.rolesLock.Release(1)
	if err := storage.Delete(ctx, roleStoragePrefix+name); err != nil {
		return fmt.Errorf("deleting role %q from storage: %w", name, err)
	}
	return nil
}

// changeRole reads, changes and stores a role under the roles' lock.
func (e *Engine) changeRole(ctx context.Context, storage logical.Storage, name string, change func(*Role) (Role, error)) error {
	if err := e.rolesLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.rolesLock.Release(1)
	old, err := e.ReadRole(ctx, storage, name)
	if err != nil {
		return err
	}
	r, err := change(old)
	if err != nil {
		return err
	}
	entry, err := logical.StorageEntryJSON(roleStoragePrefix+name, r)
	if err != nil {
		return fmt.Errorf("encoding role %q: %w", name, err)
	}
	if err := storage.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing role %q: %w", name, err)
	}
	return nil
}
