package chaos

import (
	"errors"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/chaos/otherhand"
)

// told is a history made up for a test.
type told struct {
	keys     []otherhand.Span
	landed   []otherhand.Landing
	refusals []otherhand.Refusal
}

func (h told) Keys(int) []otherhand.Span      { return h.keys }
func (h told) Landed(int) []otherhand.Landing { return h.landed }
func (h told) Refusals() []otherhand.Refusal  { return h.refusals }
func at(start time.Time, s float64) time.Time {
	return start.Add(time.Duration(s * float64(time.Second)))
}
func counted(key string, end time.Time) *lease {
	return &lease{user: 1, key: key, counted: true, end: end}
}

// TestRules is the positive control: each rule of the book speaks when it is
// broken, and only then.
func TestRules(t *testing.T) {
	t.Parallel()
	start := time.Now().Add(-time.Hour)
	replaced := told{ // "old" until 100 s
		keys:   []otherhand.Span{{Value: "old", From: start, To: at(start, 100)}, {Value: "new", From: at(start, 100)}},
		landed: []otherhand.Landing{{Ordered: at(start, 99), At: at(start, 100)}},
	}
	lateOne := replaced
	lateOne.landed = []otherhand.Landing{{Ordered: at(start, 90), At: at(start, 100), Late: true}}
	refused := func(after ...float64) (h told) {
		for _, s := range after {
			h.refusals = append(h.refusals, otherhand.Refusal{At: at(start, s)})
		}
		return h
	}

	for name, c := range map[string]struct {
		history told
		do      func(*book)
		broken  bool
	}{
		"the key of now":      {replaced, func(b *book) { b.read(1, "new", at(start, 101), joining) }, false},
		"nobody's key":        {replaced, func(b *book) { b.read(1, "another's", at(start, 101), joining) }, true},
		"a key dead for long": {replaced, func(b *book) { b.read(1, "old", at(start, 103), joining) }, true},
		"a key that died while the call was under way": {replaced, func(b *book) { b.read(1, "old", at(start, 101), joining) }, false},
		"a key from before a confirmed rotation": {replaced, func(b *book) {
			b.rotated[1] = []confirmed{{landed: at(start, 100), answered: at(start, 100.1)}}
			b.read(1, "old", at(start, 100.2), joining)
		}, true},
		"a read from before the rotation was confirmed": {replaced, func(b *book) {
			b.rotated[1] = []confirmed{{landed: at(start, 100), answered: at(start, 100.1)}}
			b.read(1, "old", at(start, 100.05), joining)
		}, false},
		"a confirmed rotation":                   {replaced, func(b *book) { b.confirm(1, at(start, 99)) }, false},
		"a confirmed rotation that never was":    {replaced, func(b *book) { b.confirm(1, at(start, 200)) }, true},
		"a rotation that failed before it began": {replaced, func(b *book) { b.failures = []failure{{1, at(start, 80), at(start, 81)}}; b.judgeFailures() }, false},
		"a rotation that was ordered and failed": {replaced, func(b *book) { b.failures = []failure{{1, at(start, 98), at(start, 102)}}; b.judgeFailures() }, true},
		"renewal refused, key replaced":          {replaced, func(b *book) { b.refusedRenewal(&lease{user: 1, key: "old"}, at(start, 101), 400) }, false},
		"renewal refused, key alive":             {replaced, func(b *book) { b.refusedRenewal(&lease{user: 1, key: "new"}, at(start, 101), 400) }, true},
		"renewal refused while something dies": {replaced, func(b *book) {
			b.disturbing("test", func() error { b.refusedRenewal(&lease{user: 1, key: "new"}, time.Now(), 400); return nil })
		}, false},
		"Vault does not come back":            {replaced, func(b *book) { b.disturbing("test", func() error { return errors.New("no") }) }, true},
		"counted key dies with its lease":     {replaced, func(b *book) { b.add(counted("old", at(start, 99.5))); b.judgeCountedKeys() }, false},
		"counted key outlives its lease":      {replaced, func(b *book) { b.add(counted("old", at(start, -100))); b.judgeCountedKeys() }, true},
		"counted key killed while leased":     {replaced, func(b *book) { b.add(counted("old", at(start, 110))); b.judgeCountedKeys() }, true},
		"the same, by what landed late":       {lateOne, func(b *book) { b.add(counted("old", at(start, 110))); b.judgeCountedKeys() }, false},
		"three refused":                       {refused(0, 1, 2), (*book).judgeRefusals, false},
		"four refused":                        {refused(0, 1, 2, 899), (*book).judgeRefusals, true},
		"four refused, not in one window":     {refused(0, 1, 2, 901), (*book).judgeRefusals, false},
		"four refused in a window at the end": {refused(0, 1000, 1001, 1002, 1003), (*book).judgeRefusals, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBook(c.history)
			c.do(b)
			if broken := len(b.violations) > 0; broken != c.broken {
				t.Errorf("broken: %t", broken)
			}
		})
	}
	b := newBook(replaced)
	b.add(counted("new", start))
	b.add(counted("old", start))
	if b.undead() != 1 {
		t.Error("a counted key that lives on is not seen")
	}
}
