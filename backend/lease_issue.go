// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// Lease is what is remembered with a leased key. It identifies the key without
// containing it.
type Lease struct {
	ID          string // our own: Vault does not show its lease ID to a plugin
	UserID      int32
	Fingerprint string
	TTL         time.Duration // asked for by the read; 0 if it asked for none
	Role        string        // "" for a lease of keys/
	Counted     bool          // the key is replaced when its last such lease ends
}

// leases issues, renews and revokes leases.
type leases struct {
	*connections
	rotator *keyRotator
	roles   *roles
	holders *holders
}

// Issued is a key to return and its lease.
type Issued struct {
	APIKey string
	Lease  Lease
	Terms  Terms
}

// IssueKey reads the user's key for a lease. TTL is what the request asked for, 0 for
// nothing.
func (l *leases) IssueKey(ctx context.Context, userID int32, ttl time.Duration) (Issued, error) {
	return l.issue(ctx, Role{}, Lease{UserID: userID, TTL: ttl}, (*keys).get)
}

// IssueCreds reads the key of the role's user for a lease under the role's rules.
func (l *leases) IssueCreds(ctx context.Context, name string, ttl time.Duration) (Issued, error) {
	r, err := l.roles.ReadRole(ctx, name)
	if err != nil {
		return Issued{}, err
	}
	lease := Lease{UserID: r.UserID, TTL: ttl, Role: name, Counted: r.RotateOnRevoke}
	if !lease.Counted {
		return l.issue(ctx, r, lease, (*keys).get)
	}
	if err := l.refuseOwnUser(ctx, r.UserID); err != nil {
		return Issued{}, err
	}
	return l.issueCounted(ctx, r, lease)
}

// issueCounted records the lease as a holder of the key. If the key was replaced while
// it was read, it is read again.
func (l *leases) issueCounted(ctx context.Context, r Role, lease Lease) (Issued, error) {
	for {
		g, err := l.users.awaitReplacement(ctx, r.UserID)
		if err != nil {
			return Issued{}, err
		}
		issued, err := l.issue(ctx, r, lease, (*keys).fetch) // never from the cache
		if err != nil {
			return Issued{}, err
		}
		saved, err := l.saveHolder(ctx, g, issued)
		if saved || err != nil {
			return issued, err
		}
	}
}

// saveHolder records the lease, unless the user's key was or is being replaced since.
func (l *leases) saveHolder(ctx context.Context, g generation, issued Issued) (saved bool, err error) {
	unlock, err := l.users.lockHolders(ctx, issued.Lease.UserID)
	if err != nil {
		return false, err
	}
	defer unlock()
	if l.users.generation(issued.Lease.UserID) != g {
		return false, nil
	}
	return true, l.holders.save(ctx, issued.Lease, issued.Terms)
}

func (l *leases) issue(ctx context.Context, r Role, lease Lease, read func(*keys, context.Context, int32) (string, error)) (Issued, error) {
	issued := Issued{Lease: lease}
	err := l.withConnection(ctx, func(current *connection) (err error) {
		issued.APIKey, err = read(current.keys, ctx, lease.UserID)
		issued.Terms = current.config.terms(r, lease.TTL, l.Clock.Now(), 0)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	if issued.Lease.Fingerprint, err = l.store.fingerprint(ctx, issued.APIKey); err != nil {
		return Issued{}, err
	}
	if lease.Counted { // the ID is for the record of its holder
		issued.Lease.ID, err = l.newLeaseID()
	}
	return issued, err
}

func (l *leases) newLeaseID() (string, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(l.Random, id); err != nil {
		return "", fmt.Errorf("generating a lease ID: %w", err)
	}
	return hex.EncodeToString(id), nil
}
