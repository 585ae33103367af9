package backend

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// doubtTime is how long a user's key is not served from memory after a replacement
// whose outcome was not seen: it may land late.
const doubtTime = 15 * time.Minute

// users is what is remembered of the users whose keys are replaced or counted here.
// It is about users, not about a login, and so outlives every config.
type users struct {
	mu sync.Mutex
	of map[int32]*user
}

type user struct {
	// counting is held while leases of the user are counted in storage, and never
	// while ECGrid is asked.
	counting *semaphore.Weighted

	// Under users.mu.
	generation int           // changes when a replacement begins, and when it ends
	replacing  chan struct{} // closed when the replacement under way has ended; nil when there is none
	doubtUntil time.Time
}

func newUsers() *users { return &users{of: map[int32]*user{}} }

// get makes it if need be. Holds mu.
func (u *users) get(userID int32) *user {
	if u.of[userID] == nil {
		u.of[userID] = &user{counting: semaphore.NewWeighted(1)}
	}
	return u.of[userID]
}

// count waits, as long as ctx allows, until nobody else counts leases of this user.
func (u *users) count(ctx context.Context, userID int32) (done func(), err error) {
	u.mu.Lock()
	counting := u.get(userID).counting
	u.mu.Unlock()
	if err := counting.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { counting.Release(1) }, nil
}

// replace begins a replacement of the user's key, one at a time. Whoever reads the
// key in order to count it waits for the end of that, and of no other user's.
func (u *users) replace(ctx context.Context, userID int32) (end func(), err error) {
	for {
		u.mu.Lock()
		of := u.get(userID)
		if of.replacing == nil {
			done := make(chan struct{})
			of.replacing = done
			of.generation++
			u.mu.Unlock()
			return func() { u.replaced(of, done) }, nil
		}
		under := of.replacing
		u.mu.Unlock()
		select {
		case <-under:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (u *users) replaced(of *user, done chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of.generation++
	of.replacing = nil
	close(done)
}

// state is the user's generation, and the end of the replacement under way, if any.
func (u *users) state(userID int32) (generation int, replacing <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if of := u.of[userID]; of != nil {
		return of.generation, of.replacing
	}
	return 0, nil
}

// settled waits until the user's key is not being replaced, as long as ctx allows.
func (u *users) settled(ctx context.Context, userID int32) (generation int, err error) {
	for {
		generation, replacing := u.state(userID)
		if replacing == nil {
			return generation, nil
		}
		select {
		case <-replacing:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// doubt has the user's key not served from memory until then.
func (u *users) doubt(userID int32, until time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.get(userID)
	if until.After(of.doubtUntil) {
		of.doubtUntil = until
	}
}

// mayCache tells whether a key that was read in this generation may be kept.
func (u *users) mayCache(userID int32, generation int, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.of[userID]
	if of == nil {
		return generation == 0
	}
	return of.generation == generation && of.replacing == nil && !now.Before(of.doubtUntil)
}
