// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A rotate-root near the end of a session costs no refused Login: the renewal of the session
// does not run beside the change of the password.
func TestRotateRootDuringRenewal(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{0, 15 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second, 50 * time.Second} {
		for _, reads := range []bool{false, true} {
			runCase(t, latency.String(), func(t *testing.T) {
				f, e, _ := configured(t, func(c *Config) { c.SessionIdleTimeout = 2 * time.Hour })
				f.lifetime, f.lives = time.Hour, time.Hour
				readKey(t, e, 5001)
				time.Sleep(59*time.Minute + 5*time.Second)
				f.on("Login", func() { time.Sleep(latency) }) // hashing the password takes longer than a WhoAmI
				if reads {
					readKey(t, e, 5001) // starts the renewal
				}
				err := errOf(e.RotateRoot(t.Context()))
				if latency < time.Minute/2 {
					check(t, err)
				} else { // nothing was sent
					wantErr(t, err, ecgrid.ErrTimeout)
					time.Sleep(latency)
				}
				f.on("Login", nil)
				readKey(t, e, 5001)
				time.Sleep(2 * time.Minute)
				checkRefused(t, f, 0)
				e.Close()
				checkSessions(t, f, 0)
			})
		}
	}
}
