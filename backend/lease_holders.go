// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"time"
)

const (
	// holderGrace is how long after its own end a lease still counts: Vault may revoke
	// it late.
	holderGrace = 2 * time.Minute
	// unknownTTL is taken for the mount's TTL if Vault does not say: the default maximum
	// of Vault.
	unknownTTL = 768 * time.Hour
)

// holder is the record of a counted lease.
type holder struct {
	Lease Lease `json:"lease"`
	// Until is when the lease stops counting by itself. Vault has ended it by then, or
	// never got it, since a process died in between.
	Until time.Time `json:"until"`
}

// holders records who holds a key that is replaced after its last lease.
type holders struct{ *connections }

// save records a lease before its key is returned. If the request was canceled
// meanwhile, nobody gets the lease and it is not recorded. The caller holds lockHolders.
func (h *holders) save(ctx context.Context, lease Lease, terms Terms) error {
	now := h.Clock.Now()
	err := cmp.Or(h.store.putHolder(ctx, holder{Lease: lease, Until: h.until(now, now, 0, terms)}), ctx.Err())
	if err == nil {
		return nil
	}
	if undo := h.store.deleteHolder(context.WithoutCancel(ctx), lease); undo != nil {
		h.Logger.Warn("a lease that nobody got counts until it would have ended", "user_id", lease.UserID, "error", undo)
	}
	return err
}

// extend follows a renewal. A lease that was revoked meanwhile is not recorded again.
func (h *holders) extend(ctx context.Context, lease Lease, renewal Renewal, terms Terms) error {
	until := h.until(h.Clock.Now(), renewal.Issued, renewal.Increment, terms)
	unlock, err := h.users.lockHolders(ctx, lease.UserID)
	if err != nil {
		return err
	}
	defer unlock()
	recorded, err := h.store.holder(ctx, holderPath(lease))
	if err != nil || recorded == nil || !until.After(recorded.Until) {
		return err
	}
	return h.store.putHolder(ctx, holder{Lease: lease, Until: until})
}

// until returns when Vault has ended the lease unless it is renewed again, plus a grace.
// Increment is what a renewal asked for, 0 for nothing.
func (h *holders) until(now, issued time.Time, increment time.Duration, terms Terms) time.Time {
	end := now.Add(cmp.Or(increment, terms.TTL, h.DefaultLeaseTTL(), unknownTTL))
	for _, longest := range []time.Duration{terms.MaxTTL, h.MaxLeaseTTL()} {
		if last := issued.Add(longest); longest > 0 && last.Before(end) {
			end = last
		}
	}
	return end.Add(holderGrace).UTC()
}

// isLast reports whether the lease is recorded and no other lease of the same key is.
// The caller holds lockHolders.
func (h *holders) isLast(ctx context.Context, lease Lease) (bool, error) {
	ids, err := h.store.holderIDs(ctx, lease)
	return len(ids) == 1 && ids[0] == lease.ID, err
}

// deleteUnlessLast deletes the record of a lease, unless it is the last one of its key.
func (h *holders) deleteUnlessLast(ctx context.Context, lease Lease) (last bool, err error) {
	unlock, err := h.users.lockHolders(ctx, lease.UserID)
	if err != nil {
		return false, err
	}
	defer unlock()
	if last, err = h.isLast(ctx, lease); err != nil || last {
		return last, err
	}
	return false, h.store.deleteHolder(ctx, lease)
}

// expire leaves the last lease of a key to tidyDue. Vault revokes the leases of a mount
// while it is moved, when nothing may be rotated.
func (h *holders) expire(ctx context.Context, lease Lease) error {
	return h.store.putHolder(ctx, holder{Lease: lease, Until: h.Clock.Now().UTC()})
}
