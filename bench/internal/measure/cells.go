// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"

	"vault-plugin-ecgrid/bench/internal/proc"
	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
	"vault-plugin-ecgrid/bench/internal/upstream"
)

// minReads is how many reads each worker has time for in a round of a slow upstream.
const minReads = 6

func (b *Bench) cells(ctx context.Context) error {
	for i, p := range b.Plan.Cells {
		b.Logf("cell %d of %d: %s, latency %s, %d readers", i+1, len(b.Plan.Cells), p.Storage, p.Latency, p.Concurrency)
		if err := b.cell(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// cell has a Vault of its own, so that earlier cells do not affect it.
func (b *Bench) cell(ctx context.Context, p CellPlan) error {
	var contenders []testbed.Contender
	for _, c := range testbed.Contenders {
		if c.MeasuredIn(p.Latency, p.Concurrency) && b.Tools.Has(c) && b.SelectContender(c.Name) {
			contenders = append(contenders, c)
		}
	}
	return b.withVault(ctx, p.Storage, contenders, p.Concurrency, func(v *testbed.Vault, all []mounted) error {
		cell := report.Cell{Storage: p.Storage, Latency: inMS(p.Latency), Concurrency: p.Concurrency}
		for _, m := range all {
			s := report.Series{Contender: m.Name, Logins: m.logins}
			if pid, err := v.PID(m.Contender); err == nil && pid > 0 {
				s.RSSIdle, _, _ = proc.Memory(pid)
			}
			cell.Series = append(cell.Series, s)
		}
		if err := b.Upstream.SetLatency(ctx, p.Latency); err != nil {
			return err
		}
		for range b.Plan.Rounds {
			for _, i := range b.Random.Perm(len(all)) {
				sample, logins, err := b.sample(ctx, v, all[i].Contender, p)
				if err != nil {
					return err
				}
				s := &cell.Series[i]
				s.Rounds = append(s.Rounds, sample)
				s.Logins += logins
			}
		}
		b.Result.Cells = append(b.Result.Cells, cell)
		return nil
	})
}

// sample measures one contender in one round.
func (b *Bench) sample(ctx context.Context, v *testbed.Vault, c testbed.Contender, p CellPlan) (s report.Sample, logins int, err error) {
	job := c.Job(v, b.Upstream.Access, p.Concurrency)
	job.Duration = max(b.Plan.Round, minReads*p.Latency)
	job.WarmUp = 2
	if p.Latency == 0 {
		job.WarmUp += 50 / p.Concurrency
	}
	r, u, err := b.load(ctx, v, c, job)
	if err != nil {
		return s, 0, err
	}
	logins = u.upstream.Calls[upstream.Login]
	return report.Sample{
		Reads: r.Reads, Errors: r.Errors, FirstError: r.FirstError,
		RPS: report.Round(r.RPS), P50: inMS(r.P50), P99: inMS(r.P99),
		Calls:    report.Round(float64(u.upstream.Total()-logins) / float64(max(r.Total(), 1))),
		VaultCPU: perRead(u.vaultCPU, r.Total()), PluginCPU: perRead(u.pluginCPU, r.Total()),
		RSS: u.rss, Peak: u.peak, MaxInFlight: u.upstream.MaxInFlight,
	}, logins, nil
}
