package backend

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Logouts that are owed are tried again, but not all of a day before each Login and
// all at once.
func TestAttackOwedLogoutsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.cap = 1 << 20
		e, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = 0 })
		defer e.Close()
		f.failWith("Logout", ecgrid.ErrServerFault)
		const reads = 200
		for range reads {
			if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		notes, err := raw.List(t.Context(), sessionPrefix)
		if err != nil || f.count("Logout") > 17*reads || len(notes) > reads {
			t.Errorf("%d reads made %d Logouts and %d notes: %v", reads, f.count("Logout"), len(notes), err)
		}
	})
}

// hungHost is a vendor's endpoint that answers nothing any more.
type hungHost struct {
	*fakeECGrid
	hangs atomic.Bool
}

func (h *hungHost) Logout(ctx context.Context, id string) error {
	if !h.hangs.Load() {
		return h.fakeECGrid.Logout(ctx, id)
	}
	<-ctx.Done()
	return opError("Logout", ecgrid.ErrTimeout)
}

// A session that is still owed to a host that is gone does not slow every Login at
// another.
func TestAttackOwedToAHostThatIsGone(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"logout at once": 0, "idle for a minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				gone := &hungHost{fakeECGrid: f}
				_, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
				e := testEngineAt(f, raw, func(at ecgrid.Endpoint) (ecgrid.Client, error) {
					if at.URL == DefaultURL {
						return gone, nil
					}
					return f, nil
				})
				defer time.Sleep(time.Minute) // for a Logout that nobody waits for
				defer e.Close()
				if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
					t.Fatal(err)
				}
				gone.hangs.Store(true)
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				if err := e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(theirREST)}, noManager{}); err != nil {
					t.Fatal(err)
				}
				slow := 0
				for range 20 {
					time.Sleep(30 * time.Minute)
					began := time.Now()
					if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
						t.Fatal(err)
					}
					if time.Since(began) > time.Second {
						slow++
					}
				}
				if slow > 2 {
					t.Errorf("%d of 20 reads at the new host waited for a Logout at the old one", slow)
				}
			})
		})
	}
}
