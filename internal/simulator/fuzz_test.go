package simulator_test

import (
	"net/http"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// Every request is answered with a result or a fault. Without a session it changes nothing.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		v11.wrap(element("Version")),
		v11.wrap(element("Login", "LoginName", "sim-admin", "Password", "x")),
		v11.wrap(element("GenerateAPIKey", "SessionID", "", "UserID", "5001")),
		v12.wrap(element("Logout", "SessionID", "x")),
		"", "<a/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "\xff\xfe<",
	} {
		f.Add(seed)
	}
	s, err := simulator.New(simulator.Options{})
	if err != nil {
		f.Fatal(err)
	}
	before, _ := s.User(simulator.UserID5001)
	f.Fuzz(func(t *testing.T, message string) {
		a := send(s, v12.request("", message))
		if a.status != http.StatusOK && a.status != http.StatusInternalServerError {
			t.Errorf("HTTP %d", a.status)
		}
		if now, _ := s.User(simulator.UserID5001); now != before || s.OpenSessions() != 0 {
			t.Error("something changed")
		}
	})
}
