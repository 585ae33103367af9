// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"time"
)

// Renewal is what Vault says about a lease that is to be renewed.
type Renewal struct {
	Issued    time.Time
	Increment time.Duration // what the client asks for; 0 for nothing
	Was       Terms         // the terms so far
}

// RenewLease returns the new terms of a lease if the leased key is still the user's key.
// Only a definite answer refuses the renewal. If ECGrid gives none, the application keeps
// its key and a warning says why. Without a config the lease keeps its terms.
func (l *leases) RenewLease(ctx context.Context, lease Lease, renewal Renewal) (Terms, error) {
	r, err := l.roleOf(ctx, lease)
	if err != nil {
		return Terms{}, err
	}
	terms := renewal.Was
	now := l.Clock.Now()
	if c := l.currentConfig(ctx); c != nil {
		terms = c.terms(r, lease.TTL, now, now.Sub(renewal.Issued))
	}
	err = l.checkKey(ctx, lease)
	switch {
	case meaningOf(err).endsLease:
		return Terms{}, err
	case err != nil:
		l.Logger.Warn("a lease was renewed unchecked", "user_id", lease.UserID, "error", err)
		terms.Warnings = append(terms.Warnings, "renewed although ECGrid did not answer whether the key is still valid: "+describe(err))
	}
	if lease.Counted {
		return terms, l.holders.extend(ctx, lease, renewal, terms)
	}
	return terms, nil
}

// currentConfig returns the config in use, else the stored one, else nil.
func (l *leases) currentConfig(ctx context.Context) *Config {
	if current := l.current(); current != nil {
		return &current.config
	}
	c, err := l.store.config(ctx)
	if err != nil {
		l.Logger.Warn("a lease keeps its terms, since the config could not be read", "error", err)
	}
	return c
}

// roleOf returns the role of a lease, or the zero Role for a lease of keys/. A lease is
// not renewed if its role was deleted or has another user now.
func (l *leases) roleOf(ctx context.Context, lease Lease) (Role, error) {
	if lease.Role == "" {
		return Role{}, nil
	}
	r, err := l.roles.ReadRole(ctx, lease.Role)
	if err != nil {
		return Role{}, err
	}
	if r.UserID != lease.UserID {
		return Role{}, fmt.Errorf("role %q has another user now: %w", lease.Role, ErrKeyReplaced)
	}
	return r, nil
}

// checkKey asks ECGrid whether the leased key is still the user's key.
func (l *leases) checkKey(ctx context.Context, lease Lease) error {
	return l.withConnection(ctx, func(current *connection) error {
		key, err := current.keys.fetch(ctx, lease.UserID)
		if err != nil {
			return err
		}
		fingerprint, err := l.store.fingerprint(ctx, key)
		if err != nil {
			return err
		}
		if !isFingerprintOf(fingerprint, lease.Fingerprint) {
			return fmt.Errorf("user %d: %w", lease.UserID, ErrKeyReplaced)
		}
		return nil
	})
}
