// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// idleTimeout is the session_idle_timeout of the mount. After it there is no session.
const idleTimeout = time.Second

// herds measures reads that start at once, of one user and of as many users as reads.
func (b *Bench) herds(ctx context.Context) error {
	contenders := find(testbed.ECGrid, testbed.Livefloor)
	return b.withVault(ctx, testbed.Inmem, contenders, 1, func(v *testbed.Vault, _ []mounted) error {
		fields := map[string]any{"session_idle_timeout": idleTimeout.String()}
		if err := v.Configure(ctx, testbed.MustFind(testbed.ECGrid), b.Upstream.Access, fields); err != nil {
			return err
		}
		for _, h := range []struct{ contender, session string }{
			{testbed.ECGrid, report.Cold}, {testbed.ECGrid, report.Warm}, {testbed.ECGrid, report.Expired},
			{testbed.Livefloor, report.Warm}, {testbed.Direct, report.Warm},
		} {
			for _, users := range []int{1, b.Plan.Herd.Reads} {
				if err := b.herd(ctx, v, testbed.MustFind(h.contender), h.session, users); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (b *Bench) herd(ctx context.Context, v *testbed.Vault, c testbed.Contender, session string, users int) error {
	p := b.Plan.Herd
	b.Logf("herd: %d reads of %s on %d users, session %s", p.Reads, c.Name, users, session)
	h := report.Herd{Contender: c.Name, Reads: p.Reads, Users: users, Session: session, Latency: inMS(p.Latency)}
	job := c.Job(v, b.Upstream.Access, p.Reads)
	job.Users, job.PerWorker = users, 1
	for range p.Repeats {
		if err := b.Upstream.SetLatency(ctx, 0); err != nil {
			return err
		}
		if c.Name == testbed.ECGrid {
			if err := b.prepareSession(ctx, v, session); err != nil {
				return err
			}
		}
		if err := b.Upstream.SetLatency(ctx, p.Latency); err != nil {
			return err
		}
		r, u, err := b.load(ctx, v, c, job)
		if err != nil {
			return err
		}
		h.Repeats = append(h.Repeats, report.HerdSample{
			Wall: inMS(r.Wall), Calls: u.upstream.Total(), Logins: u.upstream.Calls[upstream.Login],
			Errors: r.Errors, Peak: u.peak, MaxInFlight: u.upstream.MaxInFlight,
		})
	}
	b.Result.Herds = append(b.Result.Herds, h)
	return nil
}

// prepareSession makes the session of the mount cold, warm or expired.
func (b *Bench) prepareSession(ctx context.Context, v *testbed.Vault, session string) error {
	if session == report.Cold {
		return b.awaitLogout(ctx)
	}
	if err := v.ReadFirst(ctx, testbed.MustFind(testbed.ECGrid)); err != nil || session == report.Warm {
		return err
	}
	return b.Upstream.KillSessions(ctx)
}

func (b *Bench) awaitLogout(ctx context.Context) error {
	for deadline := time.Now().Add(10 * idleTimeout); ; time.Sleep(20 * time.Millisecond) {
		s, err := b.Upstream.State(ctx)
		if err != nil || s.OpenSessions == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d sessions are still open after %s", s.OpenSessions, 10*idleTimeout)
		}
	}
}
