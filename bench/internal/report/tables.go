// SPDX-License-Identifier: MPL-2.0

package report

import (
	"fmt"
	"strconv"

	"vault-plugin-ecgrid/bench/internal/stat"
	"vault-plugin-ecgrid/bench/internal/testbed"
)

// table is a table of the output.
type table struct {
	title string
	head  []string
	rows  [][]string
	note  string
}

// add adds a row of strings and ints.
func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, cell := range cells {
		row[i] = fmt.Sprint(cell)
	}
	t.rows = append(t.rows, row)
}

// number formats a figure with about three digits.
func number(v float64) string {
	digits := 2
	switch {
	case v >= 100:
		digits = 0
	case v >= 10:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

func quartiles(s stat.Spread) string { return number(s.Q1) + "–" + number(s.Q3) }

// orDash returns the text, or a dash if there is no figure.
func orDash(ok bool, text string) string {
	if !ok {
		return "–"
	}
	return text
}

func (r *Result) goalTable() table {
	t := table{
		title: "Goals",
		head:  []string{"goal", "want", "got", "status"},
		note:  "Each ratio is the median of the rounds, with quartiles. It compares two contenders in the same round.",
	}
	if noise := r.noise(); noise != "" {
		t.note += "\n" + noise
	}
	for _, g := range r.Goals() {
		t.add(g.What, g.Want, g.Got, g.Status)
	}
	return t
}

func (r *Result) contenderTable() table {
	t := table{title: "Contenders", head: []string{"contender", "what it is"}}
	for _, c := range r.Contenders {
		if c.Missing != "" {
			c.About += ". Not measured: this build of the plugin does not have it"
		}
		t.add(c.Name, c.About)
	}
	return t
}

// cellTable has all contenders of a cell.
func (r *Result) cellTable(c Cell) table {
	t := table{title: c.name(), head: []string{"contender", "reads/s", "quartiles", "× livefloor", "p50 ms", "× livefloor", "p99 ms",
		"calls/read", "Logins", "Vault CPU ms/read", "plugin CPU ms/read", "RSS MB idle", "after", "peak", "errors"}}
	floor, hasFloor := c.find(testbed.Livefloor)
	for _, s := range c.Series {
		if len(s.Rounds) == 0 {
			continue
		}
		errors, peak := 0, int64(0)
		for _, round := range s.Rounds {
			errors += round.Errors
			peak = max(peak, round.Peak)
		}
		hasPlugin := s.RSSIdle > 0
		t.add(s.Contender,
			number(s.median(rps)), quartiles(s.spread(rps)), orDash(hasFloor, ratioText(s.ratio(floor, rps))),
			number(s.median(p50)), orDash(hasFloor, ratioText(s.ratio(floor, p50))), number(s.median(p99)),
			fmt.Sprintf("%.2f", s.median(calls)), s.Logins,
			orDash(s.Contender != testbed.Direct, fmt.Sprintf("%.3f", s.median(vaultCPU))),
			orDash(hasPlugin, fmt.Sprintf("%.3f", s.median(pluginCPU))),
			orDash(hasPlugin, number(float64(s.RSSIdle)/mb)), orDash(hasPlugin, number(s.median(rss)/mb)), orDash(hasPlugin, number(float64(peak)/mb)),
			errors)
	}
	return t
}

// ratioTable compares the plugin with livefloor in all cells.
func (r *Result) ratioTable() table {
	t := table{
		title: "The plugin and livefloor",
		head: []string{"cell", "reads/s", "livefloor", "ratio", "p50 ms", "livefloor", "ratio", "p99 ms", "livefloor",
			"direct, reads/s", "ecgrid-default, reads/s"},
		note: "A higher ratio of reads/s is better. A lower ratio of p50 is better. ecgrid-default has `max_concurrent_calls` at its default.",
	}
	for _, p := range r.pairs(testbed.ECGrid, testbed.Livefloor, nil) {
		direct, hasDirect := p.find(testbed.Direct)
		limited, hasLimited := p.find(testbed.ECGridDefault)
		t.add(p.name(), number(p.own.median(rps)), number(p.baseline.median(rps)), ratioText(p.own.ratio(p.baseline, rps)),
			number(p.own.median(p50)), number(p.baseline.median(p50)), ratioText(p.own.ratio(p.baseline, p50)),
			number(p.own.median(p99)), number(p.baseline.median(p99)),
			orDash(hasDirect, number(direct.median(rps))), orDash(hasLimited, number(limited.median(rps))))
	}
	return t
}

func (r *Result) herdTable() table {
	t := table{
		title: "Herds: reads that start at once",
		head:  []string{"contender", "reads", "users", "session", "latency ms", "wall ms", "quartiles", "calls", "Logins", "max in flight", "peak MB", "errors"},
		note:  "The wall time ends with the last answer.",
	}
	for _, h := range r.Herds {
		wall, worst := h.summary()
		t.add(h.Contender, h.Reads, h.Users, h.Session, number(h.Latency), number(wall.Median), quartiles(wall),
			worst.Calls, worst.Logins, worst.MaxInFlight, orDash(worst.Peak > 0, number(float64(worst.Peak)/mb)), worst.Errors)
	}
	return t
}

func (r *Result) stormTable() table {
	t := table{
		title: "Storms: leases that are revoked at once, while others read",
		head: []string{"contender", "kind of leases", "leases", "users", "latency ms", "took s", "rotations", "calls",
			"read p50 ms before", "during", "read p99 ms before", "during", "reads", "errors"},
		note: "In every storm the readers read this plugin, and the keys of other users.",
	}
	for _, s := range r.Storms {
		took := fmt.Sprintf("%.2f", s.Took/1000)
		if !s.Finished {
			took = "NOT FINISHED in " + took
		}
		t.add(s.Contender, s.Kind, s.Leases, s.Users, number(s.Latency), took, s.Rotations, s.Calls,
			number(s.P50Before), number(s.P50), number(s.P99Before), number(s.P99), s.Reads, s.Errors)
	}
	return t
}

func (r *Result) growthTable() table {
	t := table{
		title: "Growth: one read at a time, with many leases or roles",
		head:  []string{"kind", "contender", "count", "p50 ms", "quartiles", "CPU ms/read", "plugin RSS MB"},
	}
	for _, g := range r.Growth {
		s := stat.Of(g.P50)
		t.add(g.Kind, g.Contender, g.Count, number(s.Median), quartiles(s), number(stat.Of(g.CPU).Median), number(float64(g.RSS)/mb))
	}
	if i := r.Idle; i != nil {
		t.note = fmt.Sprintf("Idle for %.0f s with %d scheduled roles: the plugin uses %.0f ms of CPU, Vault uses %.0f ms, and ECGrid is called %d times.",
			i.Seconds, i.Roles, i.PluginCPU, i.VaultCPU, i.Calls)
	}
	return t
}

// otherTable has the measurements that are a single figure.
func (r *Result) otherTable() table {
	t := table{title: "Start, size, allocations, list", head: []string{"measurement", "contender", "result"}}
	median := func(values []float64) float64 { return stat.Of(values).Median }
	for _, f := range r.FirstReads {
		t.add("registration to the first read", f.Contender, fmt.Sprintf("%.0f ms: register %.0f, enable %.0f, config %.0f, read %.1f",
			median(f.total()), median(f.Register), median(f.Enable), median(f.Configure), median(f.Read)))
	}
	for _, b := range r.Binaries {
		t.add("size of the binary", b.Program, inMB(b.Bytes))
	}
	for _, a := range r.Allocs {
		t.add("allocations per read, both ends of gRPC", a.Contender, fmt.Sprintf("%.0f objects, %.1f kB", a.Objects, a.Bytes/1024))
	}
	if r.RootAllocs > 0 {
		t.add("BenchmarkReadKey, with the simulator", testbed.ECGrid, fmt.Sprintf("%.0f objects", r.RootAllocs))
	}
	if l := r.List; l != nil {
		t.add(fmt.Sprintf("list of %d users", l.Listed), testbed.ECGrid, fmt.Sprintf("%.0f ms (upstream %.0f ms); %s; plugin RSS %s, peak %s",
			l.Took, l.Upstream, inMB(int64(l.Bytes)), inMB(l.RSSBefore), inMB(l.Peak)))
	}
	return t
}
