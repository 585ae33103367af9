package session

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	// window is the time in which one login is refused maxInWindow times at most.
	window      = 15 * time.Minute
	maxInWindow = 3
	// maxKept is how many attempts of a login are remembered beyond the window, and
	// forgetAfter for how long.
	maxKept     = 8
	forgetAfter = 24 * time.Hour
)

// refusedPauses follow the first, second… refusal in a row; faultedPauses the same
// for ECGrid's own failures.
var (
	refusedPauses = []time.Duration{time.Second, time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute}
	faultedPauses = []time.Duration{0, 0, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute}
)

// allowed is from when on another Login like a may be sent. Refused and lost ones
// count alike: each may lock the account, the one by ECGrid's rule for passwords,
// the other by its rule for open sessions. What a write brings has only its own
// past against it. What a success of a ended counts again once a did not work: it may
// have been refused. In one round of candidates the pause, not the window, is waived.
func allowed(mine []Attempt, a Attempt, sameRound bool) time.Time {
	works := !slices.ContainsFunc(mine, func(m Attempt) bool {
		return m.Credential == a.Credential && m.Over != a.Credential
	})
	counted := slices.DeleteFunc(slices.Clone(mine), func(m Attempt) bool {
		another := m.Credential != a.Credential && (m.Brought || a.Brought)
		return another || works && m.Over == a.Credential
	})
	until := afterWindow(counted)
	if a.Brought || sameRound {
		return until
	}
	if p := afterPause(counted, a.Credential); p.After(until) {
		return p
	}
	return until
}

// afterWindow is when the window has room again. Where ECGrid has refused the login
// lately, what it said to be its own failure may have been a refusal too.
func afterWindow(attempts []Attempt) time.Time {
	refused := slices.ContainsFunc(attempts, func(a Attempt) bool { return a.Outcome == Refused })
	var times []time.Time
	for _, a := range attempts {
		if a.Outcome != Faulted || refused {
			times = append(times, a.At)
		}
	}
	if len(times) < maxInWindow {
		return time.Time{}
	}
	// One tick more: at its very end the window still holds its first.
	return times[len(times)-maxInWindow].Add(window + time.Millisecond)
}

// afterPause is when the pause after the last attempt is over. What the success of
// another credential ended lengthens none.
func afterPause(attempts []Attempt, credential string) time.Time {
	attempts = slices.DeleteFunc(slices.Clone(attempts), func(a Attempt) bool { return a.Over != "" && a.Over != credential })
	if len(attempts) == 0 {
		return time.Time{}
	}
	last := attempts[len(attempts)-1]
	pauses := map[Outcome][]time.Duration{Refused: refusedPauses, Faulted: faultedPauses}[last.Outcome]
	if pauses == nil {
		return time.Time{}
	}
	n := 0
	for _, a := range attempts {
		if a.Outcome == last.Outcome {
			n++
		}
	}
	return last.At.Add(pauses[min(n, len(pauses))-1])
}

// inTurn are the candidates in the order in which to try them: the one that was seen to
// be right last, then those that were not refused, then the one that was refused longest
// ago, in whichever process. So each has its turn.
func (l *Ledger) inTurn(login string, candidates []Candidate, current string) []Candidate {
	l.mu.Lock()
	defer l.mu.Unlock()
	refused := map[string]time.Time{}
	for _, a := range l.ofLogin(login) {
		if a.Outcome == Refused && a.Over != a.Credential && l.clock.Now().Sub(a.At) < 2*window {
			refused[a.Credential] = a.At
		}
	}
	turn := slices.Clone(candidates)
	slices.SortStableFunc(turn, func(a, b Candidate) int {
		return cmp.Or(refused[a.Mark].Compare(refused[b.Mark]), -boolCompare(a.Password == current, b.Password == current))
	})
	return turn
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// roomForDoubt is in how long the window has room for more than one refusal; 0 or less
// is now.
func (l *Ledger) roomForDoubt(login string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	counted := slices.DeleteFunc(l.ofLogin(login), func(a Attempt) bool { return a.Outcome == Faulted || a.Brought })
	if len(counted) < maxInWindow-1 {
		return 0
	}
	return counted[len(counted)-(maxInWindow-1)].At.Add(window).Sub(l.clock.Now())
}

// inSeconds is a time to wait, for people.
func inSeconds(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// paused says when it goes on, and why it does not now.
func paused(mine []Attempt, left time.Duration) error {
	count := map[Outcome]int{}
	for _, a := range mine {
		count[a.Outcome]++
	}
	return fmt.Errorf("%w for %s more (lately %d refused, %d without an answer or a session that works, %d failed at ECGrid)",
		ErrPaused, inSeconds(left), count[Refused], count[Lost], count[Faulted])
}

// prune forgets what the window does not hold any more, but for the latest attempts
// of each login, which tell the length of its pauses. Holds mu.
func (l *Ledger) prune() {
	now := l.clock.Now()
	kept := map[string]int{}
	slices.Reverse(l.entries) // the latest first
	l.entries = slices.DeleteFunc(l.entries, func(e *entry) bool {
		age := now.Sub(e.At)
		if e.underWay || age <= window {
			return false
		}
		if e.Brought || e.Over != "" { // it knows no pause
			return true
		}
		kept[e.Login]++
		return kept[e.Login] > maxKept || age > forgetAfter
	})
	slices.Reverse(l.entries)
}
