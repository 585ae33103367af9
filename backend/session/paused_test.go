// SPDX-License-Identifier: MPL-2.0

package session

import (
	"errors"
	"testing"
	"time"
)

func TestPausedMessage(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 15, 4, 5, 1, time.FixedZone("", 3600))
	attempts := []Attempt{
		{At: now.Add(-16 * time.Minute), Outcome: Refused}, // too long ago
		{At: now.Add(-15*time.Minute - 30*time.Second)},    // was decided a minute later
		{At: now.Add(-15 * time.Minute), Outcome: Refused},
		{At: now, Outcome: Refused},
	}
	for name, tt := range map[string]struct {
		err           *Paused
		kind          error
		text, lasting string
	}{
		"logins": {newPaused(ErrPaused, "", now.Add(59*time.Second), attempts, now), ErrPaused,
			"logins are paused for 59s more, until 2026-01-02T14:05:05Z: 3 logins failed (2 refused, 1 without an answer or a working session) within 15 minutes",
			"logins are paused until 2026-01-02T14:05:05Z: 3 logins failed (2 refused, 1 without an answer or a working session) within 15 minutes"},
		"rotate-root": {newPaused(ErrTooSoon, "; wait", now.Add(time.Minute+1), attempts[3:], now), ErrTooSoon,
			"logins were refused or not answered a short while ago; wait for 1m1s more, until 2026-01-02T14:05:06Z: 1 login failed (1 refused) within 15 minutes",
			"logins were refused or not answered a short while ago; wait until 2026-01-02T14:05:06Z: 1 login failed (1 refused) within 15 minutes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.err.Error(); got != tt.text {
				t.Errorf("got %q", got)
			}
			if got := tt.err.Lasting(); got != tt.lasting {
				t.Errorf("got %q", got)
			}
			if !errors.Is(tt.err, tt.kind) {
				t.Errorf("it is not %v", tt.kind)
			}
		})
	}
}

func TestFailedLogins(t *testing.T) {
	t.Parallel()
	for want, f := range map[string]FailedLogins{
		"no login failed within 15 minutes":                                                                                 {},
		"1 login failed (1 without an answer or a working session) within 15 minutes":                                       {Lost: 1},
		"4 logins failed (1 refused, 1 without an answer or a working session, 2 with a fault of ECGrid) within 15 minutes": {1, 1, 2},
	} {
		if got := f.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
