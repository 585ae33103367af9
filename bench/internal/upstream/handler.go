// SPDX-License-Identifier: MPL-2.0

// Package upstream runs the ECGrid simulator in a process of its own, with a
// configurable latency.
//
// The simulator checks every request against the WSDL, which costs more CPU than the
// plugin. So this package answers UserGetAPIKey itself, byte for byte like the
// simulator, at almost no cost. The simulator answers everything else.
package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// Operations. Login and Generate are also counted if they arrive over REST.
const (
	Get      = "UserGetAPIKey" // what a read calls
	Login    = "Login"
	Generate = "GenerateAPIKey"
)

const (
	// FirstUser is the UserID of the first user whose key is read.
	FirstUser = 10_001
	adminID   = 1
	networkID = 100

	adminPath = "/bench/"
	// sessionCap is high, because every mount of a run has a session of the same login.
	sessionCap     = 10_000
	maxRequestBody = 64 << 10
)

// State is what the upstream has counted.
type State struct {
	Calls        map[string]int `json:"calls"` // by operation, with refused ones
	OpenSessions int            `json:"open_sessions"`
	MaxInFlight  int            `json:"max_in_flight"` // since the last State
}

// since returns the State with only the calls after an earlier State.
func (s State) since(earlier State) State {
	s.Calls = maps.Clone(s.Calls)
	for op, n := range earlier.Calls {
		s.Calls[op] -= n
	}
	return s
}

// Total returns the number of calls of all operations.
func (s State) Total() int {
	total := 0
	for _, n := range s.Calls {
		total += n
	}
	return total
}

type handler struct {
	sim     *simulator.Simulator
	admin   simulator.User
	latency atomic.Int64
	// sessions has the SessionIDs and API keys that serveKey accepts.
	sessions sync.Map
	// What the simulator answers to a UserGetAPIKey: header, and body around the key.
	keyHeader            http.Header
	keyPrefix, keySuffix []byte

	mu                    sync.Mutex // guards the following
	calls                 map[string]int
	inFlight, maxInFlight int
}

func newHandler(users int) (*handler, error) {
	all := []simulator.User{{UserID: adminID, LoginName: "bench-admin", NetworkID: networkID, AuthLevel: "NetworkAdmin"}}
	for id := FirstUser; id < FirstUser+users; id++ {
		all = append(all, simulator.User{UserID: int32(id), LoginName: "bench-" + strconv.Itoa(id), NetworkID: networkID, MailboxID: int32(id)})
	}
	sim, err := simulator.New(simulator.Options{Users: all, SessionCap: sessionCap, IdleTimeout: 24 * time.Hour})
	if err != nil {
		return nil, err
	}
	h := &handler{sim: sim, calls: map[string]int{}}
	h.admin, _ = sim.User(adminID)
	h.sessions.Store(h.admin.APIKey, true)
	answer := h.askSimulator(newRequest(Get, ReadBody(h.admin.APIKey, strconv.Itoa(adminID))))
	prefix, suffix, ok := bytes.Cut(answer.Body.Bytes(), []byte(h.admin.APIKey))
	if answer.Code != http.StatusOK || !ok {
		return nil, fmt.Errorf("the simulator answered %s with HTTP %d", Get, answer.Code)
	}
	h.keyHeader, h.keyPrefix, h.keySuffix = answer.Header(), bytes.Clone(prefix), bytes.Clone(suffix)
	return h, nil
}

// SOAPHeader returns the headers of a call.
func SOAPHeader(op string) map[string]string {
	return map[string]string{"Content-Type": "text/xml; charset=utf-8", "SOAPAction": `"` + simulator.Namespace + op + `"`}
}

// SOAPBody returns the body of a call with these parameter elements.
func SOAPBody(op, parameters string) string {
	return `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>` +
		`<` + op + ` xmlns="` + simulator.Namespace + `">` + parameters + `</` + op + `></soap:Body></soap:Envelope>`
}

// ReadBody returns the body of a UserGetAPIKey. The user is an ID or a placeholder.
func ReadBody(sessionID, user string) string {
	return SOAPBody(Get, `<SessionID>`+sessionID+`</SessionID><UserID>`+user+`</UserID>`)
}

func newRequest(op, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, simulator.SOAPPath, strings.NewReader(body))
	for name, value := range SOAPHeader(op) {
		r.Header.Set(name, value)
	}
	return r
}

func (h *handler) askSimulator(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.sim.ServeHTTP(w, r)
	return w
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if command, ok := strings.CutPrefix(r.URL.Path, adminPath); ok {
		h.serveAdmin(w, r, command)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	if err != nil {
		http.Error(w, "the request is too large or incomplete", http.StatusBadRequest)
		return
	}
	op := operation(r)
	h.beginCall(op)
	defer h.endCall()
	time.Sleep(time.Duration(h.latency.Load()))
	if op == Get && h.serveKey(w, body) {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	switch {
	case r.URL.Path == simulator.SOAPPath && op == Login:
		h.serveLogin(w, r)
		return
	case r.URL.Path == simulator.SOAPPath && op == "Logout":
		h.sessions.Delete(element(body, "SessionID"))
	}
	h.sim.ServeHTTP(w, r)
}

// operation returns the name of a call.
func operation(r *http.Request) string {
	path, isREST := strings.CutPrefix(r.URL.Path, simulator.RESTPath)
	switch {
	case isREST && path == "/auth/login":
		return Login
	case isREST && strings.HasPrefix(path, "/users/key-generate/"):
		return Generate
	case isREST:
		return "REST " + r.Method + " " + strings.TrimRight(path, "0123456789")
	}
	return strings.TrimPrefix(strings.Trim(r.Header.Get("SOAPAction"), `"`), simulator.Namespace)
}

func (h *handler) beginCall(op string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls[op]++
	h.inFlight++
	h.maxInFlight = max(h.maxInFlight, h.inFlight)
}

func (h *handler) endCall() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight--
}

// serveKey answers a UserGetAPIKey if the session is open and the user has a key. If
// not, it writes nothing and returns false.
func (h *handler) serveKey(w http.ResponseWriter, body []byte) bool {
	if _, open := h.sessions.Load(element(body, "SessionID")); !open {
		return false
	}
	id, err := strconv.ParseInt(element(body, "UserID"), 10, 32)
	if err != nil {
		return false
	}
	user, ok := h.sim.User(int32(id))
	if !ok || user.NetworkID != networkID || user.APIKey == "" {
		return false
	}
	maps.Copy(w.Header(), h.keyHeader)
	answer := make([]byte, 0, len(h.keyPrefix)+len(user.APIKey)+len(h.keySuffix))
	answer = append(append(append(answer, h.keyPrefix...), user.APIKey...), h.keySuffix...)
	_, _ = w.Write(answer) // fails only if the client is gone
	return true
}

// element returns the text of the first element with this name, or "".
func element(body []byte, name string) string {
	_, rest, ok := bytes.Cut(body, []byte("<"+name+">"))
	text, _, closed := bytes.Cut(rest, []byte("</"+name+">"))
	if !ok || !closed {
		return ""
	}
	return string(text)
}

// serveLogin lets the simulator answer, and records the new session.
func (h *handler) serveLogin(w http.ResponseWriter, r *http.Request) {
	answer := h.askSimulator(r)
	if id := element(answer.Body.Bytes(), "LoginResult"); id != "" {
		h.sessions.Store(id, true)
	}
	maps.Copy(w.Header(), answer.Header())
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes())
}

// serveAdmin serves the methods of Upstream.
func (h *handler) serveAdmin(w http.ResponseWriter, r *http.Request, command string) {
	switch command {
	case "state":
		_ = json.NewEncoder(w).Encode(h.state())
	case "latency":
		d, err := time.ParseDuration(r.URL.Query().Get("is"))
		if err != nil || d < 0 {
			http.Error(w, "not a latency", http.StatusBadRequest)
			return
		}
		h.latency.Store(int64(d))
	case "kill":
		h.sessions.Clear()
		h.sessions.Store(h.admin.APIKey, true)
		h.sim.KillSessions(0)
	default:
		http.NotFound(w, r)
	}
}

func (h *handler) state() State {
	open := h.sim.State().OpenSessions
	h.mu.Lock()
	defer h.mu.Unlock()
	s := State{Calls: maps.Clone(h.calls), OpenSessions: open, MaxInFlight: h.maxInFlight}
	h.maxInFlight = h.inFlight
	return s
}
