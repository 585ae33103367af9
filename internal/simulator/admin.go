package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// routeAdmin adds the endpoints by which another process controls the simulator:
//
//	GET    /simulator/state        the counters (State)
//	POST   /simulator/fault        inject a Fault, in its JSON form
//	DELETE /simulator/fault        clear all faults
//	POST   /simulator/rotate/{id}  replace a user's API key
//	POST   /simulator/kill/{id}    end a user's sessions and tokens; 0 is all users
//	POST   /simulator/fill/{id}    fill a user's session table
//
// They need no credential and return none.
func (s *Simulator) routeAdmin() {
	s.mux.HandleFunc("GET "+AdminPath+"/state", func(w http.ResponseWriter, _ *http.Request) { sendJSON(w, s.State()) })
	s.mux.HandleFunc("POST "+AdminPath+"/fault", s.adminInject)
	s.mux.HandleFunc("DELETE "+AdminPath+"/fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		sendJSON(w, struct{}{})
	})
	s.routeAdminUser("rotate", func(id int32) any { return map[string]bool{"replaced": s.ReplaceKey(id) != ""} })
	s.routeAdminUser("kill", func(id int32) any { return map[string]int{"killed": s.KillSessions(id)} })
	s.routeAdminUser("fill", func(id int32) any { return map[string]int{"opened": s.FillSessions(id)} })
}

func (s *Simulator) routeAdminUser(name string, run func(userID int32) any) {
	s.mux.HandleFunc("POST "+AdminPath+"/"+name+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
		if err != nil {
			http.Error(w, "the id is not a UserID: it must be a whole number", http.StatusBadRequest)
			return
		}
		sendJSON(w, run(int32(id)))
	})
}

func (s *Simulator) adminInject(w http.ResponseWriter, r *http.Request) {
	var f Fault
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, MaxBody))
	d.DisallowUnknownFields()
	err := d.Decode(&f)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.Inject(f)
	sendJSON(w, struct{}{})
}

func sendJSON(w http.ResponseWriter, v any) { jsonReply(http.StatusOK, v).send(w) }
