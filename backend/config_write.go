// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"time"

	"vault-plugin-ecgrid/backend/session"
)

// configs reads, writes and deletes the config.
type configs struct {
	*connections
	root *rootRotator
}

// ReadConfig returns the stored config, or nil. It does not call ECGrid.
func (c *configs) ReadConfig(ctx context.Context) (*Config, error) {
	config, err := c.store.config(ctx)
	if err != nil || config == nil {
		return nil, err
	}
	refused, err := c.refusedLogins(ctx, *config)
	if err != nil {
		c.Logger.Warn("the config is read without its last_login_error", "error", err)
	}
	config.LastLoginError = describeRefused(refused)
	return config, nil
}

// refusedLogins returns what ECGrid said of the stored login since it last worked.
func (c *configs) refusedLogins(ctx context.Context, config Config) (session.Refusals, error) {
	candidates, err := c.store.candidates(ctx, config)
	if err != nil {
		return session.Refusals{}, err
	}
	return c.ledger.Refusals(ctx, config.login(), candidates)
}

// WriteConfig applies a patch. The result is validated, verified, stored and then used.
// If any of these fails, nothing changes.
func (c *configs) WriteConfig(ctx context.Context, patch ConfigPatch, manager RotationManager) error {
	return c.root.lock.withConfig(ctx, func(old *Config) error { return c.write(ctx, old, patch, manager) })
}

// PatchConfig is WriteConfig for a config that exists.
func (c *configs) PatchConfig(ctx context.Context, patch ConfigPatch, manager RotationManager) error {
	return c.root.lock.withConfig(ctx, func(old *Config) error {
		if old == nil {
			return ErrNotConfigured
		}
		return c.write(ctx, old, patch, manager)
	})
}

func (c *configs) write(ctx context.Context, old *Config, patch ConfigPatch, manager RotationManager) error {
	config, err := c.patched(ctx, old, patch)
	if err != nil {
		return err
	}
	next, err := c.nextConnection(ctx, config, patch)
	if err != nil {
		return err
	}
	if patch.wantsVerification() {
		if err := c.verify(ctx, next, patch.bringsCredential()); err != nil {
			c.abandon(next)
			return err
		}
	}
	next.config = c.root.reschedule(old, config)
	if err := c.storeConfig(ctx, next.config); err != nil {
		c.abandon(next)
		return err
	}
	next.config, err = c.root.handOver(ctx, next.config, manager)
	c.setCurrent(next)
	c.sendEvent(Event{Kind: EventConfigWritten})
	return err
}

// patched returns the config after the patch, or why it is refused.
func (c *configs) patched(ctx context.Context, old *Config, patch ConfigPatch) (Config, error) {
	config, err := patch.apply(old)
	if err != nil {
		return Config{}, err
	}
	if old != nil {
		if err := c.refuseSuperseded(ctx, *old, config, patch); err != nil {
			return Config{}, err
		}
		if config, err = keepPending(*old, config, patch, c.Clock.Now()); err != nil {
			return Config{}, err
		}
	}
	return c.rememberWritten(ctx, config, patch)
}

// nextConnection makes the connection of a new config. It keeps the current link if neither the
// login nor the endpoint nor the session changes.
func (c *configs) nextConnection(ctx context.Context, config Config, patch ConfigPatch) (*connection, error) {
	current := c.current()
	if current != nil && !patch.bringsCredential() && current.config.sameLink(config) {
		return &connection{config: config, link: current.link}, nil
	}
	return c.connect(ctx, config)
}

// sameLink reports whether both configs can use the same link.
func (c Config) sameLink(other Config) bool {
	return c.endpoint() == other.endpoint() && sameLogin(c, other) && c.Password == other.Password &&
		c.SessionIdleTimeout == other.SessionIdleTimeout && c.KeyCacheTTL == other.KeyCacheTTL
}

// abandon closes a connection that was never used.
func (c *configs) abandon(next *connection) {
	if current := c.current(); current == nil || current.link != next.link {
		c.disconnect(next.link)
	}
}

// verify logs in with a connection that is not in use yet. Its session stays open for
// the first read. If the same user has an idle session, that is logged out before: it may
// have the last place in the user's session table.
func (c *configs) verify(ctx context.Context, next *connection, fromWrite bool) error {
	if current := c.current(); current != nil && current.link != next.link && current.config.login() == next.config.login() {
		current.session.EndIfUnused(ctx)
	}
	return next.session.Verify(ctx, fromWrite)
}

// refuseSuperseded refuses the last password that an operator wrote after rotate-root has
// replaced it. Declarative tools send it again. Trying it would be a refused login.
func (c *configs) refuseSuperseded(ctx context.Context, old, config Config, patch ConfigPatch) error {
	if patch.Password == nil || old.SupersededAt.IsZero() || !sameLogin(old, config) {
		return nil
	}
	fingerprint, err := c.store.fingerprint(ctx, *patch.Password)
	if err != nil || !isFingerprintOf(fingerprint, old.Written) {
		return err
	}
	return Invalid("this password was superseded by rotate-root at %s: leave password out of the write to keep the current one. If last_login_error in config says that ECGrid refuses that, set a password in ECGrid that this login never had, and write it", old.SupersededAt.Format(time.RFC3339))
}

// rememberWritten remembers the password that an operator wrote. A password that was not
// verified does not take the place of a superseded one.
func (c *configs) rememberWritten(ctx context.Context, config Config, patch ConfigPatch) (Config, error) {
	if patch.Password == nil {
		return config, nil
	}
	fingerprint, err := c.store.fingerprint(ctx, *patch.Password)
	if err != nil {
		return config, err
	}
	if !config.SupersededAt.IsZero() && !patch.wantsVerification() {
		config.Unproven = fingerprint
		return config, nil
	}
	config.Written, config.Unproven, config.SupersededAt = fingerprint, "", time.Time{}
	return config, nil
}

// DeleteConfig logs out and deletes the config. It is no error if there is none.
func (c *configs) DeleteConfig(ctx context.Context, manager RotationManager) error {
	return c.root.lock.withConfig(ctx, func(old *Config) error {
		if old != nil {
			if err := old.refuseDelete(c.Clock.Now()); err != nil {
				return err
			}
		}
		defer c.setCurrent(nil) // also on failure: the config may be deleted all the same
		if err := c.store.deleteConfig(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		manager.Keep(ctx, Schedule{})
		if old != nil {
			c.Logger.Info("the config and its login were deleted")
			c.sendEvent(Event{Kind: EventConfigDeleted})
		}
		return nil
	})
}
