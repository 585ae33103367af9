package backend

import (
	"fmt"
	"slices"
	"time"
)

// keptFor is how long a password stays a candidate that may only land late.
const keptFor = 24 * time.Hour

// maxRefused is how many of those there are at the most that ECGrid has refused: each
// is a Login that may be refused as well, and none is forgotten for another.
const maxRefused = 3

// Pending is a password that rotate-root has sent to ECGrid without a confirmation.
type Pending struct {
	Password string    `json:"password"`
	Login    string    `json:"login"` // Config.login of then
	Since    time.Time `json:"since"`
	// KeepUntil is zero while it is to become the password. After that it is only
	// kept, since the change may be made late.
	KeepUntil time.Time `json:"keep_until,omitzero"`
	// Refused: ECGrid answered the order with a fault, and the password before worked
	// after that. Definite: the fault left no doubt.
	Refused  bool `json:"refused,omitempty"`
	Definite bool `json:"definite,omitempty"`
}

func (p Pending) isLive() bool { return p.KeepUntil.IsZero() }

// isExpired tells that it need not be kept any more.
func (p Pending) isExpired(now time.Time) bool { return !p.isLive() && now.After(p.KeepUntil) }

// livePending is the password that is to become the config's, or nil. There is one
// at the most: another pair is not sent before this one is settled.
func (c Config) livePending() *Pending {
	for _, p := range c.Pending {
		if p.isLive() {
			return &p
		}
	}
	return nil
}

// pendingPasswords are those that the login may have instead of its own, the latest
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

// withPending is c with a password that is about to be sent.
func (c Config) withPending(password string, now time.Time) Config {
	c.Pending = append(slices.Clone(c.Pending), Pending{Password: password, Login: c.login(), Since: now.UTC()})
	return c
}

// withPendingKept is c in which nothing is to become the password any more; what was
// to is kept until it cannot land any more.
func (c Config) withPendingKept(now time.Time) Config {
	c.Pending = slices.Clone(c.Pending)
	for i := range c.Pending {
		if c.Pending[i].isLive() {
			c.Pending[i].KeepUntil = now.Add(keptFor).UTC()
		}
	}
	return c
}

// withRefused is withPendingKept where ECGrid has refused what was to become the
// password.
func (c Config) withRefused(definite bool, now time.Time) Config {
	live := c.livePending()
	c = c.withPendingKept(now)
	for i := range c.Pending {
		if live != nil && c.Pending[i].Password == live.Password {
			c.Pending[i].Refused, c.Pending[i].Definite = true, definite
		}
	}
	return c
}

// mayOffer tells whether another password may be sent: not while ECGrid has refused so
// many that one more would be one to forget.
func (c Config) mayOffer() bool {
	refused := 0
	for _, p := range c.Pending {
		if p.Refused {
			refused++
		}
	}
	return refused < maxRefused
}

// mayBeLost tells whether the login may have, or may get yet, a password that only
// the config has.
func (c Config) mayBeLost(now time.Time) bool {
	return slices.ContainsFunc(c.Pending, func(p Pending) bool {
		return p.isLive() || !p.Definite && !p.isExpired(now)
	})
}

// withoutPending is c without this password among those that may be.
func (c Config) withoutPending(password string) Config {
	c.Pending = slices.DeleteFunc(slices.Clone(c.Pending), func(p Pending) bool { return p.Password == password })
	return c
}

// expired tells whether something is kept that need not be any more.
func (c Config) expired(now time.Time) bool {
	return slices.ContainsFunc(c.Pending, func(p Pending) bool { return p.isExpired(now) })
}

// withoutExpired is c without it.
func (c Config) withoutExpired(now time.Time) Config {
	c.Pending = slices.DeleteFunc(slices.Clone(c.Pending), func(p Pending) bool { return p.isExpired(now) })
	return c
}

// keepPending decides what a write does to a rotate-root that is not settled. Only a
// credential that is seen to work may take the place of the two that there are.
func keepPending(old, c Config, patch ConfigPatch, now time.Time) (Config, error) {
	stays := sameLogin(old, c) && c.Password == old.Password
	if stays {
		return c, nil
	}
	c = c.withReplaced(old, now)
	live := old.livePending()
	if live == nil {
		return c, nil
	}
	if !patch.bringsCredential() || !patch.wantsVerification() {
		return c, fmt.Errorf("nothing was changed, since one of two passwords would be lost: %w", ErrUnsettled)
	}
	if c.Password == live.Password {
		return c.withoutPending(live.Password).withoutFailures(), nil
	}
	return c.withPendingKept(now).withoutFailures(), nil
}

// withReplaced is c, which replaces old: an order for the old password may be under way
// that lands on top of this one.
func (c Config) withReplaced(old Config, now time.Time) Config {
	if old.APIKey == "" && now.Before(old.Unsure) {
		c.Pending = append(slices.Clone(c.Pending), Pending{Password: old.Password, Login: old.login(), Since: now.UTC(), KeepUntil: old.Unsure})
	}
	return c
}

// withoutFailures is c after an operator has ended a doubt.
func (c Config) withoutFailures() Config {
	c.Root.LastError, c.Root.Failures, c.Root.NotBefore = "", 0, time.Time{}
	return c
}
