// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/promtest"
	"vault-plugin-ecgrid/internal/simulator"
)

// draw draws the dashboard of a run of about two minutes into a file: load, rotations, an ECGrid
// that is slow for a while and then down.
func (m monitored) draw(t *testing.T, file string) {
	t.Helper()
	began := time.Now()
	m.ok(t, http.MethodPost, m.at("config"), fields{"key_cache_ttl": "1s", "request_timeout": "2s"})
	m.ok(t, http.MethodPost, m.at("roles/counted"), fields{"user_id": simulator.UserID5002, "rotate_on_revoke": true})
	m.ok(t, http.MethodPost, m.at("roles/billing"), fields{"user_id": simulator.UserID5002})
	m.read(t, m.at("creds/counted"))
	stop := m.load(t)
	incident := func(f simulator.Fault, d time.Duration) {
		clear := m.Inject(f)
		time.Sleep(d)
		clear()
		time.Sleep(20 * time.Second)
	}
	time.Sleep(15 * time.Second)
	m.ok(t, http.MethodPost, m.at("rotate-role/orders"), nil)
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	time.Sleep(15 * time.Second)
	incident(simulator.Fault{Op: keyOp, Delay: 400 * time.Millisecond}, 20*time.Second)
	incident(simulator.Fault{Op: keyOp, Answer: simulator.AnswerReset}, 15*time.Second)
	m.ok(t, http.MethodPost, m.at("rotate-key/5002"), nil)
	time.Sleep(5 * time.Second)
	stop()

	svg, err := promtest.Draw(m.prometheus, m.dashboard, began.Add(5*time.Second), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, svg, 0o644); err != nil {
		t.Fatal(err)
	}
}

// load has readers of two users until it is stopped. Their failures are part of the picture.
func (m monitored) load(t *testing.T) (stop func()) {
	t.Helper()
	done := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 8 {
		at := m.at([]string{"static-creds/orders", "static-creds/billing"}[i%2])
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(40 * time.Millisecond):
					_, _ = m.do(http.MethodGet, at, nil)
				}
			}
		})
	}
	return func() {
		close(done)
		readers.Wait()
	}
}
