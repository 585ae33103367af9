// SPDX-License-Identifier: MPL-2.0

package session

import (
	"fmt"
	"strings"
	"time"
)

// Paused is an ErrPaused or an ErrTooSoon. Both end at a known time.
type Paused struct {
	// Until is when to try again, in whole seconds and UTC.
	Until time.Time

	reason error
	wait   string // follows the text of reason
	left   time.Duration
	failed FailedLogins
}

// newPaused returns the error of what may be tried again at a time, because of failed Logins.
func newPaused(reason error, wait string, at time.Time, counted []Attempt, now time.Time) *Paused {
	return &Paused{Until: ceilSecond(at.UTC()), reason: reason, wait: wait, left: ceilSeconds(at.Sub(now)), failed: countFailed(counted, now)}
}

// Error says how long to wait, and until when.
func (p *Paused) Error() string {
	return fmt.Sprintf("%s%s for %s more, until %s: %s", p.reason, p.wait, p.left, p.Until.Format(time.RFC3339), p.failed)
}

// Lasting is Error for a message that is stored: it does not say how long to wait.
func (p *Paused) Lasting() string {
	return fmt.Sprintf("%s%s until %s: %s", p.reason, p.wait, p.Until.Format(time.RFC3339), p.failed)
}

func (p *Paused) Unwrap() error { return p.reason }

// ceilSecond rounds a time up, and ceilSeconds a wait.
func ceilSecond(t time.Time) time.Time { return t.Add(time.Second - 1).Truncate(time.Second) }

func ceilSeconds(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// FailedLogins counts the Logins that failed within 15 minutes.
type FailedLogins struct {
	Refused int
	Lost    int // without an answer, or with a session that was dead at its first use
	Faulted int // ECGrid had a fault
}

// countFailed counts the attempts in the window that ends now.
func countFailed(attempts []Attempt, now time.Time) FailedLogins {
	n := countOutcomes(without(attempts, func(a Attempt) bool { return now.Sub(a.decidedBy()) > window }))
	return FailedLogins{Refused: n[Refused], Lost: n[Lost], Faulted: n[Faulted]}
}

// String returns, for example, "2 logins failed (1 refused, 1 with a fault of ECGrid) within
// 15 minutes".
func (f FailedLogins) String() string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{f.Refused, "refused"},
		{f.Lost, "without an answer or a working session"},
		{f.Faulted, "with a fault of ECGrid"},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	const within = "within 15 minutes"
	switch total := f.Refused + f.Lost + f.Faulted; total {
	case 0:
		return "no login failed " + within
	case 1:
		return fmt.Sprintf("1 login failed (%s) %s", parts[0], within)
	default:
		return fmt.Sprintf("%d logins failed (%s) %s", total, strings.Join(parts, ", "), within)
	}
}
