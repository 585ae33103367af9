package ecgrid

import (
	"maps"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/simulator"
)

func TestConfigRoundTrip(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(map[string]any{
		fieldTTL:                "1h",
		fieldMaxTTL:             7200,
		fieldRequestTimeout:     "5s",
		fieldSessionIdleTimeout: "0",
		fieldKeyCacheTTL:        "10",
		fieldTLSServerName:      "os.example",
	})
	resp := m.must(logical.ReadOperation, "config", nil)
	m.validated(logical.ReadOperation, "config", resp)
	want := map[string]any{
		fieldURL:                m.sim.SOAP,
		fieldUsername:           simulator.AdminLogin,
		fieldAuthMethod:         "password",
		fieldTTL:                float64(3600),
		fieldMaxTTL:             float64(7200),
		fieldRequestTimeout:     float64(5),
		fieldSessionIdleTimeout: float64(0),
		fieldKeyCacheTTL:        float64(10),
		fieldCACert:             "",
		fieldTLSServerName:      "os.example",
		fieldPasswordPolicy:     "",
		fieldRotationPeriod:     float64(0),
		fieldRotationSchedule:   "",
		fieldRotationWindow:     float64(0),
		fieldDisableRotation:    false,
		fieldLastRootRotation:   nil,
		fieldNextRootRotation:   nil,
		fieldLastRootError:      "",
	}
	for name, value := range want {
		if resp.Data[name] != value {
			t.Errorf("%s: got %v, want %v", name, resp.Data[name], value)
		}
	}
	if len(resp.Data) != len(want) {
		t.Errorf("%d fields, want %d", len(resp.Data), len(want))
	}
	logins := m.sim.Count("Login")
	m.must(logical.ReadOperation, "config", nil)
	if m.sim.Count("Login") != logins {
		t.Error("reading the config called ECGrid")
	}
}

// The same body through create, update and patch: what is sent counts, nulls and
// empty values clear, the rest stays.
func TestConfigWriteIsAPatch(t *testing.T) {
	t.Parallel()
	for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h", fieldRequestTimeout: "5s", fieldPasswordPolicy: "x"})
			m.must(op, "config", map[string]any{fieldMaxTTL: "3h"})
			m.expect(map[string]any{fieldTTL: 3600.0, fieldMaxTTL: 10800.0, fieldPasswordPolicy: "x"})
			m.must(op, "config", map[string]any{fieldTTL: nil, fieldMaxTTL: "", fieldRequestTimeout: nil, fieldPasswordPolicy: nil})
			m.expect(map[string]any{fieldTTL: 0.0, fieldMaxTTL: 0.0, fieldPasswordPolicy: "", fieldRequestTimeout: 15.0})
			m.must(logical.ReadOperation, "keys/5001", nil)
		})
	}
}

func (m *testMount) expect(want map[string]any) {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, "config", nil)
	for name, value := range want {
		if resp.Data[name] != value {
			m.t.Errorf("%s: got %v, want %v", name, resp.Data[name], value)
		}
	}
}

func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.refused(http.StatusBadRequest, logical.PatchOperation, "config", map[string]any{fieldTTL: "1h"})
	m.configure(map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h"})
	before := m.must(logical.ReadOperation, "config", nil)
	password := m.user(simulator.AdminUserID).Password
	other, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })

	for name, data := range map[string]map[string]any{
		"unknown field":            {"passwrod": "x"},
		"ttl above max_ttl":        {fieldTTL: "3h"},
		"ttl that is none":         {fieldTTL: "soon"},
		"negative ttl":             {fieldTTL: "-1s"},
		"negative number":          {fieldTTL: -1},
		"half a second":            {fieldTTL: "500ms"},
		"one and a half":           {fieldTTL: 1.5},
		"ttl that overflows":       {fieldTTL: "99999999999999999999h"},
		"request_timeout too long": {fieldRequestTimeout: "21s"},
		"empty password":           {fieldPassword: ""},
		"empty api_key":            {fieldAPIKey: ""},
		"null password":            {fieldPassword: nil},
		"wrong password":           {fieldPassword: "wrong"},
		"wrong, verify left empty": {fieldPassword: "wrong", fieldVerifyConnection: ""},
		"both kinds":               {fieldUsername: "x", fieldPassword: "y", fieldAPIKey: "z"},
		"password as a number":     {fieldPassword: 12345678901234567},
		"password as a list":       {fieldPassword: []any{password}},
		"password as an object":    {fieldPassword: map[string]any{"a": password}},
		"url as a list":            {fieldURL: []any{password}},
		"verify as an object":      {fieldVerifyConnection: map[string]any{"a": password}},
		"plain http":               {fieldURL: "http://os.ecgrid.io/x"},
		"other server":             {fieldURL: other.SOAP},
		"other server, username":   {fieldURL: other.SOAP, fieldUsername: simulator.AdminLogin},
		"ca_cert":                  {fieldCACert: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", data)
			after := m.must(logical.ReadOperation, "config", nil)
			for field, value := range before.Data {
				if after.Data[field] != value {
					t.Errorf("%s changed", field)
				}
			}
		})
	}
	if n := len(other.Calls()); n != 0 {
		t.Errorf("%d calls to a server the password was not given for", n)
	}
	m.must(logical.ReadOperation, "keys/5001", nil)
	if m.holdsSecret(m.log.String()) {
		t.Error("the log holds a secret")
	}
}

// Under whose trust the credential is sent changes only together with it; but a login
// whose password only Vault knows may move between the vendor's own endpoints.
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
		before, write map[string]any
		status        int
	}{
		"a CA":                   {nil, map[string]any{fieldCACert: ca}, http.StatusBadRequest},
		"a name":                 {nil, map[string]any{fieldTLSServerName: "other.example"}, http.StatusBadRequest},
		"a CA, a username":       {nil, map[string]any{fieldCACert: ca, fieldUsername: simulator.AdminLogin}, http.StatusBadRequest},
		"no CA":                  {map[string]any{fieldCACert: ca}, map[string]any{fieldCACert: nil}, http.StatusBadRequest},
		"no name":                {map[string]any{fieldTLSServerName: "other.example"}, map[string]any{fieldTLSServerName: ""}, http.StatusBadRequest},
		"the same CA":            {map[string]any{fieldCACert: ca}, map[string]any{fieldCACert: ca + "\n"}, http.StatusOK},
		"with the password":      {nil, map[string]any{fieldCACert: ca, fieldTLSServerName: "other.example", fieldPassword: "any"}, http.StatusOK},
		"the vendor's, a CA":     {map[string]any{fieldURL: backend.DefaultURL}, map[string]any{fieldCACert: ca}, http.StatusBadRequest},
		"the vendor's, a name":   {map[string]any{fieldURL: backend.DefaultURL}, map[string]any{fieldTLSServerName: "other.example"}, http.StatusBadRequest},
		"the vendor's, no CA":    {map[string]any{fieldURL: backend.DefaultURL, fieldCACert: ca}, map[string]any{fieldCACert: nil}, http.StatusOK},
		"the vendor's, no name":  {map[string]any{fieldURL: backend.DefaultURL, fieldTLSServerName: "other.example"}, map[string]any{fieldTLSServerName: nil}, http.StatusOK},
		"to the vendor's other":  {map[string]any{fieldURL: backend.DefaultURL}, map[string]any{fieldURL: rest}, http.StatusOK},
		"to it, keeping a CA":    {map[string]any{fieldURL: backend.DefaultURL, fieldCACert: ca}, map[string]any{fieldURL: rest}, http.StatusBadRequest},
		"to it, clearing the CA": {map[string]any{fieldURL: backend.DefaultURL, fieldCACert: ca}, map[string]any{fieldURL: rest, fieldCACert: nil}, http.StatusOK},
		"to somebody else":       {map[string]any{fieldURL: backend.DefaultURL}, map[string]any{fieldURL: secure.SOAP}, http.StatusBadRequest},
	} {
		for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
			t.Run(string(op)+" "+name, func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				offline := map[string]any{fieldVerifyConnection: false}
				maps.Copy(offline, tt.before)
				m.configure(offline)
				write := maps.Clone(tt.write)
				write[fieldVerifyConnection] = false
				if resp, err := m.do(op, "config", write); statusOf(resp, err) != tt.status {
					t.Errorf("%d %v, want %d", statusOf(resp, err), err, tt.status)
				}
				delete(write, fieldVerifyConnection)
				if tt.status == http.StatusBadRequest { // nor is it tried first
					m.refused(tt.status, op, "config", write)
				}
				if n := m.sim.Count("") + secure.Count(""); n != 0 {
					t.Errorf("%d calls", n)
				}
			})
		}
	}
}

// The cron parser panics on some time zones and ignores others.
func TestScheduleNamesNoTimeZone(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	for _, schedule := range []string{"TZ=UTC", "TZ=UTC 0 3 * * *", "CRON_TZ=UTC 0 3 * * *", "tz=utc 0 3 * * *", "TZ= 0 3 * * *", "TZ="} {
		for _, path := range []string{"config", "roles/team", "roles/new"} {
			data := map[string]any{fieldRotationSchedule: schedule}
			if path == "roles/new" {
				data[fieldUserID] = 5001
			}
			for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation} {
				m.refused(http.StatusBadRequest, op, path, data)
			}
		}
	}
	m.expect(map[string]any{fieldRotationSchedule: "", fieldNextRootRotation: nil})
	m.expectRole("team", map[string]any{fieldRotationSchedule: "", fieldNextRotation: nil})
}

func TestConfigWithAPIKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.must(logical.CreateOperation, "config", map[string]any{
		fieldURL:    m.sim.SOAP,
		fieldAPIKey: m.user(simulator.AdminUserID).APIKey,
	})
	m.expect(map[string]any{fieldAuthMethod: "api_key", fieldUsername: ""})
	m.must(logical.ReadOperation, "keys/5001", nil)
	if m.sim.Count("Login")+m.sim.Count("Logout") != 0 {
		t.Error("an API key needs no session")
	}
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", map[string]any{fieldAPIKey: "none"})
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.expect(map[string]any{fieldAuthMethod: "password"})
	m.must(logical.ReadOperation, "keys/5001", nil)
}

func TestConfigDelete(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	if resp := m.must(logical.ReadOperation, "config", nil); resp != nil {
		t.Error("a config that is not there was read")
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
			Data:      map[string]any{fieldPassword: map[string]any{"a": "b"}, fieldTTL: "soon"},
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
	m.storage.Underlying().FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", m.login(map[string]any{fieldTTL: "1h"}))
	m.storage.Underlying().FailPut(false)
	m.expect(map[string]any{fieldTTL: 0.0})
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.storage.Underlying().FailDelete(true)
	m.refused(http.StatusInternalServerError, logical.DeleteOperation, "config", nil)
	m.storage.Underlying().FailDelete(false)
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// A panic ends its request, not the process and every mount in it.
func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	const canary = "what-a-panic-may-hold"
	connect := m.plugin.Connect
	m.plugin.Connect = func(ecgrid.Endpoint) (ecgrid.Client, error) { panic(canary) }
	m.backend = m.serve()
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "info", nil)
	if contains(m.log.String(), canary) {
		t.Error("the log holds what the panic held")
	}
	m.plugin.Connect = connect
	m.backend = m.serve()
	m.configure(nil)
}
