package backend

import (
	"cmp"
	"context"
	"time"
)

const (
	// countGrace is how long after its own end a lease still counts: Vault may be
	// late to revoke it.
	countGrace = 2 * time.Minute
	// countUnknown is how long a lease is taken to run whose TTL is the mount's, when
	// Vault could not be asked for that: Vault's own default maximum.
	countUnknown = 768 * time.Hour
	// reapRetry is when the end of a lease is tried again that could not be ended.
	reapRetry = 5 * time.Minute
)

// countedLease is the record of a lease that is out.
type countedLease struct {
	Lease Lease `json:"lease"`
	// Until is when the lease stops to count by itself: Vault has ended it by then, or
	// never got it, since a process died in between.
	Until time.Time `json:"until"`
}

// count stores the lease before its key is handed out. A request that was given up
// meanwhile gets no lease, so none is counted. Holds the user's count.
func (e *Engine) count(ctx context.Context, issued Issued) error {
	now := e.Clock.Now()
	err := e.store.putCount(ctx, countedLease{Lease: issued.Lease, Until: e.countsUntil(now, now, 0, issued.Terms)})
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	if undo := e.store.deleteCount(context.WithoutCancel(ctx), issued.Lease); undo != nil {
		e.Logger.Warn("a lease that nobody got stays counted until it would have ended", "user_id", issued.Lease.UserID, "error", undo)
	}
	return err
}

// recount follows a renewal. A lease that was revoked meanwhile is not counted again.
func (e *Engine) recount(ctx context.Context, lease Lease, until time.Time) error {
	done, err := e.users.count(ctx, lease.UserID)
	if err != nil {
		return err
	}
	defer done()
	counted, err := e.store.count(ctx, leasePath(lease))
	if err != nil || counted == nil || !until.After(counted.Until) {
		return err
	}
	return e.store.putCount(ctx, countedLease{Lease: lease, Until: until})
}

// countsUntil is when Vault has ended the lease, unless it is renewed once more, and
// a grace. Increment is what a renewal asked for, 0 for nothing.
func (e *Engine) countsUntil(now, issued time.Time, increment time.Duration, terms Terms) time.Time {
	ttl := cmp.Or(increment, terms.TTL, e.DefaultLeaseTTL(), countUnknown)
	end := now.Add(ttl)
	for _, longest := range []time.Duration{terms.MaxTTL, e.MaxLeaseTTL()} {
		if last := issued.Add(longest); longest > 0 && last.Before(end) {
			end = last
		}
	}
	return end.Add(countGrace).UTC()
}

// isLast tells whether the lease is counted and no other of the same key is. Holds
// the user's count.
func (e *Engine) isLast(ctx context.Context, lease Lease) (bool, error) {
	holders, err := e.store.holders(ctx, lease)
	return len(holders) == 1 && holders[0] == lease.ID, err
}

// uncount ends the count of a lease that is not the last; last tells that it is.
func (e *Engine) uncount(ctx context.Context, lease Lease) (last bool, err error) {
	done, err := e.users.count(ctx, lease.UserID)
	if err != nil {
		return false, err
	}
	defer done()
	if last, err = e.isLast(ctx, lease); err != nil || last {
		return last, err
	}
	return false, e.store.deleteCount(ctx, lease)
}

// postpone leaves the end of a last lease to the first round after a move: while a
// mount is moved, Vault revokes its leases and nothing may be rotated.
func (e *Engine) postpone(ctx context.Context, lease Lease) error {
	return e.store.putCount(ctx, countedLease{Lease: lease, Until: e.Clock.Now().UTC()})
}

// reap ends the leases that Vault has not ended in time.
func (e *Engine) reap(ctx context.Context) error {
	leases := e.agenda.leases
	err := leases.fill(ctx, e.store.countPaths, func(ctx context.Context, path string) (time.Time, error) {
		counted, err := e.store.count(ctx, path)
		if err != nil || counted == nil {
			return time.Time{}, err
		}
		return counted.Until, nil
	})
	for _, path := range leases.due(e.Clock.Now()) {
		failed := e.reapLease(ctx, path)
		if failed == nil {
			continue
		}
		leases.set(path, e.Clock.Now().Add(reapRetry))
		e.Logger.Warn("a lease that Vault has not ended could not be ended", "error", failed)
		if meaningOf(failed).general || ctx.Err() != nil {
			break // the others stay due
		}
	}
	return err
}

func (e *Engine) reapLease(ctx context.Context, path string) error {
	counted, err := e.store.count(ctx, path)
	switch {
	case err != nil:
		return err
	case counted == nil:
		e.agenda.leases.unread(path)
		return nil
	case e.Clock.Now().Before(counted.Until): // it was renewed meanwhile
		e.agenda.leases.unread(path)
		return nil
	}
	return e.RevokeLease(ctx, counted.Lease)
}
