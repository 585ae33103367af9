// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Latency is a delay that is chosen at random from Min to Max for each call.
type Latency struct{ Min, Max time.Duration }

// ParseLatency reads a duration ("50ms") or a range ("10ms-200ms"). "" is none.
func ParseLatency(text string) (Latency, error) {
	if text == "" {
		return Latency{}, nil
	}
	least, most, isRange := strings.Cut(text, "-")
	if !isRange {
		most = least
	}
	l, errLeast := time.ParseDuration(least)
	m, errMost := time.ParseDuration(most)
	if errLeast != nil || errMost != nil || l < 0 || m < l {
		return Latency{}, fmt.Errorf("%q is not a latency: use a duration such as 50ms, or a range such as 10ms-200ms", text)
	}
	return Latency{l, m}, nil
}

func (l Latency) next() time.Duration {
	if l.Max <= l.Min {
		return l.Min
	}
	return l.Min + rand.N(l.Max-l.Min+1)
}
