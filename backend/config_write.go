package backend

import (
	"context"
	"fmt"
	"time"
)

// ReadConfig gives the stored config, or nil where there is none. It does not call
// ECGrid.
func (e *Engine) ReadConfig(ctx context.Context) (*Config, error) { return e.store.config(ctx) }

// RotationManager is Vault Enterprise's. On Community it takes no jobs.
type RotationManager interface {
	// Keep gives it the schedule of rotate-root, or takes that back where it is
	// zero. It tells whether it will see to it.
	Keep(ctx context.Context, schedule Schedule) bool
}

// WriteConfig applies a patch: it is checked, then the login tried, then stored,
// and only then used. Where any of this fails all stays as it was.
func (e *Engine) WriteConfig(ctx context.Context, patch ConfigPatch, manager RotationManager) error {
	return e.withConfig(ctx, func(old *Config) error { return e.replaceConfig(ctx, old, patch, manager) })
}

// PatchConfig is WriteConfig of a config that is there.
func (e *Engine) PatchConfig(ctx context.Context, patch ConfigPatch, manager RotationManager) error {
	return e.withConfig(ctx, func(old *Config) error {
		if old == nil {
			return ErrNotConfigured
		}
		return e.replaceConfig(ctx, old, patch, manager)
	})
}

// withConfig runs do under the config's lock with what is stored, nil for nothing. It
// does not wait for what settles in the background: that is broken off, and tried again.
func (e *Engine) withConfig(ctx context.Context, do func(*Config) error) error {
	e.breakOffSettling()
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	c, err := e.store.config(ctx)
	if err != nil {
		return err
	}
	return do(c)
}

func (e *Engine) replaceConfig(ctx context.Context, old *Config, patch ConfigPatch, manager RotationManager) error {
	config, err := patch.apply(old)
	if err != nil {
		return err
	}
	if old != nil {
		if err := e.refuseSuperseded(ctx, *old, config, patch); err != nil {
			return err
		}
		if config, err = keepPending(*old, config, patch, e.Clock.Now()); err != nil {
			return err
		}
	}
	if config, err = e.noteWritten(ctx, config, patch); err != nil {
		return err
	}
	next, err := e.successor(ctx, config, patch)
	if err != nil {
		return err
	}
	if patch.wantsVerification() {
		if err := e.verify(ctx, next, patch.bringsCredential()); err != nil {
			e.abandon(next)
			return err
		}
	}
	next.config = e.planRoot(ctx, old, config, manager)
	if err := e.storeConfig(ctx, next.config); err != nil {
		e.abandon(next)
		e.unplanRoot(ctx, old, next.config, manager)
		return err
	}
	e.swap(next)
	return nil
}

// successor is the account of a new config. It goes on with the link of the one in
// use where the write is about neither login nor endpoint nor session.
func (e *Engine) successor(ctx context.Context, c Config, patch ConfigPatch) (*account, error) {
	live, _ := e.accounts.now()
	if live != nil && !patch.bringsCredential() && live.config.sameLink(c) {
		return &account{config: c, link: live.link}, nil
	}
	return e.newAccount(ctx, c)
}

// sameLink tells whether both can do with the same link.
func (c Config) sameLink(other Config) bool {
	return c.endpoint() == other.endpoint() && sameLogin(c, other) && c.Password == other.Password &&
		c.SessionIdleTimeout == other.SessionIdleTimeout && c.KeyCacheTTL == other.KeyCacheTTL
}

// abandon lets go of an account that never came into use.
func (e *Engine) abandon(next *account) {
	if live, _ := e.accounts.now(); live == nil || live.link != next.link {
		e.closeLink(next.link)
	}
}

// verify tries the login of an account that is not in use yet. A session opened for
// that stays, for the first read. Before, the idle session of the same user is
// logged out: it may hold the last place in that user's session table.
func (e *Engine) verify(ctx context.Context, next *account, brought bool) error {
	if live, _ := e.accounts.now(); live != nil && live.link != next.link && live.config.login() == next.config.login() {
		live.session.EndUnused(ctx)
	}
	return next.session.Verify(ctx, brought)
}

// refuseSuperseded refuses the password that the operator wrote last, once
// rotate-root has replaced it: declarative tools send it again. It is not tried,
// which would be a refused login.
func (e *Engine) refuseSuperseded(ctx context.Context, old, c Config, patch ConfigPatch) error {
	if patch.Password == nil || old.SupersededAt.IsZero() || !sameLogin(old, c) {
		return nil
	}
	fingerprint, err := e.store.fingerprint(ctx, *patch.Password)
	if err != nil || !isFingerprintOf(fingerprint, old.Written) {
		return err
	}
	return Invalid("this password was superseded by rotate-root at %s: leave password out of the write to keep the one that is valid now", old.SupersededAt.Format(time.RFC3339))
}

// noteWritten remembers what the operator wrote. One that was not seen to work does
// not take the place of one that rotate-root has replaced.
func (e *Engine) noteWritten(ctx context.Context, c Config, patch ConfigPatch) (Config, error) {
	if patch.Password == nil {
		return c, nil
	}
	fingerprint, err := e.store.fingerprint(ctx, *patch.Password)
	if err != nil {
		return c, err
	}
	if !c.SupersededAt.IsZero() && !patch.wantsVerification() {
		c.Unproven = fingerprint
		return c, nil
	}
	c.Written, c.Unproven, c.SupersededAt = fingerprint, "", time.Time{}
	return c, nil
}

// planRoot plans the next rotate-root anew where its schedule or the login has changed.
func (e *Engine) planRoot(ctx context.Context, old *Config, c Config, manager RotationManager) Config {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	planned := c.rootSchedule().IsZero() || !c.Root.Next.IsZero()
	if c.rootSchedule() == before && planned {
		return c
	}
	c.ManagedRotation = manager.Keep(ctx, c.rootSchedule())
	c.Root = c.Root.replan(c.rootSchedule(), e.Clock.Now(), e.fraction())
	return c
}

// unplanRoot gives the rotation manager the old schedule back after a write that
// could not be stored.
func (e *Engine) unplanRoot(ctx context.Context, old *Config, planned Config, manager RotationManager) {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	if planned.rootSchedule() != before {
		manager.Keep(context.WithoutCancel(ctx), before)
	}
}

// DeleteConfig forgets the login: it is logged out, and nothing of it stays in
// memory. Deleting what is not there is no error.
func (e *Engine) DeleteConfig(ctx context.Context, manager RotationManager) error {
	return e.withConfig(ctx, func(old *Config) error { return e.removeConfig(ctx, old, manager) })
}

func (e *Engine) removeConfig(ctx context.Context, old *Config, manager RotationManager) error {
	if old != nil && old.mayBeLost(e.Clock.Now()) {
		return fmt.Errorf("config is not deleted, since one of two passwords would be lost: %w", ErrUnsettled)
	}
	defer e.swap(nil) // also where that is answered as failed: it may be deleted
	if err := e.store.deleteConfig(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	manager.Keep(ctx, Schedule{})
	if old != nil {
		e.Logger.Info("config was deleted, and the login in it")
	}
	return nil
}

// storeConfig stores it, whether the request is given up or not. Where that is answered
// as failed it may be stored all the same: then what is in use is made anew.
func (e *Engine) storeConfig(ctx context.Context, c Config) error {
	err := e.store.putConfig(context.WithoutCancel(ctx), c)
	if err != nil {
		e.swap(nil)
	}
	return err
}
