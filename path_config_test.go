// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"maps"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/simulator"
)

func TestConfigRoundTrip(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(fields{
		"ttl":                  "1h",
		"max_ttl":              7200,
		"request_timeout":      "5s",
		"max_concurrent_calls": "8",
		"session_idle_timeout": "0",
		"key_cache_ttl":        "10",
		"tls_server_name":      "os.example",
	})
	logins := m.sim.Count("Login")
	want := fields{
		"transport":                  transport(),
		"url":                        m.sim.URL(transport()),
		"username":                   simulator.AdminLogin,
		"auth_method":                "password",
		"ttl":                        float64(3600),
		"max_ttl":                    float64(7200),
		"request_timeout":            float64(5),
		"max_concurrent_calls":       float64(8),
		"session_idle_timeout":       float64(0),
		"key_cache_ttl":              float64(10),
		"ca_cert":                    "",
		"tls_server_name":            "os.example",
		"password_policy":            "",
		"rotation_period":            float64(0),
		"rotation_schedule":          "",
		"rotation_window":            float64(0),
		"disable_automated_rotation": false,
		"last_root_rotation":         nil,
		"next_root_rotation":         nil,
		"last_root_rotation_error":   "",
		"last_login_error":           "",
	}
	if resp := m.expect("config", want); len(resp.Data) != len(want) {
		t.Errorf("%d fields, want %d", len(resp.Data), len(want))
	}
	if m.sim.Count("Login") != logins {
		t.Error("reading the config called ECGrid")
	}
}

// Create, update and patch treat the same data in the same way: nulls and empty values
// clear a field, and omitted fields keep their values.
func TestConfigWriteIsAPatch(t *testing.T) {
	t.Parallel()
	for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(fields{"ttl": "1h", "max_ttl": "2h", "request_timeout": "5s", "password_policy": "x", "max_concurrent_calls": 1})
			m.must(op, "config", fields{"max_ttl": "3h"})
			m.expect("config", fields{"ttl": 3600.0, "max_ttl": 10800.0, "password_policy": "x"})
			m.must(op, "config", fields{"ttl": nil, "max_ttl": "", "request_timeout": nil, "password_policy": nil, "max_concurrent_calls": nil})
			m.expect("config", fields{"ttl": 0.0, "max_ttl": 0.0, "password_policy": "", "request_timeout": 15.0, "max_concurrent_calls": 64.0})
			m.must(logical.ReadOperation, "keys/5001", nil)
		})
	}
}

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.refused(http.StatusBadRequest, logical.PatchOperation, "config", fields{"ttl": "1h"})
	m.configure(fields{"ttl": "1h", "max_ttl": "2h"})
	before := m.must(logical.ReadOperation, "config", nil).Data
	password := m.user(simulator.AdminUserID).Password
	other, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })

	for name, data := range map[string]fields{
		"unknown field":            {"passwrod": "x"},
		"ttl above max_ttl":        {"ttl": "3h"},
		"malformed ttl":            {"ttl": "soon"},
		"negative ttl":             {"ttl": "-1s"},
		"negative number":          {"ttl": -1},
		"half a second":            {"ttl": "500ms"},
		"one and a half":           {"ttl": 1.5},
		"ttl that overflows":       {"ttl": "99999999999999999999h"},
		"request_timeout too long": {"request_timeout": "21s"},
		"no concurrent calls":      {"max_concurrent_calls": 0},
		"too many of them":         {"max_concurrent_calls": 257},
		"half a call":              {"max_concurrent_calls": 1.5},
		"a word for a number":      {"max_concurrent_calls": "many"},
		"empty password":           {"password": ""},
		"empty api_key":            {"api_key": ""},
		"null password":            {"password": nil},
		"wrong password":           {"password": "wrong"},
		"wrong, verify left empty": {"password": "wrong", "verify_connection": ""},
		"both kinds":               {"username": "x", "password": "y", "api_key": "z"},
		"password as a number":     {"password": 12345678901234567},
		"password as a list":       {"password": []any{password}},
		"password as an object":    {"password": fields{"a": password}},
		"url as a list":            {"url": []any{password}},
		"verify as an object":      {"verify_connection": fields{"a": password}},
		"plain http":               {"url": "http://os.ecgrid.io/x"},
		"other server":             {"url": other.URL(transport())},
		"other server, username":   {"url": other.URL(transport()), "username": simulator.AdminLogin},
		"ca_cert":                  {"ca_cert": "x"},
	} {
		t.Run(name, func(*testing.T) {
			m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", data)
			m.expect("config", before)
		})
	}
	if n := len(other.Calls()); n != 0 {
		t.Errorf("%d calls to a server without the password in the same request", n)
	}
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// The server, CA and server name change only together with the credential, except
// between the vendor's own endpoints: only Vault may know the password.
func TestConfigTrustGoesWithTheCredential(t *testing.T) {
	t.Parallel()
	secure, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = secure.Close() })
	ca := string(secure.CACert)
	const rest = "https://rest.ecgrid.io/v2"
	for name, tt := range map[string]struct {
		before, write fields
		status        int
	}{
		"a CA":                   {nil, fields{"ca_cert": ca}, http.StatusBadRequest},
		"a name":                 {nil, fields{"tls_server_name": "other.example"}, http.StatusBadRequest},
		"a CA, a username":       {nil, fields{"ca_cert": ca, "username": simulator.AdminLogin}, http.StatusBadRequest},
		"no CA":                  {fields{"ca_cert": ca}, fields{"ca_cert": nil}, http.StatusBadRequest},
		"no name":                {fields{"tls_server_name": "other.example"}, fields{"tls_server_name": ""}, http.StatusBadRequest},
		"the same CA":            {fields{"ca_cert": ca}, fields{"ca_cert": ca + "\n"}, http.StatusOK},
		"with the password":      {nil, fields{"ca_cert": ca, "tls_server_name": "other.example", "password": "any"}, http.StatusOK},
		"the vendor's, a CA":     {fields{"url": backend.DefaultURL}, fields{"ca_cert": ca}, http.StatusBadRequest},
		"the vendor's, a name":   {fields{"url": backend.DefaultURL}, fields{"tls_server_name": "other.example"}, http.StatusBadRequest},
		"the vendor's, no CA":    {fields{"url": backend.DefaultURL, "ca_cert": ca}, fields{"ca_cert": nil}, http.StatusOK},
		"the vendor's, no name":  {fields{"url": backend.DefaultURL, "tls_server_name": "other.example"}, fields{"tls_server_name": nil}, http.StatusOK},
		"to the vendor's other":  {fields{"url": backend.DefaultURL}, fields{"url": rest}, http.StatusOK},
		"to it, keeping a CA":    {fields{"url": backend.DefaultURL, "ca_cert": ca}, fields{"url": rest}, http.StatusBadRequest},
		"to it, clearing the CA": {fields{"url": backend.DefaultURL, "ca_cert": ca}, fields{"url": rest, "ca_cert": nil}, http.StatusOK},
		"to another server":      {fields{"url": backend.DefaultURL}, fields{"url": secure.URL(transport())}, http.StatusBadRequest},
	} {
		for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
			t.Run(string(op)+" "+name, func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				offline := fields{"verify_connection": false}
				maps.Copy(offline, tt.before)
				m.configure(offline)
				write := maps.Clone(tt.write)
				write["verify_connection"] = false
				if resp, err := m.do(op, "config", write); statusOf(resp, err) != tt.status {
					t.Errorf("%d %v, want %d", statusOf(resp, err), err, tt.status)
				}
				delete(write, "verify_connection")
				if tt.status == http.StatusBadRequest { // it is not tried either
					m.refused(tt.status, op, "config", write)
				}
				if n := m.sim.Count("") + secure.Count(""); n != 0 {
					t.Errorf("%d calls", n)
				}
			})
		}
	}
}

func TestConfigWithAPIKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.must(logical.CreateOperation, "config", m.apiKeyLogin())
	m.expect("config", fields{"auth_method": "api_key", "username": ""})
	m.must(logical.ReadOperation, "keys/5001", nil)
	if m.sim.Count("Login")+m.sim.Count("Logout") != 0 {
		t.Error("an API key needs no session")
	}
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", fields{"api_key": "none"})
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.expect("config", fields{"auth_method": "password"})
	m.must(logical.ReadOperation, "keys/5001", nil)
}

func TestConfigDelete(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	if resp := m.must(logical.ReadOperation, "config", nil); resp != nil {
		t.Error("there was a config before the first write")
	}
	m.configure(nil)
	lease := m.must(logical.ReadOperation, "keys/5001", nil).Secret
	m.must(logical.DeleteOperation, "config", nil)
	if n := m.sim.OpenSessions(); n != 0 {
		t.Errorf("%d sessions left open", n)
	}
	m.refused(http.StatusBadRequest, logical.ReadOperation, "keys/5001", nil)
	m.refused(http.StatusBadRequest, logical.ReadOperation, "status", nil)
	m.refused(http.StatusBadRequest, logical.ListOperation, "keys/", nil)
	m.revoke(lease)
	m.must(logical.DeleteOperation, "config", nil)
}

func TestConfigExistence(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	for _, want := range []bool{false, true} {
		_, exists, err := m.backend.HandleExistenceCheck(t.Context(), &logical.Request{
			Operation: logical.CreateOperation,
			Path:      "config",
			Data:      fields{"password": fields{"a": "b"}, "ttl": "soon"},
			Storage:   m.storage,
		})
		if err != nil || exists != want {
			t.Errorf("exists %v, %v; want %v", exists, err, want)
		}
		m.configure(nil)
	}
}

func TestConfigSurvivesStorageFailure(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", m.login(fields{"ttl": "1h"}))
	m.storage.FailPut(false)
	m.expect("config", fields{"ttl": 0.0})
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.storage.FailDelete(true)
	m.refused(http.StatusInternalServerError, logical.DeleteOperation, "config", nil)
	m.storage.FailDelete(false)
	m.must(logical.ReadOperation, "keys/5001", nil)
}
