package chaos

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/otherhand"
)

const (
	// joining is how long before a read ECGrid may have been asked for what it
	// answers: a read may share a call that is under way, and an answer travels at
	// most the latency that is set. The rest is for a loaded machine.
	joining = 2 * time.Second

	// endGrace is how long a counted key may outlive its last lease: orphaned counts
	// end with their own TTL and grace, ticks come each minute, and Vault repeats a
	// failed revoke only after a while.
	endGrace = 3 * time.Minute
)

// lease is one that Vault gave to a worker.
type lease struct {
	id      string
	user    int
	key     string
	counted bool // by rotate_on_revoke

	end  time.Time // at the earliest
	over bool      // revoked, or it is not known whether it was
}

// confirmed is a rotation that Vault confirmed: keys that were dead at landed may
// not be read after answered.
type confirmed struct{ landed, answered time.Time }

// failure is a rotation that was answered with a 5xx while nothing was killed.
type failure struct {
	user            int
	began, answered time.Time
}

// interval is when something was being killed.
type interval struct{ from, to time.Time }

// truth is ECGrid's own history, which the book is held against.
type truth interface {
	Keys(user int) []otherhand.Span
	Landed(user int) []otherhand.Landing
	Refusals() []otherhand.Refusal
}

// book is what the test has seen. Its errors hold no key.
type book struct {
	grid truth

	mu         sync.Mutex
	leases     []*lease
	rotated    map[int][]confirmed
	failures   []failure
	disturbed  []interval
	counts     map[string]int
	violations map[string][]string
}

func newBook(grid truth) *book {
	return &book{grid: grid, rotated: map[int][]confirmed{}, counts: map[string]int{}, violations: map[string][]string{}}
}

func (b *book) count(what string, status int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.counts[fmt.Sprintf("%-22s %s", what, statusName(status))]++
}

func statusName(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprint(status)
}

func (b *book) violate(rule, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.violations[rule] = append(b.violations[rule], fmt.Sprintf(format, args...))
}

// disturbing notes when f kills something.
func (b *book) disturbing(what string, f func() error) {
	from := time.Now()
	b.mu.Lock()
	b.disturbed = append(b.disturbed, interval{from: from})
	i := len(b.disturbed) - 1
	b.counts[fmt.Sprintf("%-22s", what)]++
	b.mu.Unlock()
	err := f()
	b.mu.Lock()
	b.disturbed[i].to = time.Now().Add(time.Second)
	b.mu.Unlock()
	if err != nil {
		b.violate("Vault comes back", "%s: %v", what, err)
	}
}

// quiet tells whether nothing was being killed from then until now.
func (b *book) quiet(from time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !slices.ContainsFunc(b.disturbed, func(i interval) bool { return i.to.IsZero() || i.to.After(from) })
}

// read judges a key that a read, begun at began, gave. ECGrid may have been asked
// for it so long before.
func (b *book) read(user int, key string, began time.Time, stale time.Duration) {
	spans := b.grid.Keys(user)
	i := slices.IndexFunc(spans, func(s otherhand.Span) bool { return s.Value == key })
	if i < 0 {
		b.violate("a read gives a key of that user", "user %d", user)
		return
	}
	span := spans[i]
	if span.Dead(began.Add(-stale)) {
		b.violate("a read gives no dead key", "user %d: dead for %v when the read began", user, began.Sub(span.To))
	}
	b.mu.Lock()
	rotated := slices.Clone(b.rotated[user])
	b.mu.Unlock()
	for _, c := range rotated {
		if c.answered.Before(began) && span.Dead(c.landed) {
			b.violate("a read gives no key from before a confirmed rotation", "user %d: confirmed %v before", user, began.Sub(c.answered))
			return
		}
	}
}

// confirm notes a rotation that Vault confirmed, and whether there was one. Where
// several landed meanwhile the first is taken: that much is certain.
func (b *book) confirm(user int, began time.Time) {
	answered := time.Now()
	for _, l := range b.grid.Landed(user) {
		if !l.At.Before(began) {
			b.mu.Lock()
			b.rotated[user] = append(b.rotated[user], confirmed{l.At, answered})
			b.mu.Unlock()
			return
		}
	}
	b.violate("a confirmed rotation was made", "user %d", user)
}

// failed notes a rotation that was answered as if it had not been ordered.
func (b *book) failed(user int, began time.Time) {
	if !b.quiet(began) {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = append(b.failures, failure{user, began, time.Now()})
}

// judgeFailures finds rotations that clients would have repeated.
func (b *book) judgeFailures() {
	b.mu.Lock()
	failures := slices.Clone(b.failures)
	b.mu.Unlock()
	for _, f := range failures {
		for _, l := range b.grid.Landed(f.user) {
			if l.Ordered.After(f.began) && l.Ordered.Before(f.answered) {
				b.violate("a rotation that was ordered is not answered with a 5xx", "user %d", f.user)
				break
			}
		}
	}
}

func (b *book) add(l *lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.leases = append(b.leases, l)
}

func (b *book) ended(l *lease) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.over = true
	l.end = time.Now()
}

func (b *book) extended(l *lease, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.end = until
}

// live tells whether Vault must have the lease for at least a while.
func (b *book) live(l *lease, atLeast time.Duration) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !l.over && time.Until(l.end) > atLeast
}

func (b *book) all() []*lease {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.leases)
}

// refusedRenewal judges a renewal, begun at began, that was refused for good.
func (b *book) refusedRenewal(l *lease, began time.Time, status int) {
	if !b.quiet(began) || b.dead(l.user, l.key) {
		return
	}
	b.violate("a renewal is refused only where the key was replaced", "user %d, status %d", l.user, status)
}

func (b *book) dead(user int, key string) bool {
	for _, s := range b.grid.Keys(user) {
		if s.Value == key {
			return !s.To.IsZero()
		}
	}
	return false
}

// holding is the counted leases on one key.
type holding struct {
	user int
	last time.Time // end of the last of them
}

func (b *book) countedKeys() map[string]holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	keys := map[string]holding{}
	for _, l := range b.leases {
		if h := keys[l.key]; l.counted && l.end.After(h.last) {
			keys[l.key] = holding{l.user, l.end}
		}
	}
	return keys
}

// undead counts the counted keys that still work.
func (b *book) undead() (n int) {
	for key, h := range b.countedKeys() {
		if !b.dead(h.user, key) {
			n++
		}
	}
	return n
}

// judgeCountedKeys compares when each died with when its last lease ended. A
// GenerateAPIKey that landed late may have hit a key that was leased meanwhile.
func (b *book) judgeCountedKeys() (slowest time.Duration) {
	for key, h := range b.countedKeys() {
		spans, landed := b.grid.Keys(h.user), b.grid.Landed(h.user)
		i := slices.IndexFunc(spans, func(s otherhand.Span) bool { return s.Value == key })
		if i < 0 || spans[i].To.IsZero() {
			continue // another rule's
		}
		died := spans[i].To
		slowest = max(slowest, died.Sub(h.last))
		if died.Sub(h.last) > endGrace {
			b.violate("a counted key dies with its last lease", "user %d: %v later", h.user, died.Sub(h.last))
		}
		late := slices.ContainsFunc(landed, func(l otherhand.Landing) bool { return l.Late && l.At.Equal(died) })
		if h.last.Sub(died) > time.Second && !late {
			b.violate("a counted key lives as long as its last lease", "user %d: killed %v before", h.user, h.last.Sub(died))
		}
	}
	return slowest
}

// judgeRefusals looks at every window of 15 minutes.
func (b *book) judgeRefusals() {
	refusals := b.grid.Refusals()
	for i := range refusals {
		if i >= pace && refusals[i].At.Sub(refusals[i-pace].At) < paceWindow {
			b.violate("at most 3 refused Logins in 15 minutes", "%d refused in all", len(refusals))
			return
		}
	}
}

// print is the table of a run.
func (b *book) print(w io.Writer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	printSorted(w, b.counts)
	for rule, all := range b.violations {
		fmt.Fprintf(w, "VIOLATED %d times: %s\n", len(all), rule)
	}
}

func printSorted(w io.Writer, counts map[string]int) {
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%-36s %d\n", name, counts[name])
	}
}
