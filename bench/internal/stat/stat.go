// SPDX-License-Identifier: MPL-2.0

// Package stat computes the statistics of the report. It uses medians and quartiles,
// because a single bad round can spoil a mean.
package stat

import (
	"cmp"
	"math"
	"slices"
)

// Spread is the median and the quartiles of some values.
type Spread struct {
	Q1, Median, Q3 float64
	N              int // how many values
}

// Of returns the spread of the values that are not NaN. Without values it is zero.
func Of(values []float64) Spread {
	sorted := slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(sorted) == 0 {
		return Spread{}
	}
	slices.Sort(sorted)
	return Spread{Q1: quantile(sorted, 0.25), Median: quantile(sorted, 0.5), Q3: quantile(sorted, 0.75), N: len(sorted)}
}

// quantile interpolates between two neighbors of a sorted, non-empty list.
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)-1)
	below := int(at)
	if below+1 == len(sorted) {
		return sorted[below]
	}
	return sorted[below] + (at-float64(below))*(sorted[below+1]-sorted[below])
}

// Percentile returns the smallest of the sorted values that is at least as large as a
// share p of them. Unlike a quantile it is always a value of the list. It is 0 for an
// empty list.
func Percentile[T cmp.Ordered](sorted []T, p float64) T {
	if len(sorted) == 0 {
		var zero T
		return zero
	}
	at := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(at, 0), len(sorted)-1)]
}

// Ratios divides the values of each round by those of the same round of a baseline. What
// disturbs the machine in a round affects both. Rounds that one of them lacks are left
// out.
func Ratios(values, baseline []float64) []float64 {
	var ratios []float64
	for i := range min(len(values), len(baseline)) {
		if r := values[i] / baseline[i]; !math.IsNaN(r) && !math.IsInf(r, 0) {
			ratios = append(ratios, r)
		}
	}
	return ratios
}
