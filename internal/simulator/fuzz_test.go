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

// Every body is answered with an envelope, and opens no token.
func FuzzRESTBody(f *testing.F) {
	for _, seed := range []string{
		`{"login":"sim-admin","password":"x"}`, `{"login":1}`, `{"password":"x","password":"x"}`, `{"password":"x"`, `[]`, `null`, "", "{\"\xff\":1}",
	} {
		f.Add(seed)
	}
	s, err := simulator.New(simulator.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := rest(t, s, "", "POST", "/auth/login", body)
		if a.status != http.StatusBadRequest && a.status != http.StatusUnauthorized && a.status != http.StatusUnsupportedMediaType {
			t.Errorf("HTTP %d", a.status)
		}
		if s.OpenSessions() != 0 {
			t.Error("a token was opened")
		}
	})
}
