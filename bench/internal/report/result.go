// SPDX-License-Identifier: MPL-2.0

// Package report has the results of a run, the goals, and the output: text tables,
// Markdown, JSON and plots.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"vault-plugin-ecgrid/bench/internal/stat"
)

// Result is everything that a run measured. Times are in milliseconds and sizes in bytes
// unless the JSON name says otherwise.
type Result struct {
	Plan    string  `json:"plan"`
	Command string  `json:"command"`
	Date    string  `json:"date"`
	Took    float64 `json:"took_s"`
	Seed    uint64  `json:"seed"`
	Machine Machine `json:"machine"`

	Contenders []Contender `json:"contenders"`
	Cells      []Cell      `json:"cells,omitempty"`
	Herds      []Herd      `json:"herds,omitempty"`
	Storms     []Storm     `json:"storms,omitempty"`
	Growth     []Growth    `json:"growth,omitempty"`
	Idle       *Idle       `json:"idle,omitempty"`
	List       *List       `json:"list,omitempty"`
	FirstReads []FirstRead `json:"first_reads,omitempty"`
	Binaries   []Binary    `json:"binaries,omitempty"`
	Allocs     []Allocs    `json:"allocs,omitempty"`
	// RootAllocs is what the root package's BenchmarkReadKey counts. It includes the
	// simulator.
	RootAllocs float64 `json:"root_allocs,omitempty"`
}

// Machine is where the run took place.
type Machine struct {
	CPU    string  `json:"cpu"`
	CPUs   int     `json:"cpus"`
	Memory float64 `json:"memory_gb"`
	System string  `json:"system"`
	Go     string  `json:"go"`
	Vault  string  `json:"vault"`
	Commit string  `json:"commit"`
	Load   string  `json:"load_before"` // load average before the run
}

// Contender is one way to read a key.
type Contender struct {
	Name    string `json:"name"`
	About   string `json:"about"`
	Missing string `json:"missing,omitempty"` // why it was not measured
}

// Cell is a combination of storage, latency and concurrency. All its contenders were
// mounted in one Vault and took turns in every round.
type Cell struct {
	Storage     string   `json:"storage"`
	Latency     float64  `json:"latency_ms"`
	Concurrency int      `json:"concurrency"`
	Series      []Series `json:"series"`
}

// Series is the rounds of one contender in a cell.
type Series struct {
	Contender string   `json:"contender"`
	Logins    int      `json:"logins"` // from the mount to the last round
	RSSIdle   int64    `json:"rss_idle,omitempty"`
	Rounds    []Sample `json:"rounds"`
}

// Sample is one round of one contender.
type Sample struct {
	Reads       int     `json:"reads"`
	Errors      int     `json:"errors"`
	FirstError  string  `json:"first_error,omitempty"`
	RPS         float64 `json:"rps"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
	Calls       float64 `json:"calls_per_read"` // all operations but Login
	VaultCPU    float64 `json:"vault_cpu_ms"`   // per read
	PluginCPU   float64 `json:"plugin_cpu_ms"`  // per read
	RSS         int64   `json:"rss,omitempty"`  // of the plugin, after the round
	Peak        int64   `json:"rss_peak,omitempty"`
	MaxInFlight int     `json:"most_in_flight"` // calls at the upstream
}

// States of the session before a herd.
const (
	Cold    = "cold"    // there is none
	Warm    = "warm"    // it is open
	Expired = "expired" // the plugin has one that ECGrid has ended
)

// Herd is many reads that start at once.
type Herd struct {
	Contender string       `json:"contender"`
	Reads     int          `json:"reads"`
	Users     int          `json:"users"`
	Session   string       `json:"state"`
	Latency   float64      `json:"latency_ms"`
	Repeats   []HerdSample `json:"repeats"`
}

// HerdSample is one repetition of a Herd.
type HerdSample struct {
	Wall        float64 `json:"wall_ms"` // until the last answer
	Calls       int     `json:"calls"`
	Logins      int     `json:"logins"`
	Errors      int     `json:"errors"`
	Peak        int64   `json:"rss_peak,omitempty"` // of the plugin
	MaxInFlight int     `json:"most_in_flight"`
}

// Storm is many leases that were revoked at once while others read. Calls, Reads, Errors,
// P50 and P99 are from that time.
type Storm struct {
	Contender string  `json:"contender"`
	Kind      string  `json:"kind"`
	Leases    int     `json:"leases"`
	Users     int     `json:"users"`
	Latency   float64 `json:"latency_ms"`
	Took      float64 `json:"took_ms"`
	Finished  bool    `json:"finished"`
	Rotations int     `json:"rotations"`
	Calls     int     `json:"calls"`
	Reads     int     `json:"reads"`
	Errors    int     `json:"errors"`
	P50Before float64 `json:"p50_before_ms"`
	P99Before float64 `json:"p99_before_ms"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// Kinds of Growth.
const (
	Leases        = "leases"
	CountedLeases = "counted leases of one user"
	Roles         = "roles"
)

// Growth is the cost of a read with Count objects of a kind.
type Growth struct {
	Kind      string    `json:"of"`
	Contender string    `json:"contender"`
	Count     int       `json:"count"`
	P50       []float64 `json:"p50_ms"` // by round
	CPU       []float64 `json:"cpu_ms"` // of Vault and plugin, per read, by round
	RSS       int64     `json:"rss,omitempty"`
}

// Idle is a time without requests.
type Idle struct {
	Roles     int     `json:"roles"`
	Seconds   float64 `json:"seconds"`
	PluginCPU float64 `json:"plugin_cpu_ms"`
	VaultCPU  float64 `json:"vault_cpu_ms"`
	Calls     int     `json:"calls"`
}

// List is one LIST of all users.
type List struct {
	Users     int     `json:"users"`  // without the administrator
	Listed    int     `json:"listed"` // with the administrator
	Took      float64 `json:"took_ms"`
	Upstream  float64 `json:"upstream_ms"` // of the same call without Vault
	Bytes     int     `json:"bytes"`
	RSSBefore int64   `json:"rss_before"`
	Peak      int64   `json:"rss_peak"`
}

// FirstRead is the time from the registration of a plugin to its first read, by round.
type FirstRead struct {
	Contender string    `json:"contender"`
	Register  []float64 `json:"register_ms"`
	Enable    []float64 `json:"enable_ms"`
	Configure []float64 `json:"configure_ms"`
	Read      []float64 `json:"read_ms"`
}

// total returns the sum of the steps, by round.
func (f FirstRead) total() []float64 {
	var all []float64
	for i := range f.Read {
		all = append(all, f.Register[i]+f.Enable[i]+f.Configure[i]+f.Read[i])
	}
	return all
}

// Binary is the file of a plugin.
type Binary struct {
	Program string `json:"program"`
	Bytes   int64  `json:"bytes"`
}

// Allocs is what a read allocates at both ends of gRPC.
type Allocs struct {
	Contender string  `json:"contender"`
	Objects   float64 `json:"objects"`
	Bytes     float64 `json:"bytes"`
}

// figure is one of the figures of a Sample.
type figure func(Sample) float64

func rps(s Sample) float64       { return s.RPS }
func p50(s Sample) float64       { return s.P50 }
func p99(s Sample) float64       { return s.P99 }
func speed(s Sample) float64     { return 1 / s.P50 }
func calls(s Sample) float64     { return s.Calls }
func vaultCPU(s Sample) float64  { return s.VaultCPU }
func pluginCPU(s Sample) float64 { return s.PluginCPU }
func totalCPU(s Sample) float64  { return s.VaultCPU + s.PluginCPU }
func rss(s Sample) float64       { return float64(s.RSS) }

// values returns a figure of all rounds.
func (s Series) values(f figure) []float64 {
	var all []float64
	for _, sample := range s.Rounds {
		all = append(all, f(sample))
	}
	return all
}

func (s Series) spread(f figure) stat.Spread { return stat.Of(s.values(f)) }

func (s Series) median(f figure) float64 { return s.spread(f).Median }

// ratio compares a figure with that of a baseline, round by round.
func (s Series) ratio(baseline Series, f figure) stat.Spread {
	return stat.Of(stat.Ratios(s.values(f), baseline.values(f)))
}

// find returns the series of a contender. It returns false if there are no rounds.
func (c Cell) find(contender string) (Series, bool) {
	for _, s := range c.Series {
		if s.Contender == contender && len(s.Rounds) > 0 {
			return s, true
		}
	}
	return Series{}, false
}

func (c Cell) name() string {
	return fmt.Sprintf("%s, %g ms, c=%d", c.Storage, c.Latency, c.Concurrency)
}

// pair is a contender and a baseline in one cell.
type pair struct {
	Cell
	own, baseline Series
}

// pairs returns the pairs of all cells that have both. If filter is not nil, it selects
// the cells.
func (r *Result) pairs(contender, baseline string, filter func(Cell) bool) []pair {
	var all []pair
	for _, c := range r.Cells {
		own, ok1 := c.find(contender)
		other, ok2 := c.find(baseline)
		if ok1 && ok2 && (filter == nil || filter(c)) {
			all = append(all, pair{c, own, other})
		}
	}
	return all
}

// summary returns the spread of a herd's wall times, and the worst of the other figures.
func (h Herd) summary() (wall stat.Spread, worst HerdSample) {
	var walls []float64
	for _, s := range h.Repeats {
		walls = append(walls, s.Wall)
		worst = HerdSample{
			Calls: max(worst.Calls, s.Calls), Logins: max(worst.Logins, s.Logins), Peak: max(worst.Peak, s.Peak),
			MaxInFlight: max(worst.MaxInFlight, s.MaxInFlight), Errors: worst.Errors + s.Errors,
		}
	}
	return stat.Of(walls), worst
}

// Read reads a file that Write wrote.
func Read(path string) (*Result, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Result)
	return r, json.Unmarshal(raw, r)
}

// Write writes the result as JSON, with a line for each round.
func (r *Result) Write(path string) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	// A string cannot contain these, because its quotation marks are escaped.
	for _, object := range []string{`{"storage":`, `{"contender":`, `{"reads":`, `{"of":`} {
		raw = bytes.ReplaceAll(raw, []byte(object), []byte("\n"+object))
	}
	return os.WriteFile(path, append(raw, '\n'), 0o644)
}

// Round rounds to five significant digits.
func Round(v float64) float64 {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
	return rounded
}
