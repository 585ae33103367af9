// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
)

const (
	// readOverlap is how long before a read its key may have been fetched from ECGrid: a
	// read may share a running call, and an answer takes up to Rates.Latency. The rest is
	// for a loaded machine.
	readOverlap = 2 * time.Second

	// keyGrace is how long a counted key may outlive its last lease. The count of a lost
	// lease ends with its TTL and a grace period, rotations run once a minute, and Vault
	// repeats a failed revocation later.
	keyGrace = 3 * time.Minute
)

// lease is a lease that a worker got from Vault.
type lease struct {
	id      string
	user    int
	key     string
	counted bool // the role has rotate_on_revoke

	end     time.Time // the earliest possible
	over    bool      // revoked, or possibly revoked
	revoked time.Time // when the revocation began; it ends before end
}

// neededUntil is how long the key must live.
func (l *lease) neededUntil() time.Time {
	if !l.revoked.IsZero() {
		return l.revoked
	}
	return l.end
}

// confirmedRotation is a rotation that Vault confirmed. A key that was dead at changed must
// not be read after answered.
type confirmedRotation struct{ changed, answered time.Time }

// failedRotation is a rotation that was answered with a 5xx while nothing was killed.
type failedRotation struct {
	user            int
	began, answered time.Time
}

// interval is a time during which something was killed or down.
type interval struct{ from, to time.Time }

// history is what really happened at ECGrid.
type history interface {
	Keys(user int) []fakegrid.Span
	KeyChanges(user int) []fakegrid.KeyChange
	Refusals() []fakegrid.Refusal
}

// checker records what the clients saw, and compares it with ECGrid's history. Its errors
// contain no key.
type checker struct {
	history history

	mu           sync.Mutex
	leases       []*lease
	rotated      map[int][]confirmedRotation
	failures     []failedRotation
	disturbances []interval
	counts       map[string]int
	violations   map[string][]string
}

func newChecker(grid history) *checker {
	return &checker{history: grid, rotated: map[int][]confirmedRotation{}, counts: map[string]int{}, violations: map[string][]string{}}
}

func (ch *checker) count(what string, status int) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.counts[fmt.Sprintf("%-22s %s", what, statusName(status))]++
}

func statusName(status int) string {
	if status == 0 {
		return "no answer"
	}
	return fmt.Sprint(status)
}

func (ch *checker) violation(rule, format string, args ...any) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.violations[rule] = append(ch.violations[rule], fmt.Sprintf(format, args...))
}

// recordDisturbance records the time during which f kills something.
func (ch *checker) recordDisturbance(what string, f func() error) {
	from := time.Now()
	ch.mu.Lock()
	ch.disturbances = append(ch.disturbances, interval{from: from})
	i := len(ch.disturbances) - 1
	ch.counts[fmt.Sprintf("%-22s", what)]++
	ch.mu.Unlock()
	err := f()
	ch.mu.Lock()
	ch.disturbances[i].to = time.Now().Add(time.Second)
	ch.mu.Unlock()
	if err != nil {
		ch.violation("Vault comes back", "%s: %v", what, err)
	}
}

// undisturbedSince reports whether nothing was killed or down from then until now.
func (ch *checker) undisturbedSince(from time.Time) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return !slices.ContainsFunc(ch.disturbances, func(i interval) bool { return i.to.IsZero() || i.to.After(from) })
}

// checkRead checks the key of a read that began at began. It may have been fetched up to
// maxAge before.
func (ch *checker) checkRead(user int, key string, began time.Time, maxAge time.Duration) {
	spans := ch.history.Keys(user)
	i := slices.IndexFunc(spans, func(s fakegrid.Span) bool { return s.Value == key })
	if i < 0 {
		ch.violation("a read returns a key of that user", "user %d", user)
		return
	}
	span := spans[i]
	if span.Dead(began.Add(-maxAge)) {
		ch.violation("a read returns no dead key", "user %d: dead for %v when the read began", user, began.Sub(span.To))
	}
	ch.mu.Lock()
	rotated := slices.Clone(ch.rotated[user])
	ch.mu.Unlock()
	for _, c := range rotated {
		if c.answered.Before(began) && span.Dead(c.changed) {
			ch.violation("a read returns no key from before a confirmed rotation", "user %d: confirmed %v before", user, began.Sub(c.answered))
			return
		}
	}
}

// confirmRotation records a rotation that Vault confirmed, and checks that ECGrid made it.
// If there were several, the first one counts.
func (ch *checker) confirmRotation(user int, began time.Time) {
	answered := time.Now()
	for _, l := range ch.history.KeyChanges(user) {
		if !l.At.Before(began) {
			ch.mu.Lock()
			ch.rotated[user] = append(ch.rotated[user], confirmedRotation{l.At, answered})
			ch.mu.Unlock()
			return
		}
	}
	ch.violation("a confirmed rotation was applied", "user %d", user)
}

// failRotation records a rotation that was answered with a 5xx.
func (ch *checker) failRotation(user int, began time.Time) {
	if !ch.undisturbedSince(began) {
		return
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.failures = append(ch.failures, failedRotation{user, began, time.Now()})
}

// checkFailedRotations finds rotations that reached ECGrid although the answer was a 5xx,
// which a client would repeat.
func (ch *checker) checkFailedRotations() {
	ch.mu.Lock()
	failures := slices.Clone(ch.failures)
	ch.mu.Unlock()
	for _, f := range failures {
		for _, l := range ch.history.KeyChanges(f.user) {
			if l.Requested.After(f.began) && l.Requested.Before(f.answered) {
				ch.violation("a rotation that reached ECGrid is not answered with a 5xx", "user %d", f.user)
				break
			}
		}
	}
}

func (ch *checker) addLease(l *lease) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.leases = append(ch.leases, l)
}

// leaseEnded records a revocation that began at began.
func (ch *checker) leaseEnded(l *lease, began time.Time) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	l.over = true
	l.revoked, l.end = began, time.Now()
}

func (ch *checker) leaseRenewed(l *lease, until time.Time) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	l.end = until
}

// isLive reports whether the lease must exist for at least that long.
func (ch *checker) isLive(l *lease, atLeast time.Duration) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return !l.over && time.Until(l.end) > atLeast
}

// liveLeases are those that must exist.
func (ch *checker) liveLeases() []*lease {
	return slices.DeleteFunc(ch.allLeases(), func(l *lease) bool { return !ch.isLive(l, 0) })
}

func (ch *checker) allLeases() []*lease {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return slices.Clone(ch.leases)
}

// checkRefusedRenewal checks a refused renewal that began at began.
func (ch *checker) checkRefusedRenewal(l *lease, began time.Time, status int) {
	if !ch.undisturbedSince(began) || ch.isDead(l.user, l.key) {
		return
	}
	ch.violation("a renewal is refused only if the key was replaced", "user %d, status %d", l.user, status)
}

func (ch *checker) isDead(user int, key string) bool {
	for _, s := range ch.history.Keys(user) {
		if s.Value == key {
			return !s.To.IsZero()
		}
	}
	return false
}

// keyUse describes the counted leases of one key.
type keyUse struct {
	user   int
	last   time.Time // the end of the last one
	needed time.Time // how long the key must live
}

func (ch *checker) countedKeys() map[string]keyUse {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	keys := map[string]keyUse{}
	for _, l := range ch.leases {
		if !l.counted {
			continue
		}
		h := keys[l.key]
		h.user = l.user
		if l.end.After(h.last) {
			h.last = l.end
		}
		if l.neededUntil().After(h.needed) {
			h.needed = l.neededUntil()
		}
		keys[l.key] = h
	}
	return keys
}

// liveCountedKeys counts the counted keys that still work.
func (ch *checker) liveCountedKeys() (n int) {
	for key, h := range ch.countedKeys() {
		if !ch.isDead(h.user, key) {
			n++
		}
	}
	return n
}

// checkCountedKeys compares the end of each key with the end of its last lease. A
// GenerateAPIKey that was applied late may have replaced a key with a lease.
func (ch *checker) checkCountedKeys() (slowest time.Duration) {
	for key, h := range ch.countedKeys() {
		spans, landed := ch.history.Keys(h.user), ch.history.KeyChanges(h.user)
		i := slices.IndexFunc(spans, func(s fakegrid.Span) bool { return s.Value == key })
		if i < 0 || spans[i].To.IsZero() {
			continue // other rules check this
		}
		died := spans[i].To
		slowest = max(slowest, died.Sub(h.last))
		if died.Sub(h.last) > keyGrace {
			ch.violation("a counted key dies with its last lease", "user %d: %v later", h.user, died.Sub(h.last))
		}
		late := slices.ContainsFunc(landed, func(l fakegrid.KeyChange) bool { return l.Late && l.At.Equal(died) })
		if h.needed.Sub(died) > time.Second && !late {
			ch.violation("a counted key lives as long as its last lease", "user %d: killed %v before", h.user, h.needed.Sub(died))
		}
	}
	return slowest
}

// checkRefusedLogins checks every window of 15 minutes.
func (ch *checker) checkRefusedLogins() {
	refusals := ch.history.Refusals()
	for i := range refusals {
		if i >= maxRefused && refusals[i].At.Sub(refusals[i-maxRefused].At) < refusedWindow {
			ch.violation("at most 3 refused Logins in 15 minutes", "%d refused in all", len(refusals))
			return
		}
	}
}

// print writes the table of a run.
func (ch *checker) print(w io.Writer) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	printSorted(w, ch.counts)
	for rule, all := range ch.violations {
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
