// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"time"
)

// tidyRetry is when the end of a lease is tried again that could not be ended.
const tidyRetry = 5 * time.Minute

// RevokeLease ends a lease. ECGrid cannot take a key back from one holder, so the key
// stays valid unless this was its last counted lease. Then the key is replaced. Until
// that succeeds the lease stays recorded, for the next try of Vault. On a tainted mount
// nothing is replaced.
func (l *leases) RevokeLease(ctx context.Context, lease Lease) error {
	if !lease.Counted {
		return nil
	}
	last, err := l.holders.deleteUnlessLast(ctx, lease)
	if err != nil || !last {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	if l.Tainted() {
		return l.holders.expire(ctx, lease)
	}
	if err := l.endKey(ctx, lease); err != nil {
		return err
	}
	return l.store.deleteHolder(ctx, lease)
}

// endKey replaces the leased key if it is still the user's key.
func (l *leases) endKey(ctx context.Context, lease Lease) error {
	replaced := false
	_, err := l.rotator.replaceIf(ctx, lease.UserID, func(fingerprint string) (_ bool, err error) {
		if !isFingerprintOf(fingerprint, lease.Fingerprint) {
			return false, nil
		}
		unlock, err := l.users.lockHolders(ctx, lease.UserID)
		if err != nil {
			return false, err
		}
		defer unlock()
		replaced, err = l.holders.isLast(ctx, lease) // no holder is added during a replacement
		return replaced, err
	})
	m := meaningOf(err)
	userIsGone := m.endsLease && m.revokeAnyway
	if replaced || err != nil && !userIsGone {
		l.rotationEnded(Event{Kind: EventKeyRotation, Role: lease.Role, UserID: lease.UserID, Reason: ReasonLeaseEnd}, err)
	}
	if !m.revokeAnyway {
		return err
	}
	if !m.endsLease {
		l.Logger.Error("the last lease of a key ended, but the key is still valid", "user_id", lease.UserID, "error", err)
	}
	return nil
}

// tidyDue ends the counted leases that Vault has not ended in time.
func (l *leases) tidyDue(ctx context.Context) error {
	due := l.store.agenda.holders
	err := due.load(ctx, l.store.holderPaths, l.store.holderExpiry)
	due.each(ctx, l.Clock.Now(), func(ctx context.Context, path string) error {
		failed := l.tidy(ctx, path)
		if failed != nil {
			due.set(path, l.Clock.Now().Add(tidyRetry))
			l.Logger.Warn("a lease that Vault has not ended could not be ended", "error", failed)
		}
		return failed
	})
	return err
}

func (l *leases) tidy(ctx context.Context, path string) error {
	h, err := l.store.holder(ctx, path)
	switch {
	case err != nil:
		return err
	case h == nil, l.Clock.Now().Before(h.Until): // it was revoked or renewed meanwhile
		l.store.agenda.holders.reload(path)
		return nil
	}
	return l.RevokeLease(ctx, h.Lease)
}
