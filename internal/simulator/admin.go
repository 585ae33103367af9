package simulator

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// routeAdmin adds the endpoints another process steers the simulator by:
//
//	GET    /simulator/state        the counters (State)
//	POST   /simulator/fault        inject a Fault, in its JSON form
//	DELETE /simulator/fault        clear all faults
//	POST   /simulator/rotate/{id}  replace a user's API key
//	POST   /simulator/kill/{id}    end a user's sessions; 0 is everybody's
//	POST   /simulator/fill/{id}    fill a user's session table
//
// They ask for no credential and answer none.
func (s *Simulator) routeAdmin() {
	s.mux.HandleFunc("GET "+AdminPath+"/state", func(w http.ResponseWriter, _ *http.Request) { admin(w, s.State()) })
	s.mux.HandleFunc("POST "+AdminPath+"/fault", s.adminFault)
	s.mux.HandleFunc("DELETE "+AdminPath+"/fault", func(w http.ResponseWriter, _ *http.Request) {
		s.ClearFaults()
		admin(w, struct{}{})
	})
	s.routeAdminUser("rotate", func(id int32) any { return map[string]bool{"replaced": s.ReplaceKey(id) != ""} })
	s.routeAdminUser("kill", func(id int32) any { return map[string]int{"killed": s.KillSessions(id)} })
	s.routeAdminUser("fill", func(id int32) any { return map[string]int{"opened": s.FillSessions(id)} })
}

func (s *Simulator) routeAdminUser(name string, run func(userID int32) any) {
	s.mux.HandleFunc("POST "+AdminPath+"/"+name+"/{id}", func(w http.ResponseWriter, r *http.Request) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 32)
		if err != nil {
			http.Error(w, "the id is not a UserID", http.StatusBadRequest)
			return
		}
		admin(w, run(int32(id)))
	})
}

func (s *Simulator) adminFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, s.opts.MaxBody))
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
	admin(w, struct{}{})
}

func admin(w http.ResponseWriter, v any) { jsonReply(http.StatusOK, v).send(w) }
