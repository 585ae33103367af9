// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"net/http"
	"sync"
	"time"
)

// Rules for the order of REST requests. A client shares a credential among its requests, so
// what it sent before it read an answer breaks no rule.
const (
	ruleRepeated  = "REST: a call that was denied is sent again at once"
	ruleEarly     = "REST: a call is sent again before Retry-After"
	ruleLoggedOut = "REST: a token is used after its logout"
)

const (
	// retryWindow is how soon a client that retries would repeat a denied call. Later it
	// may be another request for the same.
	retryWindow = 900 * time.Millisecond
	// inFlight is how long a request may be under way that was sent before an answer was
	// read.
	inFlight = 250 * time.Millisecond
	// clockSlack is what timers and clocks may be wrong by.
	clockSlack = 20 * time.Millisecond
)

// waiting is a Retry-After.
type waiting struct {
	call  string
	until time.Time
}

// denied is a call whose denial was the last answer.
type denied struct {
	call string
	at   time.Time
}

// traffic remembers what was answered. It counts only answers that were written whole.
type traffic struct {
	unordered bool // no rule is checked

	mu      sync.Mutex
	denials map[string]denied    // by credential or login
	waits   map[string]waiting   // by credential or login
	ended   map[string]time.Time // logouts by token
}

func newTraffic() *traffic {
	return &traffic{denials: map[string]denied{}, waits: map[string]waiting{}, ended: map[string]time.Time{}}
}

// check compares a request with the answers before it.
func (t *traffic) check(q *request, report func(rule string)) {
	if t.unordered {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if last := t.denials[q.rest.who]; last.call == q.rest.call && now.Sub(last.at) < retryWindow {
		report(ruleRepeated)
	}
	delete(t.denials, q.rest.who) // after another call, the same one may have another answer
	if wait := t.waits[q.rest.who]; wait.call == q.rest.call && now.Before(wait.until.Add(-clockSlack)) {
		report(ruleEarly)
	}
	// A new process asks for the state of old tokens, and ends them again.
	at, ended := t.ended[q.rest.who]
	if ended && now.Sub(at) > inFlight && q.op != "Logout" && q.op != "WhoAmI" {
		report(ruleLoggedOut)
	}
}

// deny ignores a dead token: it may die under several requests at once, and a client has
// to ask about it.
func (t *traffic) deny(q *request, status int) {
	if status == http.StatusUnauthorized && q.rest.bearer {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.denials[q.rest.who] = denied{q.rest.call, time.Now()}
}

func (t *traffic) postponed(q *request, until time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits[q.rest.who] = waiting{call: q.rest.call, until: until}
}

func (t *traffic) loggedOut(q *request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended[q.rest.credential] = time.Now()
}
