// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"maps"
	"slices"
	"strings"
	"time"
)

// Call is a request for an operation.
type Call struct {
	// Op is a SOAP operation. A REST call has the name of the operation that does the
	// same; only Refresh is none of SOAP.
	Op string
	// Transport is TransportSOAP or TransportREST.
	Transport string
	Time      time.Time
	// SessionID is what the request sent: a SessionID, an API key or a token.
	SessionID string
	ClientIP  string
	// Answered is set just before the answer is sent.
	Answered bool
	// Refused is why ECGrid refused the call; "" is success.
	Refused Cause
	// Injected is set if a Fault matched.
	Injected bool
}

// recent keeps the newest items.
type recent[T any] struct {
	keep  int
	items []T
}

// add returns the items that are dropped.
func (n *recent[T]) add(item T) (forgotten []T) {
	n.items = append(n.items, item)
	if len(n.items) < 2*n.keep { // rarely, to keep add cheap
		return nil
	}
	forgotten = n.items[:len(n.items)-n.keep]
	n.items = slices.Clone(n.items[len(n.items)-n.keep:])
	return forgotten
}

func (n *recent[T]) all() []T { return n.items[max(0, len(n.items)-n.keep):] }

// journal is what the simulator has seen. Simulator.mu guards it.
type journal struct {
	calls          recent[*Call]
	counts         map[string]int // calls, by operation
	exchanges      recent[*Exchange]
	secrets        map[string]bool
	secretsByAge   recent[string]
	refusedLogins  int
	badRequests    int
	maxSessions    int
	inFlight       int
	maxInFlight    int
	landing        int
	changed        chan struct{} // closed and replaced by notify
	sessionsOpened int
}

func newJournal(keep, keepSecrets int) journal {
	return journal{
		calls:        recent[*Call]{keep: keep},
		counts:       map[string]int{},
		exchanges:    recent[*Exchange]{keep: keep},
		secrets:      map[string]bool{},
		secretsByAge: recent[string]{keep: keepSecrets},
		changed:      make(chan struct{}),
	}
}

func (j *journal) addSecrets(values ...string) {
	for _, v := range values {
		if v == "" || j.secrets[v] {
			continue
		}
		j.secrets[v] = true
		for _, old := range j.secretsByAge.add(v) {
			delete(j.secrets, old)
		}
	}
}

func (j *journal) sessionOpened(open int) {
	j.sessionsOpened++
	j.maxSessions = max(j.maxSessions, open)
}

func (j *journal) begin(c *Call) {
	j.calls.add(c)
	j.counts[c.Op]++
	j.inFlight++
	j.maxInFlight = max(j.maxInFlight, j.inFlight)
	j.notify()
}

func (j *journal) end(c *Call, refused Cause) {
	c.Answered, c.Refused = true, refused
	j.inFlight--
	j.notify()
}

func (j *journal) notify() {
	close(j.changed)
	j.changed = make(chan struct{})
}

func (j *journal) count(op string) int {
	if op != "" {
		return j.counts[op]
	}
	n := 0
	for _, count := range j.counts {
		n += count
	}
	return n
}

// Calls returns the newest Options.KeepCalls calls, oldest first.
func (s *Simulator) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.journal.calls.all()
	all := make([]Call, len(kept))
	for i, c := range kept {
		all[i] = *c
	}
	return all
}

// Count returns how many calls of an operation arrived; "" counts all.
func (s *Simulator) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.count(op)
}

// Await waits until n calls of an operation have arrived.
func (s *Simulator) Await(ctx context.Context, op string, n int) error {
	return s.AwaitState(ctx, func(State) bool { return s.journal.count(op) >= n })
}

// AwaitState waits until wanted returns true. It is called when a call begins or ends and
// when a late change is applied, and must not call the Simulator.
func (s *Simulator) AwaitState(ctx context.Context, wanted func(State) bool) error {
	for {
		s.mu.Lock()
		met, changed := wanted(s.state()), s.journal.changed
		s.mu.Unlock()
		if met {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State has the counters of a Simulator and no secret.
type State struct {
	// Calls counts by operation, over both transports.
	Calls map[string]int `json:"calls"`
	// RefusedLogins counts the refused logins of SOAP and REST.
	RefusedLogins int `json:"refused_logins"`
	// BadRequests counts requests that violate the WSDL or the REST documentation. They
	// are no calls.
	BadRequests int `json:"bad_requests"`
	// OpenSessions counts the open SOAP sessions and REST tokens, OpenByUser those of
	// each UserID. OpenTokens counts the tokens among them.
	OpenSessions int           `json:"open_sessions"`
	OpenByUser   map[int32]int `json:"open_by_user"`
	OpenTokens   int           `json:"open_tokens"`
	// MaxOpenSessions is the most that were open at once.
	MaxOpenSessions int `json:"max_open_sessions"`
	// SessionsOpened is how many were ever opened. A refreshed token is not a new one.
	SessionsOpened int `json:"sessions_opened"`
	// InFlight counts the calls in progress, MaxInFlight is the most at once.
	InFlight    int `json:"in_flight"`
	MaxInFlight int `json:"max_in_flight"`
	// Landing counts the changes that will be applied later (Fault.ApplyLate).
	Landing int `json:"landing"`
}

// State returns the current counters.
func (s *Simulator) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

func (s *Simulator) state() State {
	s.expire()
	st := State{
		Calls: maps.Clone(s.journal.counts), OpenByUser: map[int32]int{},
		RefusedLogins: s.journal.refusedLogins, BadRequests: s.journal.badRequests,
		OpenSessions: len(s.sessions), MaxOpenSessions: s.journal.maxSessions, SessionsOpened: s.journal.sessionsOpened,
		InFlight: s.journal.inFlight, MaxInFlight: s.journal.maxInFlight, Landing: s.journal.landing,
	}
	for _, n := range s.sessions {
		st.OpenByUser[n.user.UserID]++
		if n.isToken() {
			st.OpenTokens++
		}
	}
	return st
}

// OpenSessions counts the open SOAP sessions and REST tokens of all users.
func (s *Simulator) OpenSessions() int { return s.State().OpenSessions }

// Secrets returns all current passwords, keys, SessionIDs and tokens, and the newest
// Options.KeepSecrets former ones, each also as XML and JSON escape it. Tests search logs for them.
func (s *Simulator) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]bool{}
	add := func(secret string) { all[secret], all[xmlEscaped(secret)], all[jsonEscaped(secret)] = true, true, true }
	for secret := range s.journal.secrets {
		add(secret)
	}
	for _, a := range s.users {
		add(a.Password)
		add(a.APIKey)
	}
	for id := range s.sessions {
		add(id)
	}
	delete(all, "") // the key of a user without one
	return slices.Sorted(maps.Keys(all))
}

func xmlEscaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer does not fail
	return b.String()
}

func jsonEscaped(text string) string {
	b, _ := json.Marshal(text) // a string does not fail
	return strings.Trim(string(b), `"`)
}
