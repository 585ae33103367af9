// SPDX-License-Identifier: MPL-2.0

package measure

import (
	"context"
	"time"

	"vault-plugin-ecgrid/bench/internal/report"
	"vault-plugin-ecgrid/bench/internal/testbed"
)

// firstReads measures the time from registration to the first read, in rounds of random
// order. The first round does not count, because it reads the binaries from disk.
func (b *Bench) firstReads(ctx context.Context) error {
	b.Logf("registration to the first read")
	return b.withVault(ctx, testbed.Inmem, nil, 0, func(v *testbed.Vault, _ []mounted) error {
		contenders := find(testbed.ECGrid, testbed.Noop, testbed.Livefloor)
		results := make([]report.FirstRead, len(contenders))
		for round := range b.Plan.FirstReads + 1 {
			for _, i := range b.Random.Perm(len(contenders)) {
				times, err := b.firstRead(ctx, v, contenders[i])
				if err != nil {
					return err
				}
				if round == 0 {
					continue
				}
				r := &results[i]
				r.Contender = contenders[i].Name
				for step, all := range []*[]float64{&r.Register, &r.Enable, &r.Configure, &r.Read} {
					*all = append(*all, times[step])
				}
			}
		}
		b.Result.FirstReads = results
		return nil
	})
}

// firstRead returns the milliseconds of each step.
func (b *Bench) firstRead(ctx context.Context, v *testbed.Vault, c testbed.Contender) (times [4]float64, err error) {
	for i, step := range []func() error{
		func() error { return v.Register(ctx, c) },
		func() error { return v.Enable(ctx, c) },
		func() error { return v.Configure(ctx, c, b.Upstream.Access, nil) },
		func() error { return v.ReadFirst(ctx, c) },
	} {
		began := time.Now()
		if err := step(); err != nil {
			return times, err
		}
		times[i] = inMS(time.Since(began))
	}
	return times, v.Disable(ctx, c)
}
