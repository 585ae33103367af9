// SPDX-License-Identifier: MPL-2.0

// Package measure makes the measurements: cells, herds, storms, growth and the rest.
package measure

import (
	"time"

	"vault-plugin-ecgrid/bench/internal/testbed"
)

// Plan says how much to measure.
type Plan struct {
	Name   string
	Cells  []CellPlan
	Rounds int           // in each cell
	Round  time.Duration // minimum time of each contender in each round

	Herd   HerdPlan
	Storm  StormPlan
	Growth GrowthPlan
	// FirstReads is how often the time from registration to the first read is measured.
	FirstReads int
	// AllocReads is how many reads are counted. RootBenchmark also runs the benchmark of
	// the root package.
	AllocReads    int
	RootBenchmark bool
	// Users is the number of users of the upstream besides the administrator.
	Users int
}

// CellPlan is a combination of storage, latency and concurrency.
type CellPlan struct {
	Storage     string
	Latency     time.Duration
	Concurrency int
}

// HerdPlan is a number of reads that start at once.
type HerdPlan struct {
	Reads, Repeats int
	Latency        time.Duration
}

// StormPlan is a number of leases that are revoked at once while others read.
type StormPlan struct {
	Leases, Users, Readers int
	Latency                time.Duration
	Before                 time.Duration // how long the readers are measured before it
}

// GrowthPlan has the numbers of leases and roles at which reads are measured.
type GrowthPlan struct {
	Leases, Roles []int
	Reads, Rounds int
	Idle          time.Duration // measured after the last Roles; 0 skips it
}

const ms = time.Millisecond

// Full is the plan of `make bench`. It takes about 25 minutes.
func Full() Plan {
	var cells []CellPlan
	for _, storage := range []string{testbed.Inmem, testbed.Raft} {
		for _, latency := range []time.Duration{0, 20 * ms, 50 * ms, 200 * ms} {
			for _, concurrency := range []int{1, 32, 128} {
				cells = append(cells, CellPlan{storage, latency, concurrency})
			}
		}
	}
	return Plan{
		Name:          "full",
		Cells:         cells,
		Rounds:        5,
		Round:         1200 * ms,
		Herd:          HerdPlan{Reads: 1000, Repeats: 3, Latency: 200 * ms},
		Storm:         StormPlan{Leases: 5000, Users: 500, Readers: 8, Latency: 20 * ms, Before: 3 * time.Second},
		Growth:        GrowthPlan{Leases: []int{10, 1000, 100_000}, Roles: []int{10, 10_000}, Reads: 300, Rounds: 5, Idle: time.Minute},
		FirstReads:    5,
		AllocReads:    3000,
		RootBenchmark: true,
		Users:         50_000,
	}
}

// Quick is a plan for work on the plugin. It takes a few minutes.
func Quick() Plan {
	p := Full()
	p.Name = "quick"
	p.Cells = []CellPlan{
		{testbed.Inmem, 0, 1}, {testbed.Inmem, 0, 32}, {testbed.Raft, 0, 32},
		{testbed.Inmem, 50 * ms, 32}, {testbed.Inmem, 50 * ms, 128},
	}
	p.Rounds, p.Round = 4, 500*ms
	p.Herd.Repeats = 1
	p.Storm.Leases, p.Storm.Users, p.Storm.Before = 1000, 100, time.Second
	p.Growth = GrowthPlan{Leases: []int{10, 1000, 5000}, Roles: []int{10, 1000}, Reads: 200, Rounds: 3}
	p.FirstReads = 3
	p.AllocReads = 1000
	p.RootBenchmark = false
	p.Users = 10_000
	return p
}

// Smoke is the plan of `make test`. It runs everything once and gives no useful figures.
func Smoke() Plan {
	return Plan{
		Name:       "smoke",
		Cells:      []CellPlan{{testbed.Inmem, 0, 2}, {testbed.Raft, 5 * ms, 128}},
		Rounds:     2,
		Round:      60 * ms,
		Herd:       HerdPlan{Reads: 40, Repeats: 1, Latency: 10 * ms},
		Storm:      StormPlan{Leases: 40, Users: 8, Readers: 2, Latency: ms, Before: 50 * ms},
		Growth:     GrowthPlan{Leases: []int{5, 20}, Roles: []int{2, 10}, Reads: 5, Rounds: 1, Idle: 200 * ms},
		FirstReads: 1,
		AllocReads: 20,
		Users:      200,
	}
}
