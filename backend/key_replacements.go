// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// uncachedTime is how long a user's key is not cached after an unconfirmed replacement:
// ECGrid may apply it late.
const uncachedTime = 15 * time.Minute

// users records which users' keys are being replaced. It does not depend on the login,
// so it outlives every config.
type users struct {
	mu   sync.Mutex // guards the following, and the fields of a user below its locks
	byID map[int32]*user
}

type user struct {
	// holders is held while the holders of the user's key are read and changed in
	// storage, never during a call to ECGrid.
	holders *semaphore.Weighted
	// replacing is held by one replacement of the user's key at a time, also while that
	// waits to begin.
	replacing *semaphore.Weighted

	generation    generation
	ended         chan struct{} // closed when the replacement ends that has begun
	uncachedUntil time.Time
}

// generation counts the begins and ends of the replacements of a user's key.
type generation int

// isStable is false while the key is being replaced.
func (g generation) isStable() bool { return g%2 == 0 }

func newUsers() *users { return &users{byID: map[int32]*user{}} }

func (u *users) get(userID int32) *user {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byID[userID] == nil {
		u.byID[userID] = &user{holders: semaphore.NewWeighted(1), replacing: semaphore.NewWeighted(1)}
	}
	return u.byID[userID]
}

// lockHolders locks the holders of the user's key.
func (u *users) lockHolders(ctx context.Context, userID int32) (unlock func(), err error) {
	of := u.get(userID)
	if err := of.holders.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { of.holders.Release(1) }, nil
}

// lockReplacement waits for the end of other replacements of the user's key.
func (u *users) lockReplacement(ctx context.Context, userID int32) (unlock func(), err error) {
	of := u.get(userID)
	if err := of.replacing.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { of.replacing.Release(1) }, nil
}

// beginReplacement begins a replacement. The caller holds lockReplacement.
func (u *users) beginReplacement(userID int32) (end func()) {
	of := u.get(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	of.generation++
	of.ended = make(chan struct{})
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		of.generation++
		close(of.ended)
	}
}

// awaitReplacement waits until the user's key is not being replaced.
func (u *users) awaitReplacement(ctx context.Context, userID int32) (generation, error) {
	of := u.get(userID)
	for {
		u.mu.Lock()
		g, ended := of.generation, of.ended
		u.mu.Unlock()
		if g.isStable() {
			return g, nil
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// generation returns the generation of the user's key.
func (u *users) generation(userID int32) generation {
	u.mu.Lock()
	defer u.mu.Unlock()
	if of := u.byID[userID]; of != nil {
		return of.generation
	}
	return 0
}

// setUncached prevents caching of the user's key until then.
func (u *users) setUncached(userID int32, until time.Time) {
	of := u.get(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	if until.After(of.uncachedUntil) {
		of.uncachedUntil = until
	}
}

// isCacheable reports whether a key that was read in generation g may be served from
// memory.
func (u *users) isCacheable(userID int32, g generation, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.byID[userID]
	if of == nil {
		return g == 0
	}
	return g == of.generation && g.isStable() && !now.Before(of.uncachedUntil)
}

// forgetReplacement deletes the note of a replacement whose outcome is known. The note
// of an unconfirmed one stays for the next process.
func (c *connections) forgetReplacement(ctx context.Context, userID int32) {
	if err := c.store.deleteReplacement(ctx, userID); err != nil {
		c.Logger.Warn("the note of a replacement could not be deleted", "user_id", userID, "error", err)
	}
}

// recallReplacements reads the replacements that an earlier process left unconfirmed.
func (c *connections) recallReplacements(ctx context.Context) error {
	replacements, err := c.store.replacements(ctx)
	if err != nil {
		return err
	}
	for userID, at := range replacements {
		until := at.Add(uncachedTime)
		c.users.setUncached(userID, until)
		if until.Before(c.Clock.Now()) {
			c.forgetReplacement(context.WithoutCancel(ctx), userID)
		}
	}
	return nil
}
