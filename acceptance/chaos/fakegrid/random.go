// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Rates are the shares of calls, 0 to 1, that meet each failure. The zero value is a
// service without failures.
type Rates struct {
	Latency time.Duration // every answer takes up to this long

	Late    float64       // of the changes: applied later, and not answered
	LateMax time.Duration // how much later, at most

	Lost        float64 // applied, and the answer is lost
	Never       float64 // neither applied nor answered
	Twice       float64 // the answer is sent twice
	Silent      float64 // the connection is silent after the answer
	Fault       float64 // soap:Server, or InternalError of REST
	Unavailable float64 // 503, with a fault or without
	HTML        float64 // a page of a proxy
	Truncated   float64 // applied, and only the first third of the answer arrives
	Kill        float64 // the caller's session is dead
	Limited     float64 // 429 with Retry-After over REST, 503 over SOAP
}

type failure int

const (
	none failure = iota
	late
	lost
	never
	twice
	silent
	serverFault
	unavailable
	page
	truncated
	kill
	limited
)

// random is the only source of random numbers, so that a seed repeats a run.
type random struct {
	mu    sync.Mutex
	rng   *rand.Rand
	rates Rates
}

func newRandom(seed uint64) *random {
	return &random{rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

func (d *random) setRates(r Rates) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rates = r
}

// intN is from 0 to n-1.
func (d *random) intN(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// oneIn is true once in n times.
func (d *random) oneIn(n int) bool { return d.intN(n) == 0 }

func (d *random) duration(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rng.Int64N(int64(most) + 1))
}

func (d *random) shuffle(all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
}

func pick[T any](d *random, of []T) T { return of[d.intN(len(of))] }

// outcome is what happens to one call.
type outcome struct {
	failure failure
	latency time.Duration
	late    time.Duration
}

func (d *random) outcome(isChange bool) outcome {
	d.mu.Lock()
	r, roll, lateRoll := d.rates, d.rng.Float64(), d.rng.Float64()
	d.mu.Unlock()
	o := outcome{latency: d.duration(r.Latency), late: d.duration(r.LateMax)}
	if isChange && lateRoll < r.Late {
		o.failure = late
		return o
	}
	for _, c := range []struct {
		rate    float64
		failure failure
	}{
		{r.Lost, lost}, {r.Never, never}, {r.Twice, twice}, {r.Silent, silent}, {r.Fault, serverFault},
		{r.Unavailable, unavailable}, {r.HTML, page}, {r.Truncated, truncated}, {r.Kill, kill}, {r.Limited, limited},
	} {
		if roll < c.rate {
			o.failure = c.failure
			return o
		}
		roll -= c.rate
	}
	return o
}
