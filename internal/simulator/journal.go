package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Call is one request the simulator took for an operation.
type Call struct {
	// Op is the SOAP operation, or one of the REST… names.
	Op   string
	Time time.Time
	// SessionID is what the request gave as one: a SessionID, a key or a token.
	SessionID string
	ClientIP  string
	// Answered is false until the answer is about to be sent.
	Answered bool
	// Refused is why ECGrid refused it; "" is a success.
	Refused Cause
	// Injected tells that a Fault met this call.
	Injected bool
}

// Exchange is one request and its answer as they were on the wire, at most
// 1 MiB of each body.
type Exchange struct {
	Op             string // "" for a request that is none
	Method         string
	URL            string
	RequestHeader  http.Header
	Request        []byte
	Status         int // 0 where the connection was cut
	ResponseHeader http.Header
	Response       []byte
}

// keptSecrets bounds the dead secrets that are remembered: far more than calls,
// since a test that searches for them wants all it can get.
const keptSecrets = 100_000

// newest keeps the last of what it is given.
type newest[T any] struct {
	keep  int
	items []T
}

// add tells what it forgets for it.
func (n *newest[T]) add(item T) (forgotten []T) {
	n.items = append(n.items, item)
	if len(n.items) < 2*n.keep { // seldom, so that it costs next to nothing
		return nil
	}
	forgotten = n.items[:len(n.items)-n.keep]
	n.items = slices.Clone(n.items[len(n.items)-n.keep:])
	return forgotten
}

func (n *newest[T]) all() []T { return n.items[max(0, len(n.items)-n.keep):] }

// journal is what the simulator saw. Simulator.mu guards it.
type journal struct {
	calls          newest[*Call]
	counts         map[string]int // calls, by operation
	exchanges      newest[*Exchange]
	secrets        map[string]bool
	secretsByAge   newest[string]
	refusedLogins  int
	badRequests    int
	maxSessions    int
	inFlight       int
	maxInFlight    int
	landing        int
	changed        chan struct{} // closed and replaced at every change
	sessionsOpened int
}

func newJournal(keep int) journal {
	return journal{
		calls:        newest[*Call]{keep: keep},
		counts:       map[string]int{},
		exchanges:    newest[*Exchange]{keep: keep},
		secrets:      map[string]bool{},
		secretsByAge: newest[string]{keep: keptSecrets},
		changed:      make(chan struct{}),
	}
}

func (j *journal) secret(values ...string) {
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

// Calls are the newest Options.KeepCalls calls, oldest first.
func (s *Simulator) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.seen.calls.all()
	all := make([]Call, len(kept))
	for i, c := range kept {
		all[i] = *c
	}
	return all
}

// Count is how many calls of an operation have come in; "" counts all.
func (s *Simulator) Count(op string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.count(op)
}

// Await waits until n calls of an operation have come in, answered or not.
func (s *Simulator) Await(ctx context.Context, op string, n int) error {
	return s.AwaitState(ctx, func(State) bool { return s.seen.count(op) >= n })
}

// AwaitState waits until the state is as wanted. The condition is asked again
// whenever a call begins, lands late or ends, and must not call the Simulator.
func (s *Simulator) AwaitState(ctx context.Context, wanted func(State) bool) error {
	for {
		s.mu.Lock()
		met, changed := wanted(s.state()), s.seen.changed
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

// State is the counters of a Simulator; it holds no secret.
type State struct {
	// Calls counts by operation.
	Calls map[string]int `json:"calls"`
	// RefusedLogins counts logins of SOAP and REST that were refused.
	RefusedLogins int `json:"refused_logins"`
	// BadRequests counts SOAP requests that the WSDL refuses.
	BadRequests int `json:"bad_requests"`
	// OpenSessions is SOAP sessions open now; OpenByUser the same by UserID.
	OpenSessions int           `json:"open_sessions"`
	OpenByUser   map[int32]int `json:"open_by_user"`
	// MaxOpenSessions is the most that were ever open at once.
	MaxOpenSessions int `json:"max_open_sessions"`
	// SessionsOpened is how many were ever opened.
	SessionsOpened int `json:"sessions_opened"`
	// InFlight is calls under way, MaxInFlight the most at once.
	InFlight    int `json:"in_flight"`
	MaxInFlight int `json:"max_in_flight"`
	// Landing is changes that were taken and have not landed (Fault.ApplyLate).
	Landing int `json:"landing"`
}

// State tells the counters as they are now.
func (s *Simulator) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state()
}

func (s *Simulator) state() State {
	s.expire()
	st := State{
		Calls: maps.Clone(s.seen.counts), OpenByUser: map[int32]int{},
		RefusedLogins: s.seen.refusedLogins, BadRequests: s.seen.badRequests,
		OpenSessions: len(s.sessions), MaxOpenSessions: s.seen.maxSessions, SessionsOpened: s.seen.sessionsOpened,
		InFlight: s.seen.inFlight, MaxInFlight: s.seen.maxInFlight, Landing: s.seen.landing,
	}
	for _, n := range s.sessions {
		st.OpenByUser[n.user.UserID]++
	}
	return st
}

// OpenSessions is how many SOAP sessions are open, of all users.
func (s *Simulator) OpenSessions() int { return s.State().OpenSessions }

// Secrets are all passwords, keys, SessionIDs and tokens there are, and of those
// there ever were the newest 100,000, and each again as XML and JSON escape it, for
// tests that search logs for them.
func (s *Simulator) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]bool{}
	add := func(secret string) { all[secret], all[xmlEscaped(secret)], all[jsonEscaped(secret)] = true, true, true }
	for secret := range s.seen.secrets {
		add(secret)
	}
	for _, a := range s.users {
		add(a.Password)
		add(a.APIKey)
	}
	for _, open := range []map[string]*session{s.sessions, s.tokens} {
		for id := range open {
			add(id)
		}
	}
	delete(all, "") // the key of a user that has none
	return slices.Sorted(maps.Keys(all))
}

func xmlEscaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer takes everything
	return b.String()
}

func jsonEscaped(text string) string {
	b, _ := json.Marshal(text) // a string always marshals
	return strings.Trim(string(b), `"`)
}

// Exchanges are the newest Options.KeepCalls requests and answers, raw, where
// Options.Record is set, oldest first. What a client has received of an answer is in it.
func (s *Simulator) Exchanges() []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.seen.exchanges.all()
	all := make([]Exchange, len(kept))
	for i, x := range kept {
		all[i] = *x // what is appended to Response later lies beyond this copy's length
	}
	return all
}

const recordedMax = 1 << 20

func (s *Simulator) serveRecorded(w http.ResponseWriter, r *http.Request) {
	// What cannot be read here cannot be read by the handler either.
	request, _ := io.ReadAll(io.LimitReader(r.Body, recordedMax))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(request), r.Body), r.Body}
	x := &Exchange{Method: r.Method, URL: r.URL.String(), RequestHeader: r.Header.Clone(), Request: request}
	s.mu.Lock()
	s.seen.exchanges.add(x)
	s.mu.Unlock()
	s.mux.ServeHTTP(&recorder{w, s, x}, r)
}

// recorder copies an answer before it is sent.
type recorder struct {
	http.ResponseWriter
	sim *Simulator // its mutex guards x
	x   *Exchange
}

// Unwrap lets http.ResponseController reach the connection.
func (c *recorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *recorder) named(op string) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.x.Op = op
}

func (c *recorder) WriteHeader(status int) {
	c.note(status, nil)
	c.ResponseWriter.WriteHeader(status)
}

func (c *recorder) Write(p []byte) (int, error) {
	c.note(http.StatusOK, p)
	return c.ResponseWriter.Write(p)
}

func (c *recorder) note(status int, p []byte) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if c.x.Status == 0 {
		c.x.Status, c.x.ResponseHeader = status, c.Header().Clone()
	}
	if room := recordedMax - len(c.x.Response); room > 0 {
		c.x.Response = append(c.x.Response, p[:min(room, len(p))]...)
	}
}
