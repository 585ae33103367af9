// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"fmt"
	"slices"
	"time"
)

// keptFor is how long a password is kept that ECGrid may only get by applying a change
// late.
const keptFor = 24 * time.Hour

// maxRefused bounds the refused passwords that are kept. Each may cost a refused Login, and
// none is dropped early to make room.
const maxRefused = 3

// Pending is a password that rotate-root has sent to ECGrid without confirmation.
type Pending struct {
	Password string    `json:"password"`
	Login    string    `json:"login"` // Config.login at that time
	Since    time.Time `json:"since"`
	// KeepUntil is zero while the change is unresolved. Later the password is only kept,
	// since ECGrid may still apply the change.
	KeepUntil time.Time `json:"keep_until,omitzero"`
	// Refused: ECGrid answered the change with a fault, and the old password worked
	// after that. Definite: the fault says that the change was not applied.
	Refused  bool `json:"refused,omitempty"`
	Definite bool `json:"definite,omitempty"`
}

func (p Pending) isUnresolved() bool { return p.KeepUntil.IsZero() }

// isExpired reports whether the password need not be kept any longer.
func (p Pending) isExpired(now time.Time) bool { return !p.isUnresolved() && now.After(p.KeepUntil) }

// unresolved returns the password of an unresolved rotate-root, or nil. There is at most
// one: no other change is sent before it is resolved.
func (c Config) unresolved() *Pending {
	for _, p := range c.Pending {
		if p.isUnresolved() {
			return &p
		}
	}
	return nil
}

// pendingPasswords returns those that the login may have instead of its own, the latest
// first.
func (c Config) pendingPasswords() []string {
	var passwords []string
	for _, p := range slices.Backward(c.Pending) {
		if p.Login == c.login() && p.Password != c.Password && !slices.Contains(passwords, p.Password) {
			passwords = append(passwords, p.Password)
		}
	}
	return passwords
}

// withPending returns c with a password that is about to be sent.
func (c Config) withPending(password string, now time.Time) Config {
	c.Pending = append(slices.Clone(c.Pending), Pending{Password: password, Login: c.login(), Since: now.UTC()})
	return c
}

// withPendingKept returns c with its unresolved password only kept.
func (c Config) withPendingKept(now time.Time) Config {
	c.Pending = slices.Clone(c.Pending)
	for i := range c.Pending {
		if c.Pending[i].isUnresolved() {
			c.Pending[i].KeepUntil = now.Add(keptFor).UTC()
		}
	}
	return c
}

// withRefused is withPendingKept after ECGrid refused the unresolved password.
func (c Config) withRefused(definite bool, now time.Time) Config {
	refused := c.unresolved()
	c = c.withPendingKept(now)
	for i := range c.Pending {
		if refused != nil && c.Pending[i].Password == refused.Password {
			c.Pending[i].Refused, c.Pending[i].Definite = true, definite
		}
	}
	return c
}

// mayTryAnother reports whether rotate-root may send another password. It may not while
// maxRefused are kept.
func (c Config) mayTryAnother() bool {
	refused := 0
	for _, p := range c.Pending {
		if p.Refused {
			refused++
		}
	}
	return refused < maxRefused
}

// refuseDelete returns why the config must not be deleted, or nil: the login may have, or may
// still get, a password that is nowhere but in the config.
func (c Config) refuseDelete(now time.Time) error {
	if c.unresolved() != nil {
		return fmt.Errorf("the config is not deleted, since a password that may be the right one would be lost: %w", ErrUnresolved)
	}
	if until := c.deletableAfter(now); !until.IsZero() {
		return fmt.Errorf("the config is not deleted: until %s %w", until.UTC().Format(time.RFC3339), ErrPasswordKept)
	}
	return nil
}

// deletableAfter returns when the last password expires that ECGrid may still apply, rounded up
// to a second, or the zero time if there is none.
func (c Config) deletableAfter(now time.Time) (until time.Time) {
	for _, p := range c.Pending {
		if !p.Definite && !p.isExpired(now) && p.KeepUntil.After(until) {
			until = p.KeepUntil
		}
	}
	if until.IsZero() {
		return until
	}
	return until.Truncate(time.Second).Add(time.Second)
}

// withoutPending returns c without this pending password.
func (c Config) withoutPending(password string) Config {
	c.Pending = slices.DeleteFunc(slices.Clone(c.Pending), func(p Pending) bool { return p.Password == password })
	return c
}

// hasExpired reports whether c has an expired password.
func (c Config) hasExpired(now time.Time) bool {
	return slices.ContainsFunc(c.Pending, func(p Pending) bool { return p.isExpired(now) })
}

// withoutExpired returns c without its expired passwords.
func (c Config) withoutExpired(now time.Time) Config {
	c.Pending = slices.DeleteFunc(slices.Clone(c.Pending), func(p Pending) bool { return p.isExpired(now) })
	return c
}

// keepPending decides what a write does to an unresolved rotate-root. Only a verified
// credential may replace both passwords.
func keepPending(old, c Config, patch ConfigPatch, now time.Time) (Config, error) {
	if sameLogin(old, c) && c.Password == old.Password {
		return c, nil
	}
	c = c.withReplaced(old, now)
	pending := old.unresolved()
	if pending == nil {
		return c, nil
	}
	if !patch.bringsCredential() || !patch.wantsVerification() {
		return c, fmt.Errorf("nothing was changed, since a password that may be the right one would be lost: %w", ErrUnresolved)
	}
	if c.Password == pending.Password {
		return c.withoutPending(pending.Password).withoutFailures(), nil
	}
	return c.withPendingKept(now).withoutFailures(), nil
}

// withReplaced returns c, which replaces old, with the old password kept if ECGrid may
// still apply an earlier change to it.
func (c Config) withReplaced(old Config, now time.Time) Config {
	if old.APIKey == "" && now.Before(old.RepeatUntil) {
		c.Pending = append(slices.Clone(c.Pending), Pending{Password: old.Password, Login: old.login(), Since: now.UTC(), KeepUntil: old.RepeatUntil})
	}
	return c
}

// withoutFailures returns c after an operator has resolved a rotate-root.
func (c Config) withoutFailures() Config {
	c.Root.LastError, c.Root.Failures, c.Root.NotBefore = "", 0, time.Time{}
	return c
}
