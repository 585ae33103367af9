// SPDX-License-Identifier: MPL-2.0

package session

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Past attempts change no pause: what prune keeps beside them does not depend on what is stored.
// There is one at most for each stored credential, its last refusal.
func TestPastAttemptsCauseNoPause(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, _ *fakeECGrid) {
		for seed := range uint64(500) {
			random := rand.New(rand.NewPCG(seed, 3))
			all := randomAttempts(random, time.Now())
			pruned := func(stored bool) []Attempt {
				p.ledger.entries = nil
				for _, a := range all {
					p.ledger.entries = append(p.ledger.entries, &entry{Note: Note{Attempt: a}})
				}
				p.ledger.prune(func(Attempt) bool { return stored })
				p.ledger.prune(func(Attempt) bool { return stored }) // changes nothing
				return p.ledger.allAttemptsOf("login")
			}
			kept, counted := pruned(true), pruned(false)
			if counting := without(kept, isPast); !slices.Equal(counting, counted) {
				t.Fatalf("seed %d: %v count, and without stored credentials %v", seed, counting, counted)
			}
			checkLastRefusals(t, all, kept)
		}
	})
}

func randomAttempts(random *rand.Rand, now time.Time) (all []Attempt) {
	outcomes := []Outcome{Refused, Refused, Refused, Lost, Faulted}
	at := now
	for range random.IntN(30) {
		a := Attempt{Login: "login", Credential: strconv.Itoa(random.IntN(4)), At: at, FromWrite: random.IntN(2) == 0, Outcome: outcomes[random.IntN(len(outcomes))]}
		if random.IntN(4) == 0 {
			a.ClearedBy = strconv.Itoa(random.IntN(4))
		}
		all = append(all, a)
		at = at.Add(-time.Duration(random.Int64N(int64(4 * time.Hour))))
		if random.IntN(3) == 0 {
			at = at.Add(-time.Duration(random.Int64N(int64(40 * time.Hour))))
		}
	}
	slices.Reverse(all)
	return all
}

// checkLastRefusals checks that the last uncleared refusal of each credential is kept, and no
// other as a Past attempt.
func checkLastRefusals(t *testing.T, all, kept []Attempt) {
	t.Helper()
	last := map[string]time.Time{}
	for _, a := range all {
		if a.Outcome == Refused && a.ClearedBy == "" {
			last[a.Credential] = a.At
		}
	}
	found := map[string]time.Time{}
	for _, a := range kept {
		if a.Outcome != Refused || a.ClearedBy != "" {
			continue
		}
		found[a.Credential] = a.At
		if a.Past && !a.At.Equal(last[a.Credential]) {
			t.Errorf("%v is kept, and the last refusal was at %s", a, last[a.Credential])
		}
	}
	for credential, at := range last {
		if !found[credential].Equal(at) {
			t.Errorf("the last refusal of %s at %s is forgotten", credential, at)
		}
	}
}

// A success with another password of the config clears a Past attempt of a write, and a password
// that is not stored any more leaves none.
func TestPastAttemptsAreCleared(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		p.setStored(wrong, right)
		wantErr(t, p.tryWrite(wrong), ErrRefused)
		wantErr(t, p.tryWrite(other), ErrRefused)
		time.Sleep(window + time.Second)
		wantErr(t, p.tryWrite(other), ErrRefused) // stores
		wantLast := func(want bool, why string) {
			t.Helper()
			got, err := p.ledger.Refusals(t.Context(), "server login", candidates(wrong, right))
			if err != nil || got.Last.IsZero() == want {
				t.Errorf("%s: the last refusal was at %s, %v", why, got.Last, err)
			}
		}
		wantLast(true, "refused")
		s := p.session(with(wrong, right))
		s.SetPassword(right)
		noErr(t, read(s))
		wantLast(false, "another password works")
		closeSession(s)

		wantErr(t, p.tryWrite(wrong), ErrRefused)
		time.Sleep(window + time.Second)
		p.setStored(right)
		wantErr(t, p.tryWrite(other), ErrRefused)
		wantLast(false, "it is not stored any more")
	})
}

// If the config cannot be read, no refusal is forgotten.
func TestPastAttemptsWithoutConfig(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, _ *fakeECGrid) {
		p.setStored(wrong)
		wantErr(t, p.tryWrite(wrong), ErrRefused)
		time.Sleep(window + time.Second)
		p.storeFails = func(method string) bool { return method == "StoredCredentials" }
		wantErr(t, p.tryWrite(other), ErrRefused)
		if got, err := p.ledger.Refusals(t.Context(), "server login", candidates(wrong)); err != nil || got.Last.IsZero() {
			t.Errorf("the last refusal is forgotten, %v", err)
		}
	})
}

// A Past refusal does not make faults of ECGrid count as refusals.
func TestFaultsAfterAPastRefusal(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, f *fakeECGrid) {
		past := Attempt{Login: "server login", Credential: candidates(right)[0].Mark, At: time.Now().Add(-48 * time.Hour), Outcome: Refused, Past: true}
		noErr(t, p.PutAttempts(t.Context(), []Attempt{past}))
		f.fail["Login"] = ecgrid.ErrServerFault
		s := p.session()
		for range maxInWindow {
			wantErr(t, read(s), ecgrid.ErrServerFault)
		}
		f.set(func() { delete(f.fail, "Login") })
		time.Sleep(16 * time.Second)
		noErr(t, read(s))
		closeSession(s)
	})
}
