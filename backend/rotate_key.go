package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// userLocks are stripes, one to a user: what replaces a user's key, and what
// counts its leases, goes one after the other. Nothing ever holds two.
type userLocks [64]*semaphore.Weighted

func newUserLocks() *userLocks {
	var l userLocks
	for i := range l {
		l[i] = semaphore.NewWeighted(1)
	}
	return &l
}

// lock waits as long as ctx allows.
func (l *userLocks) lock(ctx context.Context, userID int32) (unlock func(), err error) {
	stripe := l[int(userID)%len(l)]
	if err := stripe.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	return func() { stripe.Release(1) }, nil
}

// KeyRotation is what became of a key.
type KeyRotation struct {
	UserID    int32
	RotatedAt time.Time
	Warnings  []string
}

// RotateKey replaces the user's key, once. The new key is not returned: it is read
// like any other.
func (e *Engine) RotateKey(ctx context.Context, storage logical.Storage, userID int32) (KeyRotation, error) {
	unlock, err := e.users.lock(ctx, userID)
	if err != nil {
		return KeyRotation{}, err
	}
	defer unlock()
	return e.replaceKey(ctx, storage, userID, always)
}

// decision tells, by the fingerprint of the key that is about to be replaced,
// whether it shall be: it may have been replaced already.
type decision func(fingerprint string) (replace bool, err error)

func always(string) (bool, error) { return true, nil }

// replaceKey replaces the key if decide says so. The caller holds the user's lock.
// The old key is read first: it tells afterwards what became of a call whose
// answer was lost.
func (e *Engine) replaceKey(ctx context.Context, storage logical.Storage, userID int32, decide decision) (KeyRotation, error) {
	done := KeyRotation{UserID: userID}
	err := e.withAccount(ctx, storage, func(a *account) error {
		if err := a.refuseOwnUser(ctx, userID); err != nil {
			return err
		}
		old, err := a.keys.fetch(ctx, userID)
		if err != nil && !errors.Is(err, ErrNoKey) {
			return err
		}
		fingerprint, err := e.fingerprint(ctx, storage, old)
		if err != nil {
			return err
		}
		if replace, err := decide(fingerprint); err != nil || !replace {
			return err
		}
		lost, err := e.replace(a, storage, userID, old)
		if err != nil {
			return err
		}
		if lost {
			done.Warnings = append(done.Warnings, "ECGrid's answer was lost; asked again, it has replaced the key")
		}
		return nil
	})
	if err != nil {
		return KeyRotation{}, err
	}
	done.RotatedAt = e.Clock.Now().UTC()
	return done, nil
}

// replace calls GenerateAPIKey once and never again: where the answer is lost, or
// means nothing, the key itself tells whether it was replaced (lost is true then).
// It goes on when the request is given up.
func (e *Engine) replace(a *account, storage logical.Storage, userID int32, old string) (lost bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), a.keys.deadline)
	defer cancel()
	defer e.forgetKey(userID)
	err = a.keys.generate(ctx, userID)
	if err == nil {
		return false, nil
	}
	err = fmt.Errorf("user %d: %w", userID, err)
	if surelyNotDone(err) {
		return false, err
	}
	e.forgetKey(userID)
	now, askErr := e.keyAt(a.config.URL, storage, userID)
	switch {
	case askErr != nil && !errors.Is(askErr, ErrNoKey):
		return false, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case now == old:
		return false, err
	default:
		return true, nil
	}
}

// keyAt asks the server for the key, with whatever config is in use by now.
func (e *Engine) keyAt(url string, storage logical.Storage, userID int32) (key string, err error) {
	ctx := context.Background() // every wait in here is bounded
	err = e.withAccount(ctx, storage, func(a *account) (err error) {
		if !sameServer(a.config.URL, url) {
			return ErrOutcomeUnknown
		}
		key, err = a.keys.fetch(ctx, userID)
		return err
	})
	return key, err
}

// generate is the one call of GenerateAPIKey. The session was just used; where it
// should have died since, the fault is not repeated on another.
func (k *keys) generate(ctx context.Context, userID int32) (err error) {
	defer Recovered(k.log, &err)
	var result error
	err = k.session.use(ctx, func(ctx context.Context, sessionID string) error {
		_, result = k.client.GenerateAPIKey(ctx, sessionID, userID)
		return nil
	})
	return errors.Join(err, result)
}

// surelyNotDone tells a change that ECGrid did not make: nothing was sent, or it
// refused. After anything else it may have been made.
func surelyNotDone(err error) bool {
	var failed *ecgrid.Error
	if !errors.As(err, &failed) {
		return !errors.Is(err, ErrPanic) // it never came to the call
	}
	return !failed.Sent || isAny(err, refusedUnmade)
}

// refusedUnmade are the faults that leave no doubt. A fault without a known meaning
// does.
var refusedUnmade = []error{
	ecgrid.ErrAccessDenied,
	ecgrid.ErrAuthentication,
	ecgrid.ErrNotFound,
	ecgrid.ErrSessionExpired,
}

// forget makes reads from now on ask ECGrid anew: neither the cache nor a call
// that is under way may answer them.
func (k *keys) forget(userID int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation[userID]++
	delete(k.cached, userID)
}

// forgetKey is forget for every config in use: it may be replaced while a key is.
func (e *Engine) forgetKey(userID int32) {
	e.accountsMu.Lock()
	defer e.accountsMu.Unlock()
	for a := range e.accounts {
		a.keys.forget(userID)
	}
}

// refuseOwnUser keeps the engine from killing the API key that it uses itself.
func (e *Engine) refuseOwnUser(ctx context.Context, storage logical.Storage, userID int32) error {
	err := e.withAccount(ctx, storage, func(a *account) error { return a.refuseOwnUser(ctx, userID) })
	if errors.Is(err, ErrNotConfigured) {
		return nil // it is asked again when it comes to it
	}
	return err
}

func (a *account) refuseOwnUser(ctx context.Context, userID int32) error {
	if a.config.APIKey == "" {
		return nil
	}
	own := a.ownUserID.Load()
	if own == 0 {
		ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
		defer cancel()
		err := a.session.use(ctx, func(ctx context.Context, sessionID string) error {
			me, err := a.client.WhoAmI(ctx, sessionID)
			own = me.UserID
			return err
		})
		if err != nil {
			return err
		}
		a.ownUserID.Store(own)
	}
	if own == userID {
		return fmt.Errorf("user %d: %w", userID, ErrOwnKey)
	}
	return nil
}
