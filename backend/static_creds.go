// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"time"
)

const (
	// staticTTL is the TTL of a role's key without a lease if neither role nor config has a
	// ttl. The mount's default, 32 days, would hide a replaced key for as long.
	staticTTL = time.Hour
	// overdueTTL is the TTL while a rotation is due and not done.
	overdueTTL = 10 * time.Second
	// overdueScheduleTTL is that of a schedule. With at most 2 seconds, the Vault Secrets
	// Operator reads again until the key is another one. With more, it waits as long again
	// as after the last rotation.
	overdueScheduleTTL = 2 * time.Second
	// roundTime is how late Vault may call PeriodicFunc, which rotates.
	roundTime = time.Minute
)

// StaticCreds is the key of a role's user without a lease, in the form of Vault's own static
// roles.
type StaticCreds struct {
	APIKey string
	UserID int32
	// LastRotation is when the role last rotated the key, or else when it got its user.
	LastRotation time.Time
	// Schedule is the role's. If it has none, the period is TTL: the Vault Secrets Operator
	// never asks again for a secret without a period.
	Schedule Schedule
	// TTL is when to read again, at least a second.
	TTL time.Duration
}

// staticCreds reads roles' keys without a lease.
type staticCreds struct {
	*connections
	roles *roles
}

// ReadStaticCreds reads the key of the role's user. It refuses a role with RotateOnRevoke.
func (s *staticCreds) ReadStaticCreds(ctx context.Context, name string) (StaticCreds, error) {
	r, err := s.roles.ReadRole(ctx, name)
	if err != nil {
		return StaticCreds{}, err
	}
	if r.RotateOnRevoke {
		return StaticCreds{}, Invalid("role %q has rotate_on_revoke, so the key must have a lease: read creds/%s, or clear rotate_on_revoke", name, name)
	}
	creds := StaticCreds{UserID: r.UserID, LastRotation: r.lastRotation(), Schedule: r.Schedule}
	err = s.withConnection(ctx, func(current *connection) (err error) {
		creds.APIKey, err = current.keys.get(ctx, r.UserID)
		creds.TTL = current.config.staticTTL(r, s.Clock.Now())
		return err
	})
	if err != nil {
		return StaticCreds{}, err
	}
	if r.Rotation.Next.IsZero() { // also with a schedule whose time never comes
		creds.Schedule = Schedule{Period: creds.TTL}
	}
	return creds, nil
}

// lastRotation returns when the role last rotated its user's key, or else when it got its
// user. As with Vault's own static roles, there is always one.
func (r Role) lastRotation() time.Time {
	if r.Rotation.Last.IsZero() {
		return r.Since
	}
	return r.Rotation.Last
}

// staticTTL returns how long a reader of the role's key should wait until it reads again.
func (c Config) staticTTL(r Role, now time.Time) time.Duration {
	interval := cmp.Or(r.TTL, c.TTL, staticTTL)
	if limit := cmp.Or(r.MaxTTL, c.MaxTTL); limit > 0 {
		interval = min(interval, limit)
	}
	wake := r.Rotation.wakeTime(r.Schedule)
	if wake.IsZero() {
		return interval
	}
	left := wake.Sub(now).Truncate(time.Second)
	hasFailed := r.Rotation.hasEndedBadly() && !now.Before(r.Rotation.Next)
	switch isSchedule := r.Schedule.Cron != ""; {
	case isSchedule && (left <= 0 || hasFailed):
		return overdueScheduleTTL
	case isSchedule: // the operator reports an error if this does not fall from read to read
		return left + roundTime
	case left <= 0:
		return min(interval, overdueTTL)
	}
	return min(interval, left)
}
