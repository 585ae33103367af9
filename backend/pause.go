package backend

import (
	"fmt"
	"time"
)

const (
	firstLoginPause = time.Second
	maxLoginPause   = 5 * time.Minute
	// doubtfulLogins are fewer than the sessions ECGrid allows a user.
	doubtfulLogins = 3
)

// pause keeps refused logins apart, so that the account is never locked by us.
// The zero pause is none.
type pause struct {
	length    time.Duration
	until     time.Time
	doubtfuls int // in a row
}

// refused starts the pause, or doubles it.
func (p *pause) refused(now time.Time) {
	p.length = min(max(2*p.length, firstLoginPause), maxLoginPause)
	p.until = now.Add(p.length)
}

// doubtful counts a Login of which it is not known whether it was carried out, and
// treats the third in a row and every later one as refused.
func (p *pause) doubtful(now time.Time) {
	p.doubtfuls++
	if p.doubtfuls >= doubtfulLogins {
		p.refused(now)
	}
}

// left is how long no login must be tried; 0 or less: it may.
func (p *pause) left(now time.Time) time.Duration { return p.until.Sub(now) }

func pausedFor(left time.Duration) error {
	return fmt.Errorf("%w, for %s more", ErrLoginPaused, left.Round(time.Second)+time.Second)
}
