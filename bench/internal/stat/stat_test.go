// SPDX-License-Identifier: MPL-2.0

package stat

import (
	"math"
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   Spread
	}{
		"none":          {nil, Spread{}},
		"one":           {[]float64{7}, Spread{7, 7, 7, 1}},
		"two":           {[]float64{4, 2}, Spread{2.5, 3, 3.5, 2}},
		"odd, unsorted": {[]float64{5, 1, 3, 2, 4}, Spread{2, 3, 4, 5}},
		"even":          {[]float64{1, 2, 3, 4}, Spread{1.75, 2.5, 3.25, 4}},
		"NaN":           {[]float64{math.NaN(), 1, 3}, Spread{1.5, 2, 2.5, 2}},
	} {
		if got := Of(test.values); got != test.want {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	for p, want := range map[float64]int{0: 1, 0.5: 50, 0.99: 99, 0.991: 100, 1: 100} {
		if got := Percentile(hundred, p); got != want {
			t.Errorf("p%v: got %d, want %d", 100*p, got, want)
		}
	}
	if got := Percentile([]int{}, 0.5); got != 0 {
		t.Errorf("empty list: %d", got)
	}
}

func TestRatios(t *testing.T) {
	if got := Ratios([]float64{2, 9, 6, 1}, []float64{4, 0, 3}); !slices.Equal(got, []float64{0.5, 2}) {
		t.Errorf("got %v, want [0.5 2]", got)
	}
}
