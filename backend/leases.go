package backend

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgridapi"
)

// Lease is what is remembered with a leased key. It identifies the key without
// holding it.
type Lease struct {
	ID          string // of our own: Vault does not show a plugin its lease ID
	UserID      int32
	Fingerprint string
	TTL         time.Duration // asked for by the read; 0 where it asked for none
}

// Issued is a key to hand out and the terms to lease it on.
type Issued struct {
	APIKey string
	Lease  Lease
	Terms  Terms
}

// Terms are how long a lease runs. 0 is the mount's own figure; Vault caps both
// at the mount's maximum.
type Terms struct {
	TTL      time.Duration
	MaxTTL   time.Duration
	Warnings []string
}

// terms gives those of a lease under c for which a request asked ttl, 0 for none.
func (c Config) terms(ttl time.Duration) Terms {
	t := Terms{TTL: c.TTL, MaxTTL: c.MaxTTL}
	if ttl > 0 {
		t.TTL = ttl
	}
	if t.MaxTTL > 0 && t.TTL > t.MaxTTL {
		t.Warnings = append(t.Warnings, fmt.Sprintf("ttl %s is above the configured max_ttl; the lease runs for %s", t.TTL, t.MaxTTL))
		t.TTL = t.MaxTTL
	}
	return t
}

// IssueKey reads the user's key for a lease; ttl is what the request asked for, 0
// for none.
func (e *Engine) IssueKey(ctx context.Context, storage logical.Storage, userID int32, ttl time.Duration) (Issued, error) {
	var issued Issued
	err := e.withAccount(ctx, storage, func(a *account) error {
		key, err := a.keys.get(ctx, userID)
		if err != nil {
			return err
		}
		issued.APIKey, issued.Terms = key, a.config.terms(ttl)
		return nil
	})
	if err != nil {
		return Issued{}, err
	}
	fingerprint, err := e.fingerprint(ctx, storage, issued.APIKey)
	if err != nil {
		return Issued{}, err
	}
	id, err := e.newLeaseID()
	if err != nil {
		return Issued{}, err
	}
	issued.Lease = Lease{ID: id, UserID: userID, Fingerprint: fingerprint, TTL: ttl}
	return issued, nil
}

func (e *Engine) newLeaseID() (string, error) {
	id := make([]byte, 16)
	if _, err := io.ReadFull(e.Random, id); err != nil {
		return "", fmt.Errorf("making a lease ID: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// RenewLease gives the terms to go on with, if the leased key is still the user's
// key. Only a definite answer refuses: where ECGrid gives none, the application
// keeps the key it has, and a warning says why.
func (e *Engine) RenewLease(ctx context.Context, storage logical.Storage, lease Lease) (Terms, error) {
	var terms Terms
	err := e.withAccount(ctx, storage, func(a *account) error {
		terms = a.config.terms(lease.TTL)
		key, err := a.keys.fetch(ctx, lease.UserID)
		if err != nil {
			return err
		}
		fingerprint, err := e.fingerprint(ctx, storage, key)
		if err != nil {
			return err
		}
		if !isFingerprintOf(fingerprint, lease.Fingerprint) {
			return fmt.Errorf("user %d: %w", lease.UserID, ErrKeyReplaced)
		}
		return nil
	})
	if err == nil {
		return terms, nil
	}
	if isAny(err, definite) {
		return Terms{}, err
	}
	_, message, known := Describe(err)
	if !known {
		e.Logger.Error("a lease was renewed unchecked", "user_id", lease.UserID, "error", err)
		message = "internal error, see Vault's log"
	}
	terms.Warnings = append(terms.Warnings, "renewed without asking ECGrid whether the key is still valid: "+message)
	return terms, nil
}

// definite are the answers that say that the leased key is of no use any more.
var definite = []error{
	ErrKeyReplaced,
	ErrNoKey,
	ecgridapi.ErrNotFound,
	ecgridapi.ErrAccessDenied,
	ecgridapi.ErrAuthentication,
}

// RevokeLease ends a lease. ECGrid has no operation that takes a key back from one
// holder, so the key itself lives on.
func (e *Engine) RevokeLease(context.Context, logical.Storage, Lease) error {
	return nil
}
