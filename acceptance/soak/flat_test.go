// SPDX-License-Identifier: MPL-2.0

package soak

import (
	"encoding/csv"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tolerance is how much higher a figure may be at the end than at the beginning. Less is
// never a failure.
type tolerance struct{ factor, plus float64 }

func (t tolerance) limit(first float64) float64 { return first*t.factor + t.plus }

// tolerances are for medians of thirds. Vault's own memory is printed only. So are leases: the
// load makes as many as the machine can serve, and checkEnd wants none to be left.
var tolerances = map[string]tolerance{
	figRSS:         {1.15, 4},
	figHeap:        {1.25, 1},
	figGoroutines:  {1.2, 15},
	figThreads:     {1.2, 6},
	figFiles:       {1.2, 10},
	figConnections: {1.2, 6},
	figProcesses:   {0, 1},
	figSessions:    {1, 1},
	figStorage:     {1.3, 40},
}

// change is how a figure developed in one phase.
type change struct {
	phase, figure          string
	first, last, most      float64 // medians of the first and the last third; the largest value
	samples, warmUpSamples int
}

// grows reports whether the last third is above the tolerance.
func (c change) grows() bool {
	t, ok := tolerances[c.figure]
	return ok && c.last > t.limit(c.first)
}

// changes compares the thirds of each figure in a phase, after its warm-up.
func changes(samples []sample, phase string, warmUp time.Duration) []change {
	var found []change
	for _, figure := range allFigures {
		c := change{phase: phase, figure: figure}
		var values []float64
		began := time.Duration(-1)
		for _, s := range samples {
			value, measured := s.figures[figure]
			if s.phase != phase || !measured {
				continue
			}
			if began < 0 {
				began = s.at
			}
			c.most = max(c.most, value)
			if s.at-began < warmUp {
				c.warmUpSamples++
				continue
			}
			values = append(values, value)
		}
		if c.samples = len(values); c.samples < 3 {
			found = append(found, c)
			continue
		}
		third := len(values) / 3
		c.first, c.last = median(values[:third]), median(values[len(values)-third:])
		found = append(found, c)
	}
	return found
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func (c change) String() string {
	limit := "-"
	if t, ok := tolerances[c.figure]; ok {
		limit = fmt.Sprintf("%.1f", t.limit(c.first))
	}
	return fmt.Sprintf("%-11s %-24s %9.1f %9.1f %9s %9.1f %8d", c.phase, c.figure, c.first, c.last, limit, c.most, c.samples)
}

var changeHeader = fmt.Sprintf("%-11s %-24s %9s %9s %9s %9s %8s", "phase", "figure", "first 1/3", "last 1/3", "allowed", "highest", "samples")

// writeCSV writes one row for each sample. A figure that was not measured is empty.
func writeCSV(path string, samples []sample) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	w := csv.NewWriter(f)
	_ = w.Write(append([]string{"seconds", "phase"}, allFigures...))
	for _, s := range samples {
		row := []string{strconv.FormatFloat(s.at.Seconds(), 'f', 1, 64), s.phase}
		for _, figure := range allFigures {
			text := ""
			if value, ok := s.figures[figure]; ok {
				text = strconv.FormatFloat(value, 'f', -1, 64)
			}
			row = append(row, text)
		}
		_ = w.Write(row) // Flush reports the failure
	}
	w.Flush()
	return w.Error()
}

// The rule finds growth, and neither warm-up nor noise nor a fall.
func TestGrowth(t *testing.T) {
	t.Parallel()
	const n = 300
	for name, test := range map[string]struct {
		at    func(i int) float64
		grows bool
	}{
		"flat":              {func(int) float64 { return 30 }, false},
		"noise":             {func(i int) float64 { return 30 + float64(i%7) }, false},
		"warm-up":           {func(i int) float64 { return min(30, 5+float64(i)) }, false},
		"falls":             {func(i int) float64 { return 60 - float64(i)/10 }, false},
		"grows slowly":      {func(i int) float64 { return 30 + float64(i)/15 }, true},
		"grows late":        {func(i int) float64 { return 30 + max(0, float64(i-200)) }, true},
		"one peak":          {func(i int) float64 { return 30 + max(0, 200-float64(i-150)*float64(i-150)) }, false},
		"a step at the end": {func(i int) float64 { return 30 + 20*float64(i/220) }, true},
	} {
		var samples []sample
		for i := range n {
			samples = append(samples, sample{time.Duration(i) * time.Second, "x", map[string]float64{figRSS: test.at(i)}},
				sample{time.Duration(i) * time.Second, "another", map[string]float64{figRSS: float64(i)}})
		}
		all := changes(samples, "x", 30*time.Second)
		i := slices.IndexFunc(all, func(c change) bool { return c.figure == figRSS })
		if c := all[i]; c.grows() != test.grows || c.samples != n-30 {
			t.Errorf("%s: grows is %t: %s", name, c.grows(), c)
		}
		if c := all[(i+1)%len(all)]; c.samples != 0 || strings.Contains(c.String(), "NaN") {
			t.Errorf("%s: a figure that was not measured: %s", name, c)
		}
	}
}
