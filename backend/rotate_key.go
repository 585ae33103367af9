// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// KeyRotation is the result of the rotation of a key.
type KeyRotation struct {
	UserID    int32
	RotatedAt time.Time
	Warnings  []string
}

// keyRotator replaces users' API keys.
type keyRotator struct{ *connections }

// RotateKey replaces the user's key. It does not return the new key, which is read like
// any other.
func (k *keyRotator) RotateKey(ctx context.Context, userID int32) (KeyRotation, error) {
	done, err := k.replaceIf(ctx, userID, always)
	k.rotationEnded(Event{Kind: EventKeyRotation, UserID: userID, Reason: ReasonManual}, err)
	return done, err
}

// condition decides, by the fingerprint of the current key, whether it is replaced.
type condition func(fingerprint string) (replace bool, err error)

func always(string) (bool, error) { return true, nil }

// queueTimeout bounds how long a replacement waits to begin, behind others of the same
// user and behind other work. The end of a lease cannot be canceled. It is 2.5 times the
// longest request_timeout.
const queueTimeout = 50 * time.Second

// replaceIf replaces the key if the condition holds. There is one replacement at a time
// for each user.
func (k *keyRotator) replaceIf(ctx context.Context, userID int32, holds condition) (KeyRotation, error) {
	queued, cancel := context.WithTimeout(ctx, queueTimeout)
	defer cancel()
	unlock, err := k.users.lockReplacement(queued, userID)
	if err != nil {
		return KeyRotation{}, err
	}
	defer unlock()
	done := KeyRotation{UserID: userID}
	err = k.withConnection(ctx, func(current *connection) error {
		release, err := current.acquireBulk(queued, 1)
		if err != nil {
			return err
		}
		defer release()
		if k.Tainted() {
			return ErrTainted
		}
		if now := k.current(); now == nil || now.link != current.link {
			return session.ErrClosed // while this waited
		}
		defer k.users.beginReplacement(userID)()
		if err := current.refuseOwnUser(ctx, userID); err != nil {
			return err
		}
		// The old key tells afterwards whether a call whose answer was lost was applied.
		old, err := current.keys.fetch(ctx, userID)
		if err != nil && !errors.Is(err, ErrNoKey) {
			return err
		}
		fingerprint, err := k.store.fingerprint(ctx, old)
		if err != nil {
			return err
		}
		if replace, err := holds(fingerprint); err != nil || !replace {
			return err
		}
		done.Warnings, err = k.replace(ctx, current, userID, old)
		return err
	})
	if err != nil {
		return KeyRotation{}, err
	}
	done.RotatedAt = k.Clock.Now().UTC()
	return done, nil
}

// replace calls GenerateAPIKey once and never again. If the answer is lost, the key
// itself tells whether it was replaced. If it was not, ECGrid may still replace it. The
// call goes on if the request is canceled.
func (k *keyRotator) replace(ctx context.Context, current *connection, userID int32, old string) (warnings []string, err error) {
	if err := k.store.putReplacement(ctx, userID, k.Clock.Now().UTC()); err != nil {
		return nil, err // nothing was sent
	}
	ctx = context.WithoutCancel(ctx)
	begun, err := k.generate(ctx, current, userID, old)
	switch {
	case err == nil:
		k.forgetReplacement(ctx, userID)
		return nil, nil
	case notApplied(begun, err):
		k.forgetReplacement(ctx, userID)
		if begun && ecgrid.MayBeSent(err) {
			err = asConflict(err)
		}
		return nil, fmt.Errorf("user %d: %w", userID, err)
	}
	k.users.setUncached(userID, k.Clock.Now().Add(uncachedTime))
	now, failed := k.keyAt(current.config.URL, userID)
	if failed != nil && !errors.Is(failed, ErrNoKey) || now == old {
		return nil, fmt.Errorf("user %d: %w: %w", userID, ErrKeyUnconfirmed, err)
	}
	return []string{"ECGrid's answer was lost, but ECGrid has replaced the key"}, nil
}

// generate calls GenerateAPIKey. If the session has died since the key was read, the
// call is not repeated with another session. An answer with the old key proves nothing: not
// all answers name their operation, so it may be that of another call.
func (k *keyRotator) generate(ctx context.Context, current *connection, userID int32, old string) (begun bool, err error) {
	defer panics.Recover(k.Logger, &err)
	return current.useOnce(ctx, func(ctx context.Context, by ecgrid.Credential) error {
		begun = true // in case of a panic
		key, err := current.client.GenerateAPIKey(ctx, by, userID)
		if err == nil && key == old {
			return &ecgrid.Error{Op: "GenerateAPIKey", Kind: ecgrid.ErrBadAnswer, Reason: "the old key", Sent: true}
		}
		return err
	})
}

// keyAt reads the key at the same service, with the config that is in use by now.
func (k *keyRotator) keyAt(url string, userID int32) (key string, err error) {
	ctx := context.Background() // every wait below is bounded
	err = k.withConnection(ctx, func(current *connection) (err error) {
		if service(current.config.URL) != service(url) {
			return ErrUnconfirmed
		}
		key, err = current.keys.fetch(ctx, userID)
		return err
	})
	return key, err
}
