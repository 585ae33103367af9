// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/rotation"
)

const (
	// minRotationPeriod is how often Vault calls PeriodicFunc.
	minRotationPeriod = time.Minute
	// overdueLease is the TTL while a rotation is overdue. It must not be 0, which
	// means the mount's default.
	overdueLease = time.Minute

	firstRetry = time.Minute
	maxRetry   = time.Hour
	maxJitter  = 10 * time.Minute
)

// Schedule says when something is rotated automatically: every Period, or within Window
// after the times of a cron expression. The zero Schedule means never.
type Schedule struct {
	Period time.Duration `json:"rotation_period,omitempty"`
	Cron   string        `json:"rotation_schedule,omitempty"` // five fields, in UTC
	Window time.Duration `json:"rotation_window,omitempty"`   // 0 is no end
}

// SchedulePatch is a write to a Schedule. A nil field is left unchanged.
type SchedulePatch struct {
	Period, Window *time.Duration
	Cron           *string
}

func (p SchedulePatch) apply(s Schedule) (Schedule, error) {
	set(&s.Period, p.Period)
	set(&s.Cron, p.Cron)
	set(&s.Window, p.Window)
	switch {
	case s.Period > 0 && s.Cron != "":
		return s, Invalid("rotation_period and rotation_schedule are both set: keep one and clear the other with an empty value")
	case s.Period > 0 && s.Period < minRotationPeriod:
		return s, Invalid("rotation_period is %s: it must be at least %s", s.Period, minRotationPeriod)
	case s.Window > 0 && s.Cron == "":
		return s, Invalid("rotation_window goes with rotation_schedule: set that too, or clear the window")
	}
	if s.Cron == "" {
		return s, nil
	}
	if strings.Contains(strings.ToUpper(s.Cron), "TZ=") { // the parser panics on some, and ignores the zone of others
		return s, Invalid("rotation_schedule names a time zone: schedules are in UTC, leave TZ= out")
	}
	if _, err := rotation.DefaultScheduler.Parse(s.Cron); err != nil {
		return s, Invalid("rotation_schedule is not a cron expression: send five fields, as in \"0 3 * * SAT\"")
	}
	if s.Window > 0 {
		if err := rotation.DefaultScheduler.ValidateRotationWindow(int(s.Window / time.Second)); err != nil {
			return s, Invalid("rotation_window is %s: it must be at least an hour", s.Window)
		}
	}
	return s, nil
}

// IsZero reports whether there is no automatic rotation.
func (s Schedule) IsZero() bool { return s == Schedule{} }

// after returns the first time after t, or the zero time if there is none.
func (s Schedule) after(t time.Time) time.Time {
	if s.Period > 0 {
		return t.Add(s.Period).UTC()
	}
	if s.Cron == "" {
		return time.Time{}
	}
	cron, err := rotation.DefaultScheduler.Parse(s.Cron)
	if err != nil {
		return time.Time{}
	}
	return cron.Next(t.UTC())
}

// jitter spreads rotations that are due at the same time, over a twentieth of the period
// or window and at most maxJitter. Fraction is random, from 0 to 1.
func (s Schedule) jitter(fraction float64) time.Duration {
	spread := min(max(s.Period, s.Window)/20, maxJitter)
	return time.Duration(fraction * float64(spread))
}

// Rotation is the state of the rotations of one role or of the login.
type Rotation struct {
	Last      time.Time `json:"last,omitzero"`
	Next      time.Time `json:"next,omitzero"`
	NotBefore time.Time `json:"not_before,omitzero"`  // Next with its jitter, or the next try after a failure
	LastError string    `json:"last_error,omitempty"` // why the last try failed or was not started
	Failures  int       `json:"failures,omitempty"`   // in a row
}

// plan schedules the next rotation, counted from now.
func (r Rotation) plan(s Schedule, now time.Time, fraction float64) Rotation {
	r.Next, r.NotBefore = s.after(now), time.Time{}
	if !r.Next.IsZero() {
		r.NotBefore = r.Next.Add(s.jitter(fraction))
	}
	return r
}

// reschedule is plan after a change of the schedule: a period counts from the last
// rotation.
func (r Rotation) reschedule(s Schedule, now time.Time, fraction float64) Rotation {
	from := now
	if s.Period > 0 && !r.Last.IsZero() {
		from = r.Last
	}
	return r.plan(s, from, fraction)
}

// succeeded is the state after a rotation.
func (r Rotation) succeeded(s Schedule, now time.Time, fraction float64) Rotation {
	r.Last, r.LastError, r.Failures = now.UTC(), "", 0
	return r.plan(s, now, fraction)
}

// failed is the state after a failed try. The pauses between tries double from firstRetry
// to maxRetry.
func (r Rotation) failed(message string, now time.Time) Rotation {
	r.LastError = message
	r.NotBefore = now.Add(min(firstRetry<<min(r.Failures, 10), maxRetry)).UTC()
	r.Failures++
	return r
}

// endedBy is the state after a try that did not succeed.
func (r Rotation) endedBy(failed error, now time.Time) Rotation {
	if until := notStartedUntil(failed); !until.IsZero() {
		return r.notStarted(describeLasting(failed), until)
	}
	return r.failed(describeLasting(failed), now)
}

// notStarted is the state after a try that sent nothing and may start later. It is no failure,
// so it does not lengthen the pauses.
func (r Rotation) notStarted(message string, until time.Time) Rotation {
	r.LastError = message
	if until.After(r.NotBefore) {
		r.NotBefore = until.UTC()
	}
	return r
}

// hasEndedBadly reports whether the last try did not succeed.
func (r Rotation) hasEndedBadly() bool { return r.Failures > 0 || r.LastError != "" }

// isDue reports whether to rotate now. A rotation that is late is made up for, unless its
// window is over.
func (r Rotation) isDue(s Schedule, now time.Time) bool {
	if r.Next.IsZero() || now.Before(r.NotBefore) || now.Before(r.Next) {
		return false
	}
	return !r.isMissed(s, now)
}

// wakeTime returns when to look at it next: when it is due, or when its window is over.
// The zero time means never.
func (r Rotation) wakeTime(s Schedule) time.Time {
	if r.Next.IsZero() {
		return time.Time{}
	}
	at := r.Next
	if r.NotBefore.After(at) {
		at = r.NotBefore
	}
	if over := r.Next.Add(s.Window); s.Window > 0 && over.Before(at) {
		return over
	}
	return at
}

// isMissed reports whether the window of the next rotation is over.
func (r Rotation) isMissed(s Schedule, now time.Time) bool {
	return s.Window > 0 && !r.Next.IsZero() && !now.Before(r.Next.Add(s.Window))
}

// timeLeft returns how long a lease that ends with the next rotation may run; ok is false
// if no rotation is scheduled.
func (r Rotation) timeLeft(now time.Time) (d time.Duration, ok bool) {
	if r.Next.IsZero() {
		return 0, false
	}
	left := r.Next.Sub(now)
	if left <= 0 {
		return overdueLease, true
	}
	return max(left.Truncate(time.Second), time.Second), true
}
