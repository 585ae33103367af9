// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// rootRotator changes the password of the configured login.
type rootRotator struct {
	*connections
	lock *configLock
}

// RotateRoot changes the password of the configured login and returns when. The new
// password is stored beside the old one before ECGrid gets it. Both stay stored until it
// is known which one ECGrid has. So the right password is stored even if a call fails,
// the process dies, or ECGrid applies the change late.
func (r *rootRotator) RotateRoot(ctx context.Context) (time.Time, error) {
	return r.rotateBecause(ctx, ReasonManual)
}

func (r *rootRotator) rotateBecause(ctx context.Context, why Reason) (time.Time, error) {
	release, err := r.lock.acquire(ctx)
	if err != nil {
		return time.Time{}, err
	}
	defer release()
	return r.rotateLocked(ctx, why)
}

// rotateLocked rotates and records a failure. It goes on if the request is canceled. The
// caller holds the config lock, as for all methods below.
func (r *rootRotator) rotateLocked(ctx context.Context, why Reason) (time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	at, err := r.rotate(ctx)
	if err != nil && !errors.Is(err, ErrTainted) {
		r.logFailure(err)
		r.record(ctx, func(rotation Rotation) Rotation { return rotation.endedBy(err, r.Clock.Now()) })
	}
	r.rotationEnded(Event{Kind: EventRootRotation, Reason: why}, err)
	if errors.Is(err, ErrUnconfirmed) {
		r.sendSettledEvent(at, err)
	}
	return at, err
}

func (r *rootRotator) logFailure(err error) {
	if meaningOf(err).notStarted {
		r.Logger.Warn("rotate-root was not started", "error", describeLasting(err))
		return
	}
	r.Logger.Error("rotate-root failed", "error", describeLasting(err))
}

func (r *rootRotator) rotate(ctx context.Context) (time.Time, error) {
	if r.Tainted() {
		return time.Time{}, ErrTainted
	}
	c, err := r.store.config(ctx)
	switch {
	case err != nil:
		return time.Time{}, err
	case c == nil:
		return time.Time{}, ErrNotConfigured
	case c.APIKey != "":
		return time.Time{}, Invalid("the config uses an api_key and has no password to rotate: write username and password to config first")
	case c.unresolved() != nil:
		return r.mustResolve(ctx)
	case !c.mayTryAnother():
		return time.Time{}, ErrTooManyRefused
	}
	password, err := r.newPassword(ctx, c.PasswordPolicy)
	if err != nil {
		return time.Time{}, err
	}
	current, release, err := r.aliveConnection(ctx)
	defer release()
	if err != nil {
		return time.Time{}, err
	}
	if current.session.Password() != c.Password { // a kept password turned out to be right
		return r.mustResolve(ctx)
	}
	if err := current.session.ReadyForChange(); err != nil {
		return time.Time{}, err
	}
	if current, err = r.storePending(ctx, current, c.withPending(password, r.Clock.Now())); err != nil {
		return time.Time{}, err
	}
	return r.change(ctx, current, password)
}

// newPassword generates a password that ECGrid accepts, by the policy if there is one.
func (r *rootRotator) newPassword(ctx context.Context, policy string) (string, error) {
	if policy == "" {
		return generatePassword(r.Random)
	}
	password, err := r.PasswordFromPolicy(ctx, policy)
	if err != nil {
		return "", Invalid("password_policy %q generates no password: check that the policy exists", policy)
	}
	if !isAccepted(password) {
		return "", Invalid("password_policy %q generates passwords that ECGrid refuses: it must require 8 or more printable characters with a lower-case letter, an upper-case letter, a digit and another one", policy)
	}
	return password, nil
}

// mustResolve resolves an earlier change for a request, which succeeds if the password
// was rotated.
func (r *rootRotator) mustResolve(ctx context.Context) (time.Time, error) {
	at, err := r.resolve(ctx)
	if err == nil && at.IsZero() {
		return at, ErrUnresolved
	}
	return at, err
}

// aliveConnection returns the connection in use with a session that works, until release is
// called. A session that is dead or nears its end is replaced now, and not during the change.
func (r *rootRotator) aliveConnection(ctx context.Context) (alive *connection, release func(), err error) {
	release = func() {}
	err = r.withConnection(ctx, func(current *connection) error {
		release() // of a connection that was closed meanwhile
		ctx, cancel := context.WithTimeout(ctx, current.config.requestDeadline())
		defer cancel()
		alive = current
		if release, err = current.session.HoldRenewals(ctx); err != nil {
			return err
		}
		return current.session.Use(ctx, current.session.WhoAmI)
	})
	return alive, release, err
}

// storePending stores a password that ECGrid is about to get, and makes it known to the
// session.
func (r *rootRotator) storePending(ctx context.Context, current *connection, c Config) (*connection, error) {
	candidates, err := r.store.candidates(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := r.storeConfig(ctx, c); err != nil {
		r.resolution.start(firstRetryAfter) // it may be stored all the same
		return nil, err
	}
	current.session.AddCandidates(candidates)
	next := &connection{config: c, link: current.link}
	r.setCurrent(next)
	return next, nil
}

// change sends a stored change for the first time.
func (r *rootRotator) change(ctx context.Context, current *connection, password string) (time.Time, error) {
	begun, err := r.changePassword(ctx, current, password)
	switch {
	case err == nil:
		return r.confirm(ctx, current.config, password, time.Time{})
	case !begun || !ecgrid.MayBeSent(err):
		return time.Time{}, r.withdraw(ctx, current, password, err)
	case classify(err).Refusal:
		return r.refused(ctx, current, password, err)
	}
	return time.Time{}, unconfirmed(err)
}

func unconfirmed(err error) error { return fmt.Errorf("%w: %w", ErrUnconfirmed, err) }

// changePassword sends the change once. The same pair of passwords may be sent again,
// however late the first call arrives: ECGrid changes nothing if the old password is no
// longer the current one.
func (r *rootRotator) changePassword(ctx context.Context, current *connection, password string) (begun bool, err error) {
	defer panics.Recover(r.Logger, &err)
	return current.useOnce(ctx, func(ctx context.Context, by ecgrid.Credential) error {
		begun = true // in case of a panic
		return withoutNotFound(current.client.ChangePassword(ctx, by, current.config.Password, password))
	})
}

// withdraw removes a password that was never sent.
func (r *rootRotator) withdraw(ctx context.Context, current *connection, password string, why error) error {
	if err := r.storeConfig(ctx, current.config.withoutPending(password)); err != nil {
		r.resolution.start(firstRetryAfter) // it is still stored
	}
	r.setCurrent(nil) // its session knows the removed password
	return why
}

// refused checks that a change that ECGrid refused was not applied by an earlier copy of
// the call.
func (r *rootRotator) refused(ctx context.Context, current *connection, password string, refusal error) (time.Time, error) {
	works, err := r.loginAgain(ctx, current)
	switch {
	case err != nil:
		return time.Time{}, unconfirmed(err)
	case works != current.config.Password:
		return r.confirm(ctx, current.config, works, time.Time{})
	}
	// The old password worked after the refusal. The new one is kept in case ECGrid
	// applies the change after all.
	definite := meaningOf(refusal).notApplied
	result := unconfirmed(refusal)
	if definite {
		result = asConflict(refusal)
	}
	kept := current.config.withRefused(definite, r.Clock.Now())
	kept.Root.LastError = describeLasting(result)
	if err := r.storeConfig(ctx, kept); err != nil {
		return time.Time{}, unconfirmed(err)
	}
	r.setCurrent(nil) // the next connection knows the passwords that are kept
	return time.Time{}, foundUnchanged{result}
}

// foundUnchanged is the failure of a change after which the old password worked. It is
// resolved.
type foundUnchanged struct{ error }

func (e foundUnchanged) Unwrap() error { return e.error }

// loginAgain returns the password that ECGrid has. Only a new session proves it.
func (r *rootRotator) loginAgain(ctx context.Context, current *connection) (password string, err error) {
	ctx, cancel := context.WithTimeout(ctx, current.config.requestDeadline())
	defer cancel()
	return current.session.Reopen(ctx)
}

// confirm makes a password the config's own: it worked, or ECGrid confirmed the change.
// RepeatUntil is that of the config.
func (r *rootRotator) confirm(ctx context.Context, c Config, password string, repeatUntil time.Time) (time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	changed, err := r.confirmed(ctx, c, password, repeatUntil)
	if err != nil {
		return time.Time{}, unconfirmed(err)
	}
	mark, err := r.store.fingerprint(ctx, password)
	if err != nil {
		return time.Time{}, unconfirmed(err)
	}
	r.ledger.CredentialReplaced(c.login(), mark)
	if current := r.current(); current != nil {
		current.session.SetPassword(password)
	}
	if err := r.storeConfig(ctx, changed); err != nil {
		r.resolution.start(firstRetryAfter)
		return time.Time{}, fmt.Errorf("%w: ECGrid has the new password, which is stored beside the old one until it can replace it: %w", ErrUnconfirmed, err)
	}
	r.Logger.Info("the password of the ECGrid login was rotated", "username", changed.Username)
	next, err := r.connect(ctx, changed)
	if err != nil {
		next = nil // the mount is closing, or the next request connects
	}
	r.setCurrent(next)
	return changed.Root.Last, nil
}

// confirmed returns c with the new password.
func (r *rootRotator) confirmed(ctx context.Context, c Config, password string, repeatUntil time.Time) (Config, error) {
	old, err := r.store.fingerprint(ctx, c.Password)
	if err != nil {
		return c, err
	}
	now := r.Clock.Now()
	if c.Unproven != "" && isFingerprintOf(old, c.Unproven) { // it did work
		c.Written, c.Unproven, c.SupersededAt = c.Unproven, "", time.Time{}
	}
	if c.SupersededAt.IsZero() && isFingerprintOf(old, c.Written) {
		c.SupersededAt = now.UTC()
	}
	was := c
	c.Password = password
	c = c.withoutPending(password).withPendingKept(now).withReplaced(was, now)
	c.RepeatUntil = repeatUntil
	c.Root = c.Root.succeeded(c.rootSchedule(), now, r.fraction())
	return c, nil
}

// record stores the state of the rotation, if it changed.
func (r *rootRotator) record(ctx context.Context, change func(Rotation) Rotation) {
	c, err := r.store.config(ctx)
	if err != nil || c == nil || c.APIKey != "" {
		return
	}
	changed := change(c.Root)
	if changed == c.Root {
		return
	}
	c.Root = changed
	if err := r.store.putConfig(ctx, *c); err != nil {
		r.Logger.Warn("the failure of rotate-root could not be stored", "error", err)
	}
}
