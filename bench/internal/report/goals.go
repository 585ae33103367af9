// SPDX-License-Identifier: MPL-2.0

package report

import (
	"fmt"
	"math"
	"slices"

	"vault-plugin-ecgrid/bench/internal/stat"
	"vault-plugin-ecgrid/bench/internal/testbed"
)

// Status is whether a goal was met.
type Status string

// Values of Status. A missed goal stays in the table.
const (
	Met         Status = "met"
	Missed      Status = "MISSED"
	NotMeasured Status = "not measured"
)

// Goal is a goal of the project and what a run measured.
type Goal struct {
	What   string
	Want   string
	Got    string
	Status Status
}

func (g *Goal) set(met bool, format string, a ...any) {
	g.Got, g.Status = fmt.Sprintf(format, a...), Missed
	if met {
		g.Status = Met
	}
}

const (
	mb = 1 << 20

	// maxGrowth is how much slower a read may be at the most objects. It allows for noise.
	maxGrowth = 1.05
	// maxHerdCalls is how many calls a herd on one user may make.
	maxHerdCalls = 10
)

// Goals returns all goals.
func (r *Result) Goals() []Goal {
	goals := r.speedGoals(testbed.ECGrid)
	if len(r.pairs(testbed.ECGridREST, testbed.ECGridREST, nil)) > 0 {
		goals = append(goals, r.speedGoals(testbed.ECGridREST)...)
	}
	cached := r.pairs(testbed.ECGridCached, testbed.NoopBare, noLatency)
	const without = " relative to noop-bare, 0 ms"
	goals = append(goals,
		ratioGoal("ecgrid-cached: reads/s"+without, atLeast(0.97), cached, rps),
		ratioGoal("ecgrid-cached: speed (1 / p50)"+without, atLeast(0.97), cached, speed),
		ratioGoal("ecgrid: CPU per read, Vault and plugin, relative to livefloor, 0 ms", atMost(1.05), r.pairs(testbed.ECGrid, testbed.Livefloor, noLatency), totalCPU),
		r.allocsGoal())
	goals = append(goals, r.herdGoals()...)
	goals = append(goals, r.herdMemoryGoal(), r.memoryGoal(), r.binaryGoal(), r.firstReadGoal())
	return append(goals, r.growthGoals()...)
}

func noLatency(c Cell) bool   { return c.Latency == 0 }
func withLatency(c Cell) bool { return c.Latency > 0 }
func fewReaders(c Cell) bool {
	return c.Latency == 0 && (c.Concurrency == 1 || c.Concurrency == 32)
}

// limit is a lower or an upper limit.
type limit struct {
	value   float64
	isUpper bool
}

func atLeast(v float64) limit { return limit{v, false} }
func atMost(v float64) limit  { return limit{v, true} }

func (l limit) String() string {
	if l.isUpper {
		return fmt.Sprintf("≤ %.2f", l.value)
	}
	return fmt.Sprintf("≥ %.2f", l.value)
}

// worse reports whether a is worse than b.
func (l limit) worse(a, b float64) bool { return a != b && (a > b) == l.isUpper }

// ratioGoal compares a figure with that of a baseline. The goal is met if the median of
// the rounds' ratios is within the limit in every cell.
func ratioGoal(what string, l limit, pairs []pair, f figure) Goal {
	g := Goal{What: what, Want: l.String(), Status: NotMeasured}
	var worst stat.Spread
	var where string
	met := 0
	for i, p := range pairs {
		ratio := p.own.ratio(p.baseline, f)
		if ratio.N > 0 && !l.worse(ratio.Median, l.value) {
			met++
		}
		if i == 0 || l.worse(ratio.Median, worst.Median) {
			worst, where = ratio, p.name()
		}
	}
	if len(pairs) > 0 {
		g.set(met == len(pairs), "%s in the worst cell (%s); %d of %d cells meet the goal", ratioText(worst), where, met, len(pairs))
	}
	return g
}

func ratioText(s stat.Spread) string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.Median, s.Q1, s.Q3)
}

// noise says how much livefloor-twin differs from livefloor, which is the same plugin.
func (r *Result) noise() string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range r.pairs(testbed.Twin, testbed.Livefloor, nil) {
		ratio := p.own.ratio(p.baseline, rps).Median
		low, high = min(low, ratio), max(high, ratio)
	}
	if low > high {
		return ""
	}
	return fmt.Sprintf("Noise: livefloor-twin is the same plugin as livefloor. Depending on the cell, it makes %.2f to %.2f of livefloor's reads/s.", low, high)
}

func (r *Result) speedGoals(name string) []Goal {
	few := r.pairs(name, testbed.Livefloor, fewReaders)
	slow := r.pairs(name, testbed.Livefloor, withLatency)
	const fewText, slowText = " relative to livefloor, 0 ms, c=1 and 32", " relative to livefloor, 20 to 200 ms, c=1, 32 and 128"
	goals := []Goal{
		ratioGoal(name+": reads/s"+fewText, atLeast(1), few, rps),
		ratioGoal(name+": reads/s"+slowText, atLeast(0.97), slow, rps),
		ratioGoal(name+": speed (1 / p50)"+fewText, atLeast(1), few, speed),
		ratioGoal(name+": speed (1 / p50)"+slowText, atLeast(0.97), slow, speed),
	}
	return append(goals, r.countGoals(name)...)
}

// countGoals are goals for the counts of all cells.
func (r *Result) countGoals(name string) []Goal {
	calls := Goal{What: name + ": upstream calls per read", Want: "≤ 1.00", Status: NotMeasured}
	logins := Goal{What: name + ": Logins in a cell", Want: "1", Status: NotMeasured}
	errors := Goal{What: name + ": errors", Want: "0", Status: NotMeasured}
	var maxCalls float64
	var maxLogins, allErrors int
	for _, p := range r.pairs(name, name, nil) {
		maxLogins = max(maxLogins, p.own.Logins)
		for _, round := range p.own.Rounds {
			maxCalls = max(maxCalls, round.Calls)
			allErrors += round.Errors
		}
		calls.set(maxCalls < 1.005, "%.3f in the worst round", maxCalls)
		logins.set(maxLogins <= 1, "%d in the worst cell", maxLogins)
		errors.set(allErrors == 0, "%d", allErrors)
	}
	return []Goal{calls, logins, errors}
}

func (r *Result) allocsGoal() Goal {
	g := Goal{What: "ecgrid: allocations per read over gRPC", Want: "≤ 400", Status: NotMeasured}
	objects := map[string]float64{}
	for _, a := range r.Allocs {
		objects[a.Contender] = a.Objects
	}
	if own := objects[testbed.ECGrid]; own > 0 {
		g.set(own <= 400, "%.0f at both ends of gRPC; livefloor %.0f", own, objects[testbed.Livefloor])
		if r.RootAllocs > 0 {
			g.Got += fmt.Sprintf("; BenchmarkReadKey, with the simulator, %.0f", r.RootAllocs)
		}
	}
	return g
}

// herdGoals are goals for 1000 reads of one user at 200 ms. A herd on 1000 users has to
// make 1000 calls, so it has no goal.
func (r *Result) herdGoals() []Goal {
	maxWall := map[string]float64{Warm: 450, Cold: 900, Expired: 900}
	var goals []Goal
	for _, session := range []string{Warm, Cold, Expired} {
		g := Goal{
			What:   "ecgrid: herd of 1000 on one user at 200 ms, session " + session,
			Want:   fmt.Sprintf("≤ %.0f ms, ≤ %d calls", maxWall[session], maxHerdCalls),
			Status: NotMeasured,
		}
		for _, h := range r.Herds {
			if h.Contender == testbed.ECGrid && h.Session == session && h.Users == 1 && h.Reads == 1000 && h.Latency == 200 {
				wall, worst := h.summary()
				g.set(wall.Median <= maxWall[session] && worst.Calls <= maxHerdCalls && worst.Errors == 0,
					"%.0f ms, %d calls, %d errors", wall.Median, worst.Calls, worst.Errors)
			}
		}
		goals = append(goals, g)
	}
	return goals
}

func (r *Result) herdMemoryGoal() Goal {
	g := Goal{What: "ecgrid: peak memory of the plugin in a herd of 1000", Want: "≤ 60 MB", Status: NotMeasured}
	var peak int64
	for _, h := range r.Herds {
		if _, worst := h.summary(); h.Contender == testbed.ECGrid && h.Reads == 1000 && worst.Peak > peak {
			peak = worst.Peak
			g.set(peak <= 60*mb, "%s", inMB(peak))
		}
	}
	return g
}

func (r *Result) memoryGoal() Goal {
	g := Goal{What: "ecgrid: memory of the plugin after the rounds, difference to noop", Want: "≤ 2 MB", Status: NotMeasured}
	worst := math.Inf(-1)
	for _, p := range r.pairs(testbed.ECGrid, testbed.Noop, nil) {
		own, noop := p.own.median(rss), p.baseline.median(rss)
		if more := own - noop; more > worst {
			worst = more
			g.set(more <= 2*mb, "%s (%s, noop %s) in the worst cell (%s)", inMB(int64(more)), inMB(int64(own)), inMB(int64(noop)), p.name())
		}
	}
	return g
}

func (r *Result) binaryGoal() Goal {
	g := Goal{What: "ecgrid: size of the binary, difference to noop", Want: "≤ 2 MB", Status: NotMeasured}
	sizes := map[string]int64{}
	for _, b := range r.Binaries {
		sizes[b.Program] = b.Bytes
	}
	if own, noop := sizes[testbed.Plugin], sizes[testbed.Noop]; own > 0 && noop > 0 {
		g.set(own-noop <= 2*mb, "%s (%s, noop %s)", inMB(own-noop), inMB(own), inMB(noop))
	}
	return g
}

func (r *Result) firstReadGoal() Goal {
	g := Goal{What: "ecgrid: registration to the first read, difference to noop", Want: "≤ 25 ms", Status: NotMeasured}
	totals := map[string][]float64{}
	for _, f := range r.FirstReads {
		totals[f.Contender] = f.total()
	}
	own, noop := totals[testbed.ECGrid], totals[testbed.Noop]
	var differences []float64
	for i := range min(len(own), len(noop)) {
		differences = append(differences, own[i]-noop[i])
	}
	if more := stat.Of(differences); more.N > 0 {
		g.set(more.Median <= 25, "%.0f ms (%.0f–%.0f); %.0f ms, noop %.0f ms", more.Median, more.Q1, more.Q3, stat.Of(own).Median, stat.Of(noop).Median)
	}
	return g
}

// growthGoals compare a read at the most objects with one at the fewest. What many
// leases cost in Vault, they also cost livefloor, so that is divided out.
func (r *Result) growthGoals() []Goal {
	var goals []Goal
	for _, kind := range []string{Leases, CountedLeases, Roles} {
		g := Goal{What: "ecgrid: growth, p50 at the most relative to the fewest " + kind, Want: atMost(maxGrowth).String(), Status: NotMeasured}
		if own, most, ok := r.growthOf(testbed.ECGrid, kind); ok {
			g.set(own <= maxGrowth, "%.2f at %d", own, most)
			if floor, _, ok := r.growthOf(testbed.Livefloor, kind, Leases); ok {
				g.set(own/floor <= maxGrowth, "%s; livefloor %.2f; ratio %.2f", g.Got, floor, own/floor)
			}
		}
		goals = append(goals, g)
	}
	return goals
}

// growthOf returns the p50 of a read at the most objects, divided by the one at the
// fewest. It uses the first of the kinds that has two numbers of objects.
func (r *Result) growthOf(contender string, kinds ...string) (ratio float64, most int, ok bool) {
	for _, kind := range kinds {
		var all []Growth
		for _, g := range r.Growth {
			if g.Kind == kind && g.Contender == contender {
				all = append(all, g)
			}
		}
		slices.SortFunc(all, func(a, b Growth) int { return a.Count - b.Count })
		if len(all) > 1 {
			first, last := all[0], all[len(all)-1]
			return stat.Of(last.P50).Median / stat.Of(first.P50).Median, last.Count, true
		}
	}
	return 0, 0, false
}

func inMB(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/mb) }
