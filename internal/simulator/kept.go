// SPDX-License-Identifier: MPL-2.0

package simulator

// Kept counts what a Simulator keeps in memory besides its users. Each number has a bound,
// however many requests arrive: Options.KeepCalls and KeepSecrets (up to twice as many
// until they are trimmed), Options.SessionCap for each user, and constants for faults and
// late changes.
type Kept struct {
	Calls, Exchanges, Secrets, Sessions, Faults, Late int
	// Callers is how many users and addresses Options.RateLimit counts in this second.
	Callers int
}

// Kept returns the current numbers.
func (s *Simulator) Kept() Kept {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Kept{
		Calls: len(s.journal.calls.items), Exchanges: len(s.journal.exchanges.items), Secrets: len(s.journal.secrets),
		Sessions: len(s.sessions), Faults: len(s.faults), Late: s.journal.landing, Callers: len(s.rate.calls),
	}
}
