package backend

import "time"

// Clock is where the engine has the time from, so that tests need no sleeps.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f in its own goroutine after d; stop is as of time.Timer.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// SystemClock is the machine's clock.
type SystemClock struct{}

// Now is time.Now.
func (SystemClock) Now() time.Time { return time.Now() }

// AfterFunc is time.AfterFunc.
func (SystemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}
