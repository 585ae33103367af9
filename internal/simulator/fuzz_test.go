// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/wsdltest"
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

// FuzzTypes sends any value as an s:int, as a string and between elements. The simulator accepts exactly what
// its WSDL allows.
func FuzzTypes(f *testing.F) {
	for _, value := range []string{"5001", " 5001 ", "+5001", "05001", "\u00a05001", "\u00855001", "5_001", "2147483648", "", "x", "<N/>", "<![CDATA[5001]]>", "50<!-- -->01", "&#53;001", "0x1389", "0<!0>"} {
		f.Add(value, "UserID")
		f.Add(value, "SessionID")
		f.Add(value, "")
	}
	s, err := simulator.New(simulator.Options{})
	if err != nil {
		f.Fatal(err)
	}
	schema, err := wsdltest.Parse(strings.NewReader(send(s, httptest.NewRequest(http.MethodGet, simulator.SOAPPath+"?WSDL", nil)).body))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value, field string) {
		session, user := "x", value
		between := ""
		switch field {
		case "SessionID":
			session, user = value, "5001"
		case "":
			between, user = value, "5001"
		}
		message := v11.wrap(`<UserGetAPIKey xmlns="` + simulator.Namespace + `"><SessionID>` + session + "</SessionID>" + between + "<UserID>" + user + "</UserID></UserGetAPIKey>")
		valid := schema.ValidateEnvelope([]byte(message), "UserGetAPIKey")
		a := send(s, v11.request("UserGetAPIKey", message))
		if read := !strings.Contains(a.body, "unable to read request"); read != (valid == nil) {
			t.Errorf("%s %q: read is %t, and the WSDL says: %v", field, value, read, valid)
		}
	})
}
