// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
)

// Bounds of the faults that another process injects.
const (
	maxFaults    = 100
	maxFaultBody = 64 << 10
)

// adminRoute is an endpoint by which another process controls the simulator. It needs no
// credential and returns none.
type adminRoute struct {
	method, path string // the path is below AdminPath
	help         string
	serve        func(*Simulator, http.ResponseWriter, *http.Request)
}

func (r adminRoute) pattern() string { return r.method + " " + AdminPath + r.path }

var adminRoutes = []adminRoute{
	{"GET", "/state", "the counters, as JSON", (*Simulator).adminState},
	{"POST", "/fault", "inject a fault; the body is as for --fault", (*Simulator).adminInject},
	{"DELETE", "/fault", "clear all faults", (*Simulator).adminClear},
	{"POST", "/rotate/{id}", "replace a user's API key", forUser(func(s *Simulator, id int32) any { return map[string]bool{"replaced": s.ReplaceKey(id) != ""} })},
	{"POST", "/password/{id}", "set a user's password, which is the body", (*Simulator).adminPassword},
	{"POST", "/kill/{id}", "end a user's sessions and tokens; 0 is all users", forUser(func(s *Simulator, id int32) any { return map[string]int{"killed": s.KillSessions(id)} })},
	{"POST", "/fill/{id}", "open sessions of a user until the next login is refused", forUser(func(s *Simulator, id int32) any { return map[string]int{"opened": s.FillSessions(id)} })},
}

func (s *Simulator) routeAdmin() {
	for _, route := range adminRoutes {
		s.mux.HandleFunc(route.pattern(), func(w http.ResponseWriter, r *http.Request) { route.serve(s, w, r) })
	}
}

// forUser reads the UserID in the path.
func forUser(run func(s *Simulator, userID int32) any) func(*Simulator, http.ResponseWriter, *http.Request) {
	return func(s *Simulator, w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
		if err != nil {
			http.Error(w, "the id is not a UserID: it must be a whole number", http.StatusBadRequest)
			return
		}
		sendJSON(w, run(s, int32(id)))
	}
}

func (s *Simulator) adminState(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.State()) }

func (s *Simulator) adminClear(w http.ResponseWriter, _ *http.Request) {
	s.ClearFaults()
	sendJSON(w, struct{}{})
}

func (s *Simulator) adminInject(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultBody))
	var f Fault
	if err == nil {
		f, err = ParseFault(string(text))
	}
	if err == nil && s.Kept().Faults >= maxFaults {
		err = fmt.Errorf("%d faults are active: clear them with DELETE %s/fault", maxFaults, AdminPath)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.Inject(f)
	sendJSON(w, struct{}{})
}

func (s *Simulator) adminPassword(w http.ResponseWriter, r *http.Request) {
	password, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxFaultBody))
	if err != nil || len(password) == 0 {
		http.Error(w, "the body is not a password: it must not be empty", http.StatusBadRequest)
		return
	}
	forUser(func(s *Simulator, id int32) any {
		return map[string]bool{"set": s.SetPassword(id, string(password))}
	})(s, w, r)
}

func sendJSON(w http.ResponseWriter, v any) { jsonReply(http.StatusOK, v).send(w) }
