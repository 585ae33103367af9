// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/fakegrid"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// fakeHistory is a made-up history.
type fakeHistory struct {
	keys     []fakegrid.Span
	changes  []fakegrid.KeyChange
	refusals []fakegrid.Refusal
}

func (h fakeHistory) Keys(int) []fakegrid.Span            { return h.keys }
func (h fakeHistory) KeyChanges(int) []fakegrid.KeyChange { return h.changes }
func (h fakeHistory) Refusals() []fakegrid.Refusal        { return h.refusals }
func at(start time.Time, s float64) time.Time {
	return start.Add(time.Duration(s * float64(time.Second)))
}
func countedLease(key string, end time.Time) *lease {
	return &lease{user: 1, key: key, counted: true, end: end}
}

// TestRules is the positive control: the checker reports each broken rule, and no other.
func TestRules(t *testing.T) {
	t.Parallel()
	start := time.Now().Add(-time.Hour)
	replaced := fakeHistory{ // "old" until 100 s
		keys:    []fakegrid.Span{{Value: "old", From: start, To: at(start, 100)}, {Value: "new", From: at(start, 100)}},
		changes: []fakegrid.KeyChange{{Requested: at(start, 99), At: at(start, 100)}},
	}
	lateOne := replaced
	lateOne.changes = []fakegrid.KeyChange{{Requested: at(start, 90), At: at(start, 100), Late: true}}
	refused := func(after ...float64) (h fakeHistory) {
		for _, s := range after {
			h.refusals = append(h.refusals, fakegrid.Refusal{At: at(start, s)})
		}
		return h
	}

	for name, c := range map[string]struct {
		history fakeHistory
		do      func(*checker)
		broken  bool
	}{
		"the key of now":      {replaced, func(b *checker) { b.checkRead(1, "new", at(start, 101), readOverlap) }, false},
		"nobody's key":        {replaced, func(b *checker) { b.checkRead(1, "another's", at(start, 101), readOverlap) }, true},
		"a key dead for long": {replaced, func(b *checker) { b.checkRead(1, "old", at(start, 103), readOverlap) }, true},
		"a key that died while the call was under way": {replaced, func(b *checker) { b.checkRead(1, "old", at(start, 101), readOverlap) }, false},
		"a key from before a confirmed rotation": {replaced, func(b *checker) {
			b.rotated[1] = []confirmedRotation{{changed: at(start, 100), answered: at(start, 100.1)}}
			b.checkRead(1, "old", at(start, 100.2), readOverlap)
		}, true},
		"a read from before the rotation was confirmed": {replaced, func(b *checker) {
			b.rotated[1] = []confirmedRotation{{changed: at(start, 100), answered: at(start, 100.1)}}
			b.checkRead(1, "old", at(start, 100.05), readOverlap)
		}, false},
		"a confirmed rotation":                {replaced, func(b *checker) { b.confirmRotation(1, at(start, 99)) }, false},
		"a confirmed rotation that never was": {replaced, func(b *checker) { b.confirmRotation(1, at(start, 200)) }, true},
		"a rotation that failed before it began": {replaced, func(b *checker) {
			b.failures = []failedRotation{{1, at(start, 80), at(start, 81)}}
			b.checkFailedRotations()
		}, false},
		"a rotation that reached ECGrid and failed": {replaced, func(b *checker) {
			b.failures = []failedRotation{{1, at(start, 98), at(start, 102)}}
			b.checkFailedRotations()
		}, true},
		"renewal refused, key replaced": {replaced, func(b *checker) { b.checkRefusedRenewal(&lease{user: 1, key: "old"}, at(start, 101), 400) }, false},
		"renewal refused, key alive":    {replaced, func(b *checker) { b.checkRefusedRenewal(&lease{user: 1, key: "new"}, at(start, 101), 400) }, true},
		"renewal refused while something dies": {replaced, func(b *checker) {
			b.recordDisturbance("test", func() error { b.checkRefusedRenewal(&lease{user: 1, key: "new"}, time.Now(), 400); return nil })
		}, false},
		"Vault does not come back":        {replaced, func(b *checker) { b.recordDisturbance("test", func() error { return errors.New("no") }) }, true},
		"counted key dies with its lease": {replaced, func(b *checker) { b.addLease(countedLease("old", at(start, 99.5))); b.checkCountedKeys() }, false},
		"counted key outlives its lease":  {replaced, func(b *checker) { b.addLease(countedLease("old", at(start, -100))); b.checkCountedKeys() }, true},
		"counted key killed while leased": {replaced, func(b *checker) { b.addLease(countedLease("old", at(start, 110))); b.checkCountedKeys() }, true},
		"counted key killed by a slow revocation": {replaced, func(b *checker) {
			b.addLease(&lease{user: 1, key: "old", counted: true, end: at(start, 110), over: true, revoked: at(start, 99)})
			b.checkCountedKeys()
		}, false},
		"counted key killed before its revocation": {replaced, func(b *checker) {
			b.addLease(&lease{user: 1, key: "old", counted: true, end: at(start, 111), over: true, revoked: at(start, 110)})
			b.checkCountedKeys()
		}, true},
		"the same, by a late change":          {lateOne, func(b *checker) { b.addLease(countedLease("old", at(start, 110))); b.checkCountedKeys() }, false},
		"three refused":                       {refused(0, 1, 2), (*checker).checkRefusedLogins, false},
		"four refused":                        {refused(0, 1, 2, 899), (*checker).checkRefusedLogins, true},
		"four refused, not in one window":     {refused(0, 1, 2, 901), (*checker).checkRefusedLogins, false},
		"four refused in a window at the end": {refused(0, 1000, 1001, 1002, 1003), (*checker).checkRefusedLogins, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newChecker(c.history)
			c.do(b)
			if broken := len(b.violations) > 0; broken != c.broken {
				t.Errorf("broken: %t", broken)
			}
		})
	}
	b := newChecker(replaced)
	b.addLease(countedLease("new", start))
	b.addLease(countedLease("old", start))
	if b.liveCountedKeys() != 1 {
		t.Error("a counted key that still works is not reported")
	}
}

// TestStatedWait has the messages of the engine that extend the recovery.
func TestStatedWait(t *testing.T) {
	t.Parallel()
	const paused = "user 7101: logins are paused for %s more, until 2026-01-02T15:04:05Z: 3 logins failed (2 refused, 1 without an answer or a working session) within 15 minutes"
	for name, c := range map[string]struct {
		message  string
		short    bool
		extended time.Duration
	}{
		"paused":             {fmt.Sprintf(paused, "7m56s"), false, 7*time.Minute + 56*time.Second},
		"rotate-root waits":  {"logins were refused or not answered a short while ago; wait for 9s more, until 2026-01-02T15:04:05Z: 2 logins failed (2 refused) within 15 minutes", false, 9 * time.Second},
		"a short run":        {fmt.Sprintf(paused, "7m56s"), true, 0},
		"longer than a rule": {fmt.Sprintf(paused, "16m1s"), false, 0},
		"another failure":    {"user 7101: ECGrid was too slow", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			now := time.Now()
			l := &load{maxRootRefused: 2, deadline: now, latest: now.Add(time.Hour)}
			if c.short {
				l.maxRootRefused = 1
			}
			may := l.mayWait(vaulttest.Response{Errors: []string{"1 error occurred", c.message}})
			if got := l.deadline.Sub(now); may != (c.extended > 0) || may && (got < c.extended || got > c.extended+afterWait+time.Minute) || !may && got != 0 {
				t.Errorf("%t, extended by %s", may, got)
			}
		})
	}
	l := &load{maxRootRefused: 2, latest: time.Now().Add(time.Minute)}
	if l.mayWait(vaulttest.Response{Errors: []string{fmt.Sprintf(paused, "2m0s")}}) {
		t.Error("the recovery goes on for ever")
	}
}
