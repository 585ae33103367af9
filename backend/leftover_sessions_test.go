// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Failed Logouts are tried again, but not all of them before each Login.
func TestLeftoverLogoutsAreBounded(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t, func(c *Config) { c.SessionIdleTimeout = 0 })
		f.maxSessions = 1 << 20
		f.failWith("Logout", ecgrid.ErrServerFault)
		const reads = 200
		for range reads {
			readKey(t, e, 5001)
			time.Sleep(time.Second)
		}
		notes, err := storage.List(t.Context(), sessionPrefix)
		check(t, err)
		if n := f.now().calls["Logout"]; n > 17*reads || len(notes) > reads {
			t.Errorf("%d reads made %d Logouts and left %d notes", reads, n, len(notes))
		}
	})
}

// hungLogout is an endpoint whose Logout hangs until its context ends.
type hungLogout struct {
	*fakeECGrid
	hangs atomic.Bool
}

func (h *hungLogout) Logout(ctx context.Context, by ecgrid.Credential) error {
	if !h.hangs.Load() {
		return h.fakeECGrid.Logout(ctx, by)
	}
	<-ctx.Done()
	return opError("Logout", ecgrid.ErrTimeout)
}

// A session that was left open at a host that is gone does not delay every Login at
// another host.
func TestLeftoverSessionAtHungHost(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"logout at once": 0, "idle for a minute": time.Minute} {
		runCase(t, name, func(t *testing.T) {
			f, _, storage := configured(t, func(c *Config) { c.SessionIdleTimeout = idle })
			gone := &hungLogout{fakeECGrid: f}
			e := testEngineAt(t, f, storage, func(at ecgrid.Endpoint) (ecgrid.Client, error) {
				if at.URL == DefaultURL {
					return gone, nil
				}
				return f, nil
			})
			readKey(t, e, 5001)
			gone.hangs.Store(true)
			_, _ = e.IssueKey(t.Context(), 5001, 0)
			writeConfig(t, e, ConfigPatch{Transport: ptr("rest")})
			slow := 0
			for range 20 {
				time.Sleep(30 * time.Minute)
				began := time.Now()
				readKey(t, e, 5001)
				if time.Since(began) > time.Second {
					slow++
				}
			}
			if slow > 2 {
				t.Errorf("%d of 20 reads at the new host waited for a Logout at the old one, want at most 2", slow)
			}
			e.Close()
			time.Sleep(time.Minute) // Close does not wait for the Logout that hangs
		})
	}
}
