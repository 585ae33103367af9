package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// RotateRoot changes the password of the configured login, and tells when. The new
// one is in the write-ahead log before ECGrid gets it: whatever fails, and
// wherever the process dies, one of the two that are stored is the right one.
func (e *Engine) RotateRoot(ctx context.Context, storage logical.Storage) (time.Time, error) {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return time.Time{}, err
	}
	defer e.configLock.Release(1)
	// From here on a client that hangs up changes nothing.
	ctx = context.WithoutCancel(ctx)
	rotated, err := e.rotateRoot(ctx, storage)
	if err != nil {
		e.rootFailed(ctx, storage, err)
	}
	return rotated, err
}

func (e *Engine) rotateRoot(ctx context.Context, storage logical.Storage) (time.Time, error) {
	if err := e.recoverRoot(ctx, storage); err != nil {
		return time.Time{}, fmt.Errorf("an earlier rotate-root is not settled yet: %w", err)
	}
	c, err := e.ReadConfig(ctx, storage)
	switch {
	case err != nil:
		return time.Time{}, err
	case c == nil:
		return time.Time{}, ErrNotConfigured
	case c.APIKey != "":
		return time.Time{}, Invalid("the config uses an api_key and has no password to rotate: write username and password to config first")
	}
	password, err := e.newPassword(ctx, c.PasswordPolicy)
	if err != nil {
		return time.Time{}, err
	}
	a, err := e.lockedAccount(*c)
	if err != nil {
		return time.Time{}, err
	}
	// A session that has died is replaced now, not in the midst of the change.
	if err := a.session.use(ctx, a.session.whoAmI); err != nil {
		return time.Time{}, err
	}
	wal, err := putRootWAL(ctx, storage, rootWAL{Username: c.Username, Server: server(c.URL), Password: password, Created: e.Clock.Now()})
	if err != nil {
		return time.Time{}, err
	}
	changed := e.withPassword(ctx, storage, *c, password)
	if err := a.changePassword(ctx, password); err != nil {
		return e.rootInDoubt(ctx, storage, wal, password, err)
	}
	e.use(changed) // before it is stored: no request may log in with the old one
	return changed.Root.Last, e.storeRoot(ctx, storage, changed, wal)
}

// use puts a config into use that is known to be right, whether it could be
// stored or not.
func (e *Engine) use(c Config) {
	a, err := e.newAccount(c)
	if err != nil {
		a = nil // the mount is closing
	}
	e.swap(a)
}

// rootInDoubt settles a change that did not end well: it is found out which
// password ECGrid has, not tried again.
func (e *Engine) rootInDoubt(ctx context.Context, storage logical.Storage, wal, password string, failed error) (time.Time, error) {
	if surelyNotDone(failed) {
		if err := deleteWAL(ctx, storage, wal); err != nil {
			e.Logger.Warn("a password that was not used stays in the write-ahead log until the next try", "error", err)
		}
		return time.Time{}, failed
	}
	if err := e.recoverRoot(ctx, storage); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	c, err := e.ReadConfig(ctx, storage)
	if err != nil {
		return time.Time{}, err
	}
	if c == nil || c.Password != password {
		return time.Time{}, failed
	}
	return c.Root.Last, nil
}

// storeRoot stores a config whose password ECGrid has. Where that fails the
// write-ahead log keeps the password.
func (e *Engine) storeRoot(ctx context.Context, storage logical.Storage, c Config, wal string) error {
	if err := writeConfig(ctx, storage, c); err != nil {
		return fmt.Errorf("%w: ECGrid has the new password, which stands in the write-ahead log until it can be stored: %w", ErrOutcomeUnknown, err)
	}
	if err := deleteWAL(ctx, storage, wal); err != nil {
		e.Logger.Warn("a password that is stored stays in the write-ahead log until the next look at it", "error", err)
	}
	e.Logger.Info("the password of the ECGrid login was rotated", "username", c.Username)
	return nil
}

// withPassword is c after its password was rotated. The old one is remembered as a
// keyed hash: declarative tools will send it again.
func (e *Engine) withPassword(ctx context.Context, storage logical.Storage, c Config, password string) Config {
	now := e.Clock.Now()
	if fingerprint, err := e.fingerprint(ctx, storage, c.Password); err == nil {
		c.Superseded, c.SupersededAt = fingerprint, now.UTC()
	}
	c.Password = password
	c.Root = c.Root.succeeded(c.rootSchedule(), now, e.fraction())
	return c
}

// changePassword is the one call of ChangePassword; no failure of it is repeated.
func (a *account) changePassword(ctx context.Context, password string) (err error) {
	defer Recovered(a.session.log, &err)
	ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
	defer cancel()
	var result error
	err = a.session.use(ctx, func(ctx context.Context, sessionID string) error {
		result = a.client.ChangePassword(ctx, sessionID, a.config.Password, password)
		return nil
	})
	return errors.Join(err, result)
}

// RecoverRoot settles a rotate-root that a crash or a failure left open.
func (e *Engine) RecoverRoot(ctx context.Context, storage logical.Storage) error {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	return e.recoverRoot(ctx, storage)
}

// recoverRoot finds out for every entry of the write-ahead log whether ECGrid has
// its password. Holds configLock.
func (e *Engine) recoverRoot(ctx context.Context, storage logical.Storage) error {
	wals, err := rootWALs(ctx, storage)
	if err != nil || len(wals) == 0 {
		return err
	}
	for _, w := range wals {
		if err := e.settle(ctx, storage, w); err != nil {
			return err
		}
	}
	e.recovery = pause{}
	return nil
}

// settle decides on one entry: the config has its password, or is about another
// login: it is moot. Else ECGrid is asked with the new password, then with the old.
func (e *Engine) settle(ctx context.Context, storage logical.Storage, w rootWAL) error {
	c, err := e.ReadConfig(ctx, storage)
	if err != nil {
		return err
	}
	if c == nil || c.Username != w.Username || server(c.URL) != w.Server || c.Password == w.Password {
		return deleteWAL(ctx, storage, w.id)
	}
	if left := e.recovery.left(e.Clock.Now()); left > 0 {
		return pausedFor(left)
	}
	e.swap(nil) // its session may hold the place that the check needs
	if err := e.tryBoth(ctx, storage, *c, w); err != nil {
		e.rootUnsettled(ctx, storage, w, err)
		return err
	}
	return nil
}

// tryBoth logs in with the new password and, only if that is refused, with the old.
func (e *Engine) tryBoth(ctx context.Context, storage logical.Storage, c Config, w rootWAL) error {
	err := e.tryPassword(ctx, e.withPassword(ctx, storage, c, w.Password), func(a *account) error {
		err := e.storeRoot(ctx, storage, a.config, w.id)
		e.swap(a)
		return err
	})
	if !errors.Is(err, ErrLoginRefused) {
		if wasSent(err) {
			e.recovery.doubtful(e.Clock.Now())
		}
		return err
	}
	err = e.tryPassword(ctx, c, func(a *account) error {
		e.swap(a)
		return deleteWAL(ctx, storage, w.id)
	})
	switch now := e.Clock.Now(); {
	case errors.Is(err, ErrLoginRefused):
		e.recovery.refused(now)
	case err != nil:
		e.recovery.doubtful(now) // the new one was refused, each time
	}
	return err
}

// tryPassword logs in with c; where that works, use gets the account.
func (e *Engine) tryPassword(ctx context.Context, c Config, use func(*account) error) error {
	a, err := e.newAccount(c)
	if err != nil {
		return err
	}
	if err := a.session.verify(ctx); err != nil {
		e.closeAccount(a)
		return err
	}
	return use(a)
}

// rootFailed notes a rotate-root that failed, where operators look for it, and puts
// off the next scheduled one.
func (e *Engine) rootFailed(ctx context.Context, storage logical.Storage, failed error) {
	message := describe(failed)
	e.Logger.Error("rotate-root failed", "error", message)
	e.noteRoot(ctx, storage, func(r Rotation) Rotation { return r.failed(message, e.Clock.Now()) })
}

// rootUnsettled notes that it is still not known which password ECGrid has.
func (e *Engine) rootUnsettled(ctx context.Context, storage logical.Storage, w rootWAL, failed error) {
	message := "a rotate-root is not settled yet: " + describe(failed)
	e.Logger.Error("it is not known whether ECGrid has the password from before rotate-root or the one after", "username", w.Username, "since", w.Created, "error", message)
	e.noteRoot(ctx, storage, func(r Rotation) Rotation {
		r.LastError = message
		return r
	})
}

// noteRoot stores what became of a rotate-root, if that is news.
func (e *Engine) noteRoot(ctx context.Context, storage logical.Storage, note func(Rotation) Rotation) {
	c, err := e.ReadConfig(ctx, storage)
	if err != nil || c == nil || c.APIKey != "" {
		return
	}
	noted := note(c.Root)
	if noted == c.Root {
		return
	}
	c.Root = noted
	if err := writeConfig(ctx, storage, *c); err != nil {
		e.Logger.Warn("the failure of rotate-root could not be stored", "error", err)
	}
}
