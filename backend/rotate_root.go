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

const (
	firstSettling = time.Second
	maxSettling   = 2 * time.Minute
)

// RotateRoot changes the password of the configured login, and tells when. The new
// one is stored beside the old before ECGrid gets it, and stays there until it was
// seen which one ECGrid has: whatever fails, wherever the process dies, and however
// late the change is made, one of those that are stored is the right one.
func (e *Engine) RotateRoot(ctx context.Context) (time.Time, error) {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return time.Time{}, err
	}
	defer e.configLock.Release(1)
	return e.rotateRootNow(ctx)
}

// rotateRootNow is RotateRoot under configLock. A client that hangs up changes
// nothing any more.
func (e *Engine) rotateRootNow(ctx context.Context) (time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	rotated, err := e.rotateRoot(ctx)
	if err != nil && !errors.Is(err, ErrTainted) {
		e.rootFailed(ctx, err)
	}
	return rotated, err
}

func (e *Engine) rotateRoot(ctx context.Context) (time.Time, error) {
	if e.Tainted() {
		return time.Time{}, ErrTainted
	}
	c, err := e.store.config(ctx)
	switch {
	case err != nil:
		return time.Time{}, err
	case c == nil:
		return time.Time{}, ErrNotConfigured
	case c.APIKey != "":
		return time.Time{}, Invalid("the config uses an api_key and has no password to rotate: write username and password to config first")
	case c.livePending() != nil:
		return e.seenThrough(ctx) // which is what was asked for
	case !c.mayOffer():
		return time.Time{}, ErrRefusedOften
	}
	password, err := e.newPassword(ctx, c.PasswordPolicy)
	if err != nil {
		return time.Time{}, err
	}
	a, err := e.aliveAccount(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if with := a.session.Current(); with != c.Password {
		return e.seenThrough(ctx) // one that was only kept has taken its place
	}
	if err := a.session.MayDoubt(); err != nil {
		return time.Time{}, err
	}
	if a, err = e.offer(ctx, a, c.withPending(password, e.Clock.Now())); err != nil {
		return time.Time{}, err
	}
	return e.change(ctx, a, password)
}

// offer stores a password that ECGrid is about to get, and has the session know it.
func (e *Engine) offer(ctx context.Context, a *account, c Config) (*account, error) {
	candidates, err := e.candidates(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := e.storeConfig(ctx, c); err != nil {
		e.settleInBackground(firstSettling) // it may be stored all the same
		return nil, err
	}
	a.session.Offer(candidates)
	next := &account{config: c, link: a.link}
	e.swap(next)
	return next, nil
}

// aliveAccount is the account in use, with a session that lives: one that has died is
// replaced now, not in the midst of a change.
func (e *Engine) aliveAccount(ctx context.Context) (used *account, err error) {
	err = e.withAccount(ctx, func(a *account) error {
		used = a
		ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
		defer cancel()
		return a.session.Use(ctx, a.session.WhoAmI)
	})
	return used, err
}

// seenThrough settles for a request, which is done when the password was rotated.
func (e *Engine) seenThrough(ctx context.Context) (time.Time, error) {
	at, err := e.settle(ctx)
	if err == nil && at.IsZero() {
		return at, ErrUnsettled
	}
	return at, err
}

// change sends a stored change the first time.
func (e *Engine) change(ctx context.Context, a *account, password string) (time.Time, error) {
	begun, err := e.changePassword(ctx, a, password)
	switch {
	case err == nil:
		return e.confirm(ctx, a.config, password, time.Time{})
	case !begun || !ecgrid.MayBeSent(err):
		return time.Time{}, e.takeBack(ctx, a, password, err)
	case judge(err).Refusal:
		return e.refused(ctx, a, password, err)
	}
	return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// takeBack forgets a password that never left.
func (e *Engine) takeBack(ctx context.Context, a *account, password string, why error) error {
	if err := e.storeConfig(ctx, a.config.withoutPending(password)); err != nil {
		e.settleInBackground(firstSettling) // it is stored, and so will be seen through
	}
	e.swap(nil) // its session knows a password too many
	return why
}

// refused makes sure that a change that ECGrid refused was not made all the same,
// by a copy of the order that came first.
func (e *Engine) refused(ctx context.Context, a *account, password string, refusal error) (time.Time, error) {
	with, err := e.reopen(ctx, a)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	case with != a.config.Password:
		return e.confirm(ctx, a.config, with, time.Time{})
	}
	// The old one works after the answer came: the new one will not do, and is only
	// kept in case that is not the last word.
	definite := meaningOf(refusal).unmade
	answer := fmt.Errorf("%w: %w", ErrOutcomeUnknown, refusal)
	if definite {
		answer = notMade(refusal)
	}
	kept := a.config.withRefused(definite, e.Clock.Now())
	kept.Root.LastError = describe(answer)
	if err := e.storeConfig(ctx, kept); err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	e.swap(nil) // what is made next knows the passwords that there are
	return time.Time{}, answer
}

// reopen tells which of the passwords ECGrid has: only a new session does.
func (e *Engine) reopen(ctx context.Context, a *account) (password string, err error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
	defer cancel()
	return a.session.Reopen(ctx)
}

// changePassword sends the change once. The same pair may be sent again, however
// late the first arrives: it changes nothing where the old password is not the
// current one any more.
func (e *Engine) changePassword(ctx context.Context, a *account, password string) (begun bool, err error) {
	defer panics.Recover(e.Logger, &err)
	ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
	defer cancel()
	return a.session.UseOnce(ctx, func(ctx context.Context, sessionID string) error {
		begun = true
		return nothingMissing(a.client.ChangePassword(ctx, sessionID, a.config.Password, password))
	})
}

// confirm makes a password the config's that was seen to work, or whose change was
// confirmed. Unsure is until when an older order may still be under way.
func (e *Engine) confirm(ctx context.Context, c Config, password string, unsure time.Time) (time.Time, error) {
	ctx = context.WithoutCancel(ctx)
	changed, err := e.rotated(ctx, c, password, unsure)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	mark, err := e.store.fingerprint(ctx, password)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
	e.ledger.Succeeds(c.login(), mark)
	if live, _ := e.accounts.now(); live != nil {
		live.session.Confirmed(password)
	}
	if err := e.storeConfig(ctx, changed); err != nil {
		e.settleInBackground(firstSettling)
		return time.Time{}, fmt.Errorf("%w: ECGrid has the new password, which is stored beside the old one until it can take its place: %w", ErrOutcomeUnknown, err)
	}
	e.Logger.Info("the password of the ECGrid login was rotated", "username", changed.Username)
	a, err := e.newAccount(ctx, changed)
	if err != nil {
		a = nil // the mount is closing, or makes it when it is needed
	}
	e.swap(a)
	return changed.Root.Last, nil
}

// rotated is c after its password was replaced.
func (e *Engine) rotated(ctx context.Context, c Config, password string, unsure time.Time) (Config, error) {
	old, err := e.store.fingerprint(ctx, c.Password)
	if err != nil {
		return c, err
	}
	now := e.Clock.Now()
	if c.Unproven != "" && isFingerprintOf(old, c.Unproven) { // it did work
		c.Written, c.Unproven, c.SupersededAt = c.Unproven, "", time.Time{}
	}
	if c.SupersededAt.IsZero() && isFingerprintOf(old, c.Written) {
		c.SupersededAt = now.UTC()
	}
	was := c
	c.Password = password
	c = c.withoutPending(password).withPendingKept(now).withReplaced(was, now)
	c.Unsure = unsure
	c.Root = c.Root.succeeded(c.rootSchedule(), now, e.fraction())
	return c, nil
}

// Settle finds out which password ECGrid has where that is not known, and sees the
// change through. Without anything to settle it does nothing. It may be broken off at
// any time: nothing is lost by that.
func (e *Engine) Settle(ctx context.Context) error {
	ctx, breakOff := context.WithCancel(ctx)
	defer breakOff()
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	e.breakOff.Store(&breakOff)
	defer e.breakOff.Store(nil)
	_, err := e.settle(ctx)
	return err
}

// breakOffSettling has what settles in the background give the config's lock back.
func (e *Engine) breakOffSettling() {
	if breakOff := e.breakOff.Load(); breakOff != nil {
		(*breakOff)()
	}
}

// settle is Settle under configLock; it tells when the password was rotated.
func (e *Engine) settle(ctx context.Context) (time.Time, error) {
	c, err := e.store.config(ctx)
	switch {
	case err != nil || c == nil || len(c.Pending) == 0:
		return time.Time{}, err
	case e.Tainted():
		return time.Time{}, ErrTainted
	case c.APIKey != "": // nobody logs in, so that nothing is to be found out
		return time.Time{}, e.storeConfig(ctx, c.withoutExpired(e.Clock.Now()))
	}
	a, err := e.account(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if with := a.session.Current(); with != "" && with != c.Password {
		return e.confirm(ctx, *c, with, e.Clock.Now().Add(keptFor)) // it was seen to work
	}
	live := c.livePending()
	switch {
	case live == nil && c.expired(e.Clock.Now()):
		return time.Time{}, e.dropExpired(ctx, a, *c)
	case live == nil:
		return time.Time{}, nil
	}
	a = &account{config: *c, link: a.link}
	with, err := e.reopen(ctx, a)
	if errors.Is(err, session.ErrClosed) {
		e.swap(nil) // whoever put it there, it is of no use
	}
	if err != nil {
		return time.Time{}, e.rootUnsettled(ctx, *live, err)
	}
	if with != c.Password {
		return e.confirm(ctx, *c, with, e.Clock.Now().Add(keptFor))
	}
	_, err = e.changePassword(ctx, a, live.Password)
	switch {
	case err == nil:
		return e.confirm(ctx, *c, live.Password, e.Clock.Now().Add(keptFor))
	case e.Clock.Now().Sub(live.Since) > keptFor:
		return e.refused(ctx, a, live.Password, err) // long enough: it will not do
	}
	// A refusal proves nothing: an order that was sent before may be under way yet.
	return time.Time{}, e.rootUnsettled(ctx, *live, err)
}

// dropExpired forgets what was only kept, once the stored password has outlived it.
func (e *Engine) dropExpired(ctx context.Context, a *account, c Config) error {
	with, err := e.reopen(ctx, a)
	if err != nil {
		return err
	}
	if with != c.Password {
		_, err = e.confirm(ctx, c, with, time.Time{})
		return err
	}
	err = e.storeConfig(ctx, c.withoutExpired(e.Clock.Now()))
	e.swap(nil) // what is made next does not know them
	return err
}

// settleInBackground settles, now or after a while, and again later for as long as
// it does not come to an end. It is done once at a time; where it sleeps, it wakes up.
func (e *Engine) settleInBackground(after time.Duration) {
	if !e.settling.CompareAndSwap(false, true) {
		select {
		case e.wake <- struct{}{}:
		default:
		}
		return
	}
	e.inBackground(func(ctx context.Context) {
		defer e.settling.Store(false)
		for wait := firstSettling; e.sleep(ctx, after); wait = min(2*wait, maxSettling) {
			err := e.Settle(ctx)
			if err == nil || meaningOf(err).unmade || e.isSettled(ctx) {
				return
			}
			after = wait
		}
	})
}

// sleep waits for d, or until it is woken up; false is that ctx ended first.
func (e *Engine) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.wake:
		return true
	case <-ctx.Done():
		return false
	}
}

// isSettled tells that there is nothing left to see through.
func (e *Engine) isSettled(ctx context.Context) bool {
	c, err := e.store.config(ctx)
	return err == nil && (c == nil || c.livePending() == nil && !c.expired(e.Clock.Now()))
}

// rootFailed notes a rotate-root that failed, where operators look for it, and puts
// off the next scheduled one.
func (e *Engine) rootFailed(ctx context.Context, failed error) {
	message := describe(failed)
	e.Logger.Error("rotate-root failed", "error", message)
	e.noteRoot(ctx, func(r Rotation) Rotation { return r.failed(message, e.Clock.Now()) })
}

// rootUnsettled notes that it is still not known which password ECGrid has.
func (e *Engine) rootUnsettled(ctx context.Context, p Pending, failed error) error {
	err := fmt.Errorf("%w: %w", ErrUnsettled, failed)
	if errors.Is(failed, session.ErrClosed) || ctx.Err() != nil { // broken off: that is no news
		return err
	}
	message := describe(err)
	e.Logger.Warn("it is not known whether ECGrid has the password from before rotate-root or the one after", "since", p.Since, "error", message)
	e.noteRoot(ctx, func(r Rotation) Rotation {
		r.LastError = message
		return r
	})
	return err
}

// noteRoot stores what became of a rotate-root, if that is news.
func (e *Engine) noteRoot(ctx context.Context, note func(Rotation) Rotation) {
	c, err := e.store.config(ctx)
	if err != nil || c == nil || c.APIKey != "" {
		return
	}
	noted := note(c.Root)
	if noted == c.Root {
		return
	}
	c.Root = noted
	if err := e.store.putConfig(ctx, *c); err != nil {
		e.Logger.Warn("the failure of rotate-root could not be stored", "error", err)
	}
}
