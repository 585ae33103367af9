package otherhand

import (
	"math/rand/v2"
	"sync"
	"time"
)

// Rates say how bad it is: the share of calls, 0 to 1, that meet each misfortune.
// The zero value is a service that is well.
type Rates struct {
	Latency time.Duration // every answer takes up to this long

	Late    float64       // of what changes something: lands later, and is not answered
	LateMax time.Duration // how much later, at most

	Lost        float64 // takes effect, and the answer is lost
	Never       float64 // has no effect and no answer
	Twice       float64 // the answer is sent twice
	Silent      float64 // after the answer the connection swallows all that comes
	Fault       float64 // soap:Server
	Unavailable float64 // 503, with a fault in it or without
	HTML        float64 // a page of some proxy
	Truncated   float64 // takes effect, and half of the answer comes
	Kill        float64 // the caller's session is dead
}

type misfortune int

const (
	none misfortune = iota
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
)

// dice is the one source of chance, so that a seed names a run.
type dice struct {
	mu    sync.Mutex
	rng   *rand.Rand
	rates Rates
}

func newDice(seed uint64) *dice {
	return &dice{rng: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15))}
}

func (d *dice) set(r Rates) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rates = r
}

// n is 0 … n-1.
func (d *dice) n(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.IntN(n)
}

// one in n times.
func (d *dice) one(n int) bool { return d.n(n) == 0 }

func (d *dice) upTo(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Duration(d.rng.Int64N(int64(most) + 1))
}

func pick[T any](d *dice, of []T) T { return of[d.n(len(of))] }

// fate is what happens to one call.
type fate struct {
	what    misfortune
	latency time.Duration
	late    time.Duration
}

func (d *dice) fate(changes bool) fate {
	d.mu.Lock()
	r, roll, lateRoll := d.rates, d.rng.Float64(), d.rng.Float64()
	d.mu.Unlock()
	f := fate{latency: d.upTo(r.Latency), late: d.upTo(r.LateMax)}
	if changes && lateRoll < r.Late {
		f.what = late
		return f
	}
	for _, m := range []struct {
		rate float64
		what misfortune
	}{
		{r.Lost, lost}, {r.Never, never}, {r.Twice, twice}, {r.Silent, silent}, {r.Fault, serverFault},
		{r.Unavailable, unavailable}, {r.HTML, page}, {r.Truncated, truncated}, {r.Kill, kill},
	} {
		if roll < m.rate {
			f.what = m.what
			return f
		}
		roll -= m.rate
	}
	return f
}
