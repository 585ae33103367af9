// SPDX-License-Identifier: MPL-2.0

package report

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vault-plugin-ecgrid/bench/internal/testbed"
)

// rounds returns samples that differ only in their speed.
func rounds(calls float64, rates ...float64) []Sample {
	var all []Sample
	for _, rps := range rates {
		all = append(all, Sample{Reads: 100, RPS: rps, P50: 1000 / rps, P99: 2000 / rps, Calls: calls, VaultCPU: 0.3, PluginCPU: 0.1, RSS: 27 * mb, Peak: 28 * mb})
	}
	return all
}

func cell(storage string, latency float64, concurrency int, own, floor float64) Cell {
	c := Cell{Storage: storage, Latency: latency, Concurrency: concurrency, Series: []Series{
		{Contender: testbed.ECGrid, Logins: 1, RSSIdle: 26 * mb, Rounds: rounds(1, own, own*1.1, own*0.9)},
		{Contender: testbed.ECGridCached, Logins: 1, RSSIdle: 26 * mb, Rounds: rounds(0, floor, floor, floor)},
		{Contender: testbed.Noop, RSSIdle: 25 * mb, Rounds: rounds(0, floor, floor, floor)},
		{Contender: testbed.NoopBare, RSSIdle: 25 * mb, Rounds: rounds(0, floor, floor, floor)},
		{Contender: testbed.Livefloor, RSSIdle: 25 * mb, Rounds: rounds(1, floor, floor*1.1, floor*0.9)},
		{Contender: testbed.Twin, RSSIdle: 25 * mb, Rounds: rounds(1, floor*1.02, floor*1.1, floor)},
		{Contender: testbed.Direct, Rounds: rounds(1, 9*floor)},
		{Contender: testbed.ECGridREST}, // not in this build
	}}
	if latency > 0 {
		c.Series = append(c.Series, Series{Contender: testbed.ECGridDefault, Logins: 9, RSSIdle: 26 * mb, Rounds: rounds(1, 321)})
	}
	return c
}

// goodResult meets every goal.
func goodResult() *Result {
	r := &Result{
		Plan: "full", Command: "make bench", Date: "2026-01-02", Seed: 7,
		Machine:    Machine{CPU: "a CPU", CPUs: 2},
		Contenders: []Contender{{Name: testbed.ECGrid, About: "this plugin"}, {Name: testbed.ECGridREST, About: "this plugin, REST", Missing: "unknown field"}},
		Binaries:   []Binary{{testbed.Plugin, 25 * mb}, {testbed.Noop, 24 * mb}},
		Allocs:     []Allocs{{Contender: testbed.Livefloor, Objects: 330}, {Contender: testbed.ECGrid, Objects: 390}},
		FirstReads: []FirstRead{
			{Contender: testbed.ECGrid, Register: []float64{80}, Enable: []float64{60}, Configure: []float64{20}, Read: []float64{2}},
			{Contender: testbed.Noop, Register: []float64{80}, Enable: []float64{60}, Configure: []float64{0}, Read: []float64{2}},
		},
		Storms: []Storm{{Contender: testbed.ECGrid, Kind: "leases", Leases: 5000, Users: 500, Took: 1500, Finished: true}},
		Idle:   &Idle{Roles: 10_000, Seconds: 65},
		List:   &List{Users: 50_000, Listed: 50_001, Took: 900, Upstream: 300},
	}
	for _, storage := range []string{testbed.Inmem, testbed.Raft} {
		for _, latency := range []float64{0, 50} {
			for _, c := range []int{1, 32} {
				r.Cells = append(r.Cells, cell(storage, latency, c, 1010, 1000))
			}
		}
	}
	for _, session := range []string{Cold, Warm, Expired} {
		for _, users := range []int{1, 1000} {
			r.Herds = append(r.Herds, Herd{Contender: testbed.ECGrid, Reads: 1000, Users: users, Session: session, Latency: 200, Repeats: []HerdSample{
				{Wall: 440, Calls: users + 2, Logins: 1, Peak: 50 * mb}, {Wall: 430, Calls: users, Peak: 40 * mb},
			}})
		}
	}
	for _, count := range []int{10, 100_000} {
		r.Growth = append(r.Growth,
			Growth{Kind: CountedLeases, Contender: testbed.ECGrid, Count: count, P50: []float64{1, 1.01}, CPU: []float64{1}},
			Growth{Kind: Roles, Contender: testbed.ECGrid, Count: count, P50: []float64{1, 1.01}, CPU: []float64{1}},
			Growth{Kind: Leases, Contender: testbed.ECGrid, Count: count, P50: []float64{1}, CPU: []float64{1}},
			Growth{Kind: Roles, Contender: testbed.Livefloor, Count: count, P50: []float64{2}, CPU: []float64{1}},
			Growth{Kind: Leases, Contender: testbed.Livefloor, Count: count, P50: []float64{1}, CPU: []float64{1}})
	}
	return r
}

func TestAllGoalsMet(t *testing.T) {
	for _, g := range goodResult().Goals() {
		if g.Status != Met || g.Got == "" {
			t.Errorf("%+v", g)
		}
	}
}

func TestNothingMeasured(t *testing.T) {
	r := &Result{}
	for _, g := range r.Goals() {
		if g.Status != NotMeasured {
			t.Errorf("%+v", g)
		}
	}
	if !strings.Contains(r.Table(), "not measured") {
		t.Error("the table does not say so")
	}
	if plots, err := r.Plot(t.TempDir()); err != nil || len(plots) > 0 {
		t.Errorf("plots %v, %v", plots, err)
	}
}

// Each bad figure makes exactly one goal a miss, and the output shows it.
func TestMissedGoals(t *testing.T) {
	own := func(r *Result, cell int) []Sample { return r.Cells[cell].Series[0].Rounds }
	each := func(samples []Sample, change func(*Sample)) {
		for i := range samples {
			change(&samples[i])
		}
	}
	for goal, spoil := range map[string]func(*Result){
		"reads/s relative to livefloor, 0 ms":         func(r *Result) { each(own(r, 0), func(s *Sample) { s.RPS *= 0.98 }) },
		"reads/s relative to livefloor, 20":           func(r *Result) { each(own(r, 2), func(s *Sample) { s.RPS *= 0.95 }) },
		"speed (1 / p50) relative to livefloor, 0 ms": func(r *Result) { each(own(r, 5), func(s *Sample) { s.P50 *= 1.02 }) },
		"speed (1 / p50) relative to livefloor, 20":   func(r *Result) { each(own(r, 7), func(s *Sample) { s.P50 *= 1.05 }) },
		"upstream calls per read":                     func(r *Result) { own(r, 1)[2].Calls = 1.01 },
		"Logins":                                      func(r *Result) { r.Cells[3].Series[0].Logins = 2 },
		"errors":                                      func(r *Result) { own(r, 6)[0].Errors = 1 },
		"cached: reads/s":                             func(r *Result) { each(r.Cells[0].Series[1].Rounds, func(s *Sample) { s.RPS *= 0.96 }) },
		"cached: speed":                               func(r *Result) { each(r.Cells[0].Series[1].Rounds, func(s *Sample) { s.P50 *= 1.04 }) },
		"CPU per read":                                func(r *Result) { each(own(r, 0), func(s *Sample) { s.PluginCPU += 0.03 }) },
		"allocations":                                 func(r *Result) { r.Allocs[1].Objects = 401 },
		"one user at 200 ms, session warm":            func(r *Result) { r.Herds[2].Repeats[0].Wall, r.Herds[2].Repeats[1].Wall = 460, 460 },
		"one user at 200 ms, session cold":            func(r *Result) { r.Herds[0].Repeats[1].Calls = 12 },
		"one user at 200 ms, session expired":         func(r *Result) { r.Herds[4].Repeats[0].Errors = 1 },
		"peak memory of the plugin in a herd":         func(r *Result) { r.Herds[1].Repeats[0].Peak = 61 * mb },
		"memory of the plugin after":                  func(r *Result) { each(own(r, 0), func(s *Sample) { s.RSS += 3 * mb }) },
		"size of the binary":                          func(r *Result) { r.Binaries[0].Bytes += 2 * mb },
		"registration":                                func(r *Result) { r.FirstReads[0].Read[0] += 6 },
		"fewest leases":                               func(r *Result) { r.Growth[len(r.Growth)-3].P50[0] = 1.06 },
		"fewest roles":                                func(r *Result) { r.Growth[len(r.Growth)-4].P50 = []float64{1.2} },
	} {
		r := goodResult()
		spoil(r)
		missed := 0
		for _, g := range r.Goals() {
			if g.Status != Met {
				missed++
				if g.Status != Missed || !strings.Contains(g.What, goal) {
					t.Errorf("%s: %+v", goal, g)
				}
			}
		}
		if missed != 1 || !strings.Contains(r.Table(), "MISSED") || !strings.Contains(r.Markdown(nil), "**missed**") {
			t.Errorf("%s: %d goals missed, or not shown", goal, missed)
		}
	}
}

func TestTable(t *testing.T) {
	r := goodResult()
	r.Storms[0].Finished = false
	table := r.Table()
	for _, want := range []string{
		"make bench", "seed 7", "a CPU", "== Goals", "== raft, 50 ms, c=32", "1.01 (1.01–1.01)", "list of 50001 users",
		"this plugin, REST. Not measured", "Noise: livefloor-twin", "10000 scheduled roles", "NOT FINISHED in 1.50",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table", want)
		}
	}
	for _, wrong := range []string{"NaN", "Inf", "`"} {
		if strings.Contains(table, wrong) {
			t.Errorf("%q is in the table", wrong)
		}
	}
	if markdown := r.Markdown(nil); !strings.Contains(markdown, "| 321 |") {
		t.Error("the Markdown does not have ecgrid-default")
	}
}

// A result that was written and read back makes the same output.
func TestFiles(t *testing.T) {
	r := goodResult()
	path := filepath.Join(t.TempDir(), "results.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	again, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.Table() != again.Table() {
		t.Error("the tables differ")
	}
	one, two := t.TempDir(), t.TempDir()
	plots, err := r.Plot(one)
	if err != nil || len(plots) != len(allPlots) {
		t.Fatalf("%d plots, %v, want %d", len(plots), err, len(allPlots))
	}
	if _, err := again.Plot(two); err != nil {
		t.Fatal(err)
	}
	for _, p := range plots {
		a, err1 := os.ReadFile(filepath.Join(one, p.File))
		b, err2 := os.ReadFile(filepath.Join(two, p.File))
		if err1 != nil || err2 != nil || !bytes.Equal(a, b) || !bytes.Contains(a, []byte("<svg")) {
			t.Errorf("%s: the files differ, or are not SVG", p.File)
		}
		if !strings.Contains(r.Markdown(plots), "](performance/"+p.File+")") {
			t.Errorf("%s is not in the Markdown", p.File)
		}
	}
}

func TestPutInto(t *testing.T) {
	path := filepath.Join(t.TempDir(), "performance.md")
	block := func(fragment string) string { return beginMark + "\n\n" + fragment + "\n" + endMark }
	for _, test := range []struct{ name, before, put, want string }{
		{"new file", "", "one\n", block("one\n") + "\n"},
		{"between markers", "# Performance\n\n" + block("one\n") + "\n\n## Sizing\n", "two\n", "# Performance\n\n" + block("two\n") + "\n\n## Sizing\n"},
		{"no markers", "# Performance\n", "one\n", "# Performance\n\n" + block("one\n") + "\n"},
	} {
		if test.before != "" {
			if err := os.WriteFile(path, []byte(test.before), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time changes nothing
			if err := PutInto(path, test.put); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != test.want {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
		}
	}
	if err := os.WriteFile(path, []byte(beginMark+" kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := PutInto(path, "one\n"); err == nil {
		t.Error("only the first marker: no error")
	}
}
