package backend

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Lease is what is remembered with a leased key. It identifies the key without
// holding it.
type Lease struct {
	ID          string // of our own: Vault does not show a plugin its lease ID
	UserID      int32
	Fingerprint string
	TTL         time.Duration // asked for by the read; 0 where it asked for none
	Role        string        // "" for one of keys/
	Counted     bool          // the key is replaced when the last such lease ends
}

// Issued is a key to hand out and the terms to lease it on.
type Issued struct {
	APIKey string
	Lease  Lease
	Terms  Terms
}

// Terms are how long a lease runs. 0 is the mount's own figure; Vault caps both
// at the mount's maximum. MaxTTL counts from the issue.
type Terms struct {
	TTL      time.Duration
	MaxTTL   time.Duration
	Warnings []string
}

// terms gives those of a lease for which a request asked ttl, 0 for none, under the
// role, the zero Role where there is none. Issued is how long ago that was.
func (c Config) terms(r Role, asked time.Duration, now time.Time, issued time.Duration) Terms {
	t := Terms{TTL: firstSet(asked, r.TTL, c.TTL), MaxTTL: firstSet(r.MaxTTL, c.MaxTTL)}
	if t.MaxTTL > 0 && t.TTL > t.MaxTTL {
		t.Warnings = append(t.Warnings, fmt.Sprintf("ttl %s is above the configured max_ttl; the lease runs for %s", t.TTL, t.MaxTTL))
		t.TTL = t.MaxTTL
	}
	left, ends := r.Rotation.left(now)
	if !ends {
		return t
	}
	if t.TTL > left {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the lease is cut to %s: it ends with the next rotation", left))
		t.TTL = left
	}
	// The maximum alone cuts a TTL of 0: the mount's own may be shorter than left.
	if t.MaxTTL == 0 || t.MaxTTL > issued+left {
		t.MaxTTL = issued + left
	}
	return t
}

// firstSet is the first that is not 0.
func firstSet(durations ...time.Duration) time.Duration {
	for _, d := range durations {
		if d != 0 {
			return d
		}
	}
	return 0
}

// IssueKey reads the user's key for a lease; ttl is what the request asked for, 0
// for none.
func (e *Engine) IssueKey(ctx context.Context, storage logical.Storage, userID int32, ttl time.Duration) (Issued, error) {
	return e.issue(ctx, storage, Role{UserID: userID}, Lease{UserID: userID, TTL: ttl})
}

// IssueCreds reads the key of the role's user for a lease under the role's rules.
func (e *Engine) IssueCreds(ctx context.Context, storage logical.Storage, name string, ttl time.Duration) (Issued, error) {
	r, err := e.role(ctx, storage, name)
	if err != nil {
		return Issued{}, err
	}
	lease := Lease{UserID: r.UserID, TTL: ttl, Role: name, Counted: r.RotateOnRevoke}
	if !lease.Counted {
		return e.issue(ctx, storage, r, lease)
	}
	if err := e.refuseOwnUser(ctx, storage, r.UserID); err != nil {
		return Issued{}, err
	}
	unlock, err := e.users.lock(ctx, r.UserID)
	if err != nil {
		return Issued{}, err
	}
	defer unlock()
	issued, err := e.issue(ctx, storage, r, lease)
	if err != nil {
		return Issued{}, err
	}
	return issued, e.count(ctx, storage, issued)
}

func (e *Engine) issue(ctx context.Context, storage logical.Storage, r Role, lease Lease) (Issued, error) {
	issued := Issued{Lease: lease}
	err := e.withAccount(ctx, storage, func(a *account) (err error) {
		get := a.keys.get
		if lease.Counted {
			get = a.keys.fetch // the count is kept by key: it has to be the one of now
		}
		issued.APIKey, err = get(ctx, r.UserID)
		issued.Terms = a.config.terms(r, lease.TTL, e.Clock.Now(), 0)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	if issued.Lease.Fingerprint, err = e.fingerprint(ctx, storage, issued.APIKey); err != nil {
		return Issued{}, err
	}
	if issued.Lease.ID, err = e.newLeaseID(); err != nil {
		return Issued{}, err
	}
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
// keeps the key it has, and a warning says why. Issued is when the lease began, was
// the terms it has had; where there is no config any more it keeps those.
func (e *Engine) RenewLease(ctx context.Context, storage logical.Storage, lease Lease, issued time.Time, was Terms) (Terms, error) {
	r, err := e.roleOf(ctx, storage, lease)
	if err != nil {
		return Terms{}, err
	}
	terms := was
	if c := e.currentConfig(ctx, storage); c != nil {
		now := e.Clock.Now()
		terms = c.terms(r, lease.TTL, now, now.Sub(issued))
	}
	err = e.stillTheKey(ctx, storage, lease)
	switch {
	case isAny(err, definite):
		return Terms{}, err
	case err != nil:
		e.Logger.Warn("a lease was renewed unchecked", "user_id", lease.UserID, "error", err)
		terms.Warnings = append(terms.Warnings, "renewed without an answer from ECGrid whether the key is still valid: "+describe(err))
	}
	if lease.Counted {
		return terms, e.recount(ctx, storage, lease, issued, terms)
	}
	return terms, nil
}

// currentConfig is the config in use, else the stored one, else nil.
func (e *Engine) currentConfig(ctx context.Context, storage logical.Storage) *Config {
	if a := e.live.Load(); a != nil {
		return &a.config
	}
	c, err := e.ReadConfig(ctx, storage)
	if err != nil {
		e.Logger.Warn("a lease keeps its terms, since the config could not be read", "error", err)
	}
	return c
}

// roleOf is the role of a lease, the zero Role for one of keys/. The lease of a
// role that is gone or has another user now is not renewed.
func (e *Engine) roleOf(ctx context.Context, storage logical.Storage, lease Lease) (Role, error) {
	if lease.Role == "" {
		return Role{}, nil
	}
	r, err := e.role(ctx, storage, lease.Role)
	if err != nil {
		return Role{}, err
	}
	if r.UserID != lease.UserID {
		return Role{}, fmt.Errorf("role %q has another user now: %w", lease.Role, ErrKeyReplaced)
	}
	return r, nil
}

// stillTheKey asks ECGrid whether the leased key is still the user's key.
func (e *Engine) stillTheKey(ctx context.Context, storage logical.Storage, lease Lease) error {
	return e.withAccount(ctx, storage, func(a *account) error {
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
}

// definite are the answers that say that the leased key is of no use any more.
var definite = []error{
	ErrKeyReplaced,
	ErrNoKey,
	ecgrid.ErrNotFound,
	ecgrid.ErrAccessDenied,
	ecgrid.ErrAuthentication,
}

// RevokeLease ends a lease. ECGrid cannot take a key back from one holder: it lives
// on, unless this was the last counted lease of it; then it is replaced. While the
// mount is being removed nothing is: that must not be held up.
func (e *Engine) RevokeLease(ctx context.Context, storage logical.Storage, lease Lease) error {
	if !lease.Counted {
		return nil
	}
	unlock, err := e.users.lock(ctx, lease.UserID)
	if err != nil {
		return err
	}
	defer unlock()
	ctx = context.WithoutCancel(ctx)
	last, err := e.isLast(ctx, storage, lease)
	if err != nil {
		return err
	}
	if last && !e.Tainted() {
		if err := e.endKey(ctx, storage, lease); err != nil {
			return err
		}
	}
	// Only now: until the key is dead, Vault's next try has to find the lease.
	return e.uncount(ctx, storage, lease)
}

// endKey replaces the leased key if it is still the user's key. What cannot be
// replaced any more does not keep a lease from ending.
func (e *Engine) endKey(ctx context.Context, storage logical.Storage, lease Lease) error {
	_, err := e.replaceKey(ctx, storage, lease.UserID, func(fingerprint string) (bool, error) {
		return isFingerprintOf(fingerprint, lease.Fingerprint), nil
	})
	switch {
	case errors.Is(err, ecgrid.ErrNotFound):
		return nil
	case errors.Is(err, ErrNotConfigured), errors.Is(err, ErrOwnKey):
		e.Logger.Error("the last lease of a key ended and the key lives on", "user_id", lease.UserID, "error", err)
		return nil
	}
	return err
}
