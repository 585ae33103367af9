package backend

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

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
func (e *Engine) IssueKey(ctx context.Context, userID int32, ttl time.Duration) (Issued, error) {
	return e.issue(ctx, Role{UserID: userID}, Lease{UserID: userID, TTL: ttl}, (*keys).get)
}

// IssueCreds reads the key of the role's user for a lease under the role's rules.
func (e *Engine) IssueCreds(ctx context.Context, name string, ttl time.Duration) (Issued, error) {
	r, err := e.ReadRole(ctx, name)
	if err != nil {
		return Issued{}, err
	}
	lease := Lease{UserID: r.UserID, TTL: ttl, Role: name, Counted: r.RotateOnRevoke}
	if !lease.Counted {
		return e.issue(ctx, r, lease, (*keys).get)
	}
	if err := e.refuseOwnUser(ctx, r.UserID); err != nil {
		return Issued{}, err
	}
	return e.issueCounted(ctx, r, lease)
}

// issueCounted counts the lease of a key that is the user's at that moment: where it
// was replaced while it was read, it is read again.
func (e *Engine) issueCounted(ctx context.Context, r Role, lease Lease) (Issued, error) {
	for {
		generation, err := e.users.settled(ctx, r.UserID)
		if err != nil {
			return Issued{}, err
		}
		issued, err := e.issue(ctx, r, lease, (*keys).fetch) // not from memory: the count is kept by key
		if err != nil {
			return Issued{}, err
		}
		counted, err := e.countIn(ctx, generation, issued)
		if counted || err != nil {
			return issued, err
		}
	}
}

// countIn counts the lease, unless the user's key was or is being replaced since.
func (e *Engine) countIn(ctx context.Context, generation int, issued Issued) (counted bool, err error) {
	done, err := e.users.count(ctx, issued.Lease.UserID)
	if err != nil {
		return false, err
	}
	defer done()
	if now, _ := e.users.state(issued.Lease.UserID); now != generation {
		return false, nil
	}
	return true, e.count(ctx, issued)
}

func (e *Engine) issue(ctx context.Context, r Role, lease Lease, read func(*keys, context.Context, int32) (string, error)) (Issued, error) {
	issued := Issued{Lease: lease}
	err := e.withAccount(ctx, func(a *account) (err error) {
		issued.APIKey, err = read(a.keys, ctx, r.UserID)
		issued.Terms = a.config.terms(r, lease.TTL, e.Clock.Now(), 0)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	if issued.Lease.Fingerprint, err = e.store.fingerprint(ctx, issued.APIKey); err != nil {
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

// Renewal is what Vault says of a lease that is to be renewed.
type Renewal struct {
	Issued    time.Time
	Increment time.Duration // what the client asks for; 0 for nothing
	Was       Terms         // the terms it has had
}

// RenewLease gives the terms to go on with, if the leased key is still the user's
// key. Only a definite answer refuses: where ECGrid gives none, the application
// keeps the key it has, and a warning says why. Where there is no config any more
// the lease keeps its terms.
func (e *Engine) RenewLease(ctx context.Context, lease Lease, renewal Renewal) (Terms, error) {
	r, err := e.roleOf(ctx, lease)
	if err != nil {
		return Terms{}, err
	}
	terms := renewal.Was
	now := e.Clock.Now()
	if c := e.currentConfig(ctx); c != nil {
		terms = c.terms(r, lease.TTL, now, now.Sub(renewal.Issued))
	}
	err = e.stillTheKey(ctx, lease)
	switch {
	case meaningOf(err).endsLease:
		return Terms{}, err
	case err != nil:
		e.Logger.Warn("a lease was renewed unchecked", "user_id", lease.UserID, "error", err)
		terms.Warnings = append(terms.Warnings, "renewed without an answer from ECGrid whether the key is still valid: "+describe(err))
	}
	if lease.Counted {
		return terms, e.recount(ctx, lease, e.countsUntil(e.Clock.Now(), renewal.Issued, renewal.Increment, terms))
	}
	return terms, nil
}

// currentConfig is the config in use, else the stored one, else nil.
func (e *Engine) currentConfig(ctx context.Context) *Config {
	if a, _ := e.accounts.now(); a != nil {
		return &a.config
	}
	c, err := e.store.config(ctx)
	if err != nil {
		e.Logger.Warn("a lease keeps its terms, since the config could not be read", "error", err)
	}
	return c
}

// roleOf is the role of a lease, the zero Role for one of keys/. The lease of a
// role that is gone or has another user now is not renewed.
func (e *Engine) roleOf(ctx context.Context, lease Lease) (Role, error) {
	if lease.Role == "" {
		return Role{}, nil
	}
	r, err := e.ReadRole(ctx, lease.Role)
	if err != nil {
		return Role{}, err
	}
	if r.UserID != lease.UserID {
		return Role{}, fmt.Errorf("role %q has another user now: %w", lease.Role, ErrKeyReplaced)
	}
	return r, nil
}

// stillTheKey asks ECGrid whether the leased key is still the user's key.
func (e *Engine) stillTheKey(ctx context.Context, lease Lease) error {
	return e.withAccount(ctx, func(a *account) error {
		key, err := a.keys.fetch(ctx, lease.UserID)
		if err != nil {
			return err
		}
		fingerprint, err := e.store.fingerprint(ctx, key)
		if err != nil {
			return err
		}
		if !isFingerprintOf(fingerprint, lease.Fingerprint) {
			return fmt.Errorf("user %d: %w", lease.UserID, ErrKeyReplaced)
		}
		return nil
	})
}

// RevokeLease ends a lease. ECGrid cannot take a key back from one holder: it lives
// on, unless this was the last counted lease of it; then it is replaced, and until
// that is done Vault's next try has to find the lease counted. While the mount is
// being removed or moved nothing is replaced: that must not be held up.
func (e *Engine) RevokeLease(ctx context.Context, lease Lease) error {
	if !lease.Counted {
		return nil
	}
	last, err := e.uncount(ctx, lease)
	if err != nil || !last {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if e.Tainted() {
		return e.postpone(ctx, lease)
	}
	if err := e.endKey(ctx, lease); err != nil {
		return err
	}
	return e.store.deleteCount(ctx, lease)
}

// endKey replaces the leased key if it is still the user's key. What cannot be
// replaced any more does not keep a lease from ending.
func (e *Engine) endKey(ctx context.Context, lease Lease) error {
	_, err := e.replaceKey(ctx, lease.UserID, func(fingerprint string) (bool, error) {
		if !isFingerprintOf(fingerprint, lease.Fingerprint) {
			return false, nil
		}
		done, err := e.users.count(ctx, lease.UserID)
		if err != nil {
			return false, err
		}
		defer done()
		return e.isLast(ctx, lease) // from here on no read counts this key
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
