package backend

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// leaseStoragePrefix is where counted leases are stored: by user, then by the
// fingerprint of the key, then by lease ID. Who still holds a key is one listing.
const leaseStoragePrefix = "lease/"

// reapGrace is how long after its very end a lease is taken for forgotten.
const reapGrace = time.Hour

// countedLease is the record of a lease that is out.
type countedLease struct {
	Lease Lease `json:"lease"`
	// Until is when Vault must have ended the lease at the latest. A lease that
	// Vault never got, since a process died in between, is ended by us then.
	Until time.Time `json:"until"`
}

func holdersPrefix(lease Lease) string {
	return fmt.Sprintf("%s%d/%s/", leaseStoragePrefix, lease.UserID, strings.TrimPrefix(lease.Fingerprint, "hmac-sha256:"))
}

// count stores the lease before its key is handed out. A request that was given up
// meanwhile gets no lease, so none is counted.
func (e *Engine) count(ctx context.Context, storage logical.Storage, issued Issued) error {
	err := e.putCount(ctx, storage, issued.Lease, e.Clock.Now(), issued.Terms)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	if undo := e.uncount(context.WithoutCancel(ctx), storage, issued.Lease); undo != nil {
		e.Logger.Warn("a lease that nobody got stays counted until it would have ended", "user_id", issued.Lease.UserID, "error", undo)
	}
	return err
}

// recount follows a renewal that may run longer than was foreseen. A lease that
// was revoked meanwhile is not counted again.
func (e *Engine) recount(ctx context.Context, storage logical.Storage, lease Lease, issued time.Time, terms Terms) error {
	unlock, err := e.users.lock(ctx, lease.UserID)
	if err != nil {
		return err
	}
	defer unlock()
	counted, err := readCount(ctx, storage, holdersPrefix(lease)+lease.ID)
	if err != nil || counted == nil || !e.latestEnd(issued, terms).After(counted.Until) {
		return err
	}
	return e.putCount(ctx, storage, lease, issued, terms)
}

func readCount(ctx context.Context, storage logical.Storage, path string) (*countedLease, error) {
	entry, err := storage.Get(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("reading a lease from storage: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	counted := new(countedLease)
	if err := entry.DecodeJSON(counted); err != nil {
		return nil, fmt.Errorf("decoding a stored lease: %w", err)
	}
	return counted, nil
}

func (e *Engine) putCount(ctx context.Context, storage logical.Storage, lease Lease, issued time.Time, terms Terms) error {
	entry, err := logical.StorageEntryJSON(holdersPrefix(lease)+lease.ID, countedLease{Lease: lease, Until: e.latestEnd(issued, terms)})
	if err != nil {
		return fmt.Errorf("encoding a lease: %w", err)
	}
	if err := storage.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing a lease: %w", err)
	}
	return nil
}

// latestEnd is when Vault ends the lease at the latest, whatever its renewals.
func (e *Engine) latestEnd(issued time.Time, terms Terms) time.Time {
	longest := e.MaxLeaseTTL()
	if terms.MaxTTL > 0 {
		longest = min(longest, terms.MaxTTL)
	}
	return issued.Add(longest).UTC()
}

func (e *Engine) uncount(ctx context.Context, storage logical.Storage, lease Lease) error {
	if err := storage.Delete(ctx, holdersPrefix(lease)+lease.ID); err != nil {
		return fmt.Errorf("deleting a lease from storage: %w", err)
	}
	return nil
}

// isLast tells whether the lease is counted and no other of the same key is.
func (e *Engine) isLast(ctx context.Context, storage logical.Storage, lease Lease) (bool, error) {
	holders, err := storage.List(ctx, holdersPrefix(lease))
	if err != nil {
		return false, fmt.Errorf("listing the leases of a key: %w", err)
	}
	return len(holders) == 1 && holders[0] == lease.ID, nil
}

// reap ends the leases that Vault has forgotten, now and then.
func (e *Engine) reap(ctx context.Context, storage logical.Storage) {
	now := e.Clock.Now()
	if now.Before(e.nextReap) {
		return
	}
	e.nextReap = now.Add(reapInterval)
	if err := e.reapLeases(ctx, storage, now); err != nil {
		e.Logger.Warn("leases that Vault has forgotten could not be ended", "error", err)
	}
}

func (e *Engine) reapLeases(ctx context.Context, storage logical.Storage, now time.Time) error {
	return logical.ScanView(ctx, logical.NewStorageView(storage, leaseStoragePrefix), func(path string) {
		lease, err := e.forgotten(ctx, storage, path, now)
		if err == nil && lease != nil {
			err = e.RevokeLease(ctx, storage, *lease)
		}
		if err != nil {
			e.Logger.Warn("a lease that Vault has forgotten could not be ended", "error", err)
		}
	})
}

// forgotten reads a counted lease; it is nil unless Vault must have ended it.
func (e *Engine) forgotten(ctx context.Context, storage logical.Storage, path string, now time.Time) (*Lease, error) {
	counted, err := readCount(ctx, storage, leaseStoragePrefix+path)
	if err != nil || counted == nil || now.Before(counted.Until.Add(reapGrace)) {
		return nil, err
	}
	return &counted.Lease, nil
}
