// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"time"

	"vault-plugin-ecgrid/backend/session"
)

// Clock is where the engine has the time from, so that tests need no sleeps.
type Clock = session.Clock

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (SystemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
