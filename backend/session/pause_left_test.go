// SPDX-License-Identifier: MPL-2.0

package session

import (
	"testing"
	"time"
)

// The pause lasts until the first of the candidates may be tried.
func TestPauseLeft(t *testing.T) {
	runVirtual(t, func(t *testing.T, p *process, _ *fakeECGrid) {
		both := candidates(wrong, right)
		noErr(t, p.ledger.load(t.Context()))
		for range maxInWindow {
			p.ledger.entries = append(p.ledger.entries, &entry{Note: Note{Attempt: Attempt{
				Login: "login", Credential: both[0].Mark, At: time.Now(), Outcome: Refused, ClearedBy: both[1].Mark,
			}}})
		}
		for _, tt := range []struct {
			login      string
			candidates []Candidate
			want       time.Duration
		}{
			{"login", both[:1], window + time.Millisecond},
			{"login", both, 0}, // the second one works
			{"another", both[:1], 0},
			{"login", nil, 0}, // an API key
		} {
			if got, err := p.ledger.PauseLeft(t.Context(), tt.login, tt.candidates); err != nil || got != tt.want {
				t.Errorf("%s with %d candidates: %s, want %s", tt.login, len(tt.candidates), got, tt.want)
			}
		}
	})
}
