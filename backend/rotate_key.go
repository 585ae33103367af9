package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// KeyRotation is what became of a key.
type KeyRotation struct {
	UserID    int32
	RotatedAt time.Time
	Warnings  []string
}

// RotateKey replaces the user's key, once. The new key is not returned: it is read
// like any other.
func (e *Engine) RotateKey(ctx context.Context, userID int32) (KeyRotation, error) {
	return e.replaceKey(ctx, userID, always)
}

// decision tells, by the fingerprint of the key that is about to be replaced,
// whether it shall be: it may have been replaced already.
type decision func(fingerprint string) (replace bool, err error)

func always(string) (bool, error) { return true, nil }

// replaceKey replaces the key if decide says so, one such order at a time for each
// user. The old key is read first: it tells afterwards what became of a call whose
// answer was lost.
func (e *Engine) replaceKey(ctx context.Context, userID int32, decide decision) (KeyRotation, error) {
	end, err := e.users.replace(ctx, userID)
	if err != nil {
		return KeyRotation{}, err
	}
	defer end()
	if e.Tainted() {
		return KeyRotation{}, ErrTainted
	}
	done := KeyRotation{UserID: userID}
	err = e.withAccount(ctx, func(a *account) error {
		if err := a.refuseOwnUser(ctx, userID); err != nil {
			return err
		}
		old, err := a.keys.fetch(ctx, userID)
		if err != nil && !errors.Is(err, ErrNoKey) {
			return err
		}
		fingerprint, err := e.store.fingerprint(ctx, old)
		if err != nil {
			return err
		}
		if replace, err := decide(fingerprint); err != nil || !replace {
			return err
		}
		lost, err := e.replace(ctx, a, userID, old)
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
// Where it was not, it may be yet. It goes on when the request is given up.
func (e *Engine) replace(ctx context.Context, a *account, userID int32, old string) (lost bool, err error) {
	if err := e.store.putReplacement(ctx, userID, e.Clock.Now().UTC()); err != nil {
		return false, err // nothing was sent
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.config.requestDeadline())
	defer cancel()
	begun, err := a.generate(ctx, userID)
	switch {
	case err == nil:
		e.forgetReplacement(ctx, userID)
		return false, nil
	case surelyUnmade(begun, err):
		e.forgetReplacement(ctx, userID)
		if begun && ecgrid.MayBeSent(err) {
			err = notMade(err)
		}
		return false, fmt.Errorf("user %d: %w", userID, err)
	}
	err = fmt.Errorf("user %d: %w: %w", userID, ErrOutcomeUnknown, err)
	e.users.doubt(userID, e.Clock.Now().Add(doubtTime))
	now, askErr := e.keyAt(a.config.URL, userID)
	if askErr != nil && !errors.Is(askErr, ErrNoKey) || now == old {
		return false, err
	}
	return true, nil
}

// forgetReplacement: what became of it was seen. The note of one in doubt stays, for
// the next process.
func (e *Engine) forgetReplacement(ctx context.Context, userID int32) {
	if err := e.store.deleteReplacement(context.WithoutCancel(ctx), userID); err != nil {
		e.Logger.Warn("the note of a replacement could not be deleted", "user_id", userID, "error", err)
	}
}

// recallDoubts has the users not served from memory whose keys a process that is
// gone was about to replace, and forgets those where that was long ago.
func (e *Engine) recallDoubts(ctx context.Context) error {
	replacements, err := e.store.replacements(ctx)
	if err != nil {
		return err
	}
	for userID, at := range replacements {
		until := at.Add(doubtTime)
		e.users.doubt(userID, until)
		if until.Before(e.Clock.Now()) {
			e.forgetReplacement(ctx, userID)
		}
	}
	return nil
}

// keyAt asks the server for the key, with whatever config is in use by now.
func (e *Engine) keyAt(url string, userID int32) (key string, err error) {
	ctx := context.Background() // every wait in here is bounded
	err = e.withAccount(ctx, func(a *account) (err error) {
		if server(a.config.URL) != server(url) {
			return ErrOutcomeUnknown
		}
		key, err = a.keys.fetch(ctx, userID)
		return err
	})
	return key, err
}

// generate is the one call of GenerateAPIKey. The session was just used; where it
// should have died since, the fault is not repeated on another.
func (a *account) generate(ctx context.Context, userID int32) (begun bool, err error) {
	defer panics.Recover(a.keys.log, &err)
	return a.session.UseOnce(ctx, func(ctx context.Context, sessionID string) error {
		begun = true // should it panic
		_, err := a.client.GenerateAPIKey(ctx, sessionID, userID)
		return err
	})
}

// refuseOwnUser keeps the engine from killing the API key that it uses itself.
func (e *Engine) refuseOwnUser(ctx context.Context, userID int32) error {
	err := e.withAccount(ctx, func(a *account) error { return a.refuseOwnUser(ctx, userID) })
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
		err := a.session.Use(ctx, func(ctx context.Context, sessionID string) error {
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
