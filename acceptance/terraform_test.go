package acceptance

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// endpoint is a vault_generic_endpoint of examples/terraform: data_json, written
// to a path.
type endpoint struct {
	path string
	data fields
}

// TestTerraform makes the calls that the provider makes for examples/terraform,
// before and after rotate-root.
func TestTerraform(t *testing.T) {
	t.Parallel()
	v := own(t, inmem)
	m := &mount{vault: v, ecgrid: newECGrid(t), path: "ecgrid"}
	initial := m.password(simulator.AdminUserID)
	register := func() {
		t.Helper()
		m.ok(t, http.MethodPut, path("sys/plugins/catalog/secret", pluginName),
			fields{"command": pluginName, "version": suite.pluginVersion, "sha256": suite.pluginSum})
	}
	register()
	m.ok(t, http.MethodPost, "sys/mounts/ecgrid",
		fields{"type": pluginName, "description": "ECGrid API keys", "config": fields{"plugin_version": suite.pluginVersion}})

	login := func(password string) fields {
		return fields{"url": m.SOAP, "ca_cert": string(m.CACert), "username": simulator.AdminLogin, "password": password}
	}
	endpoints := terraformEndpoints(t)
	apply := func() {
		t.Helper()
		for _, e := range endpoints {
			m.ok(t, http.MethodPut, e.path, e.data)
		}
	}
	policies, err := filepath.Glob(filepath.Join(repoRoot(), "examples", "policies", "*.hcl"))
	if err != nil || len(policies) == 0 {
		t.Fatal("no policies:", err)
	}
	noDrift := func(when string) {
		t.Helper()
		for _, e := range endpoints {
			if planned := drift(e.data, m.read(t, e.path).Data); len(planned) > 0 {
				t.Errorf("%s: %s: Terraform would change %v", when, e.path, planned)
			}
		}
		for _, file := range policies {
			name := "ecgrid-" + strings.TrimSuffix(filepath.Base(file), ".hcl")
			if m.read(t, path("sys/policies/acl", name)).Data["policy"] != string(readAll(file)) {
				t.Errorf("%s: Terraform would change the policy %s", when, name)
			}
		}
	}

	m.ok(t, http.MethodPut, m.at("config"), login(initial))
	apply()
	for _, file := range policies {
		m.ok(t, http.MethodPut, path("sys/policies/acl", "ecgrid-"+strings.TrimSuffix(filepath.Base(file), ".hcl")), fields{"policy": string(readAll(file))})
	}
	noDrift("after the first apply")
	m.run(t, "patch", m.at("config"), "ttl=2h") // a change by hand is seen, so that the rest proves something
	if planned := drift(endpoints[0].data, m.read(t, m.at("config")).Data); !slices.Equal(planned, []string{"ttl"}) {
		t.Errorf("after a change by hand Terraform would change %v, want ttl", planned)
	}
	apply()
	noDrift("after it is put right")
	m.readCreds(t, "gateway", simulator.UserID5001)
	m.readCreds(t, "partner-portal", simulator.UserID5002)

	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	if m.password(simulator.AdminUserID) == initial {
		t.Fatal("rotate-root has changed nothing")
	}
	noDrift("after rotate-root")

	// Applied again as it stands, and with a change, without a password.
	register()
	apply()
	noDrift("after an apply without a password")
	endpoints[0].data["ttl"] = 1800.
	apply()
	noDrift("after a change without a password")
	m.readCreds(t, "gateway", simulator.UserID5001)

	// And with an empty password, or the one from before the rotation.
	state := func() string {
		config := m.read(t, m.at("config")).Data
		return jsonText(config)
	}
	before, logins := state(), m.Count("Login")
	for _, reapplied := range []fields{login(""), login(initial), {"username": simulator.AdminLogin, "password": initial}, {"password": initial}, {"password": initial, "ttl": 60}, {"password": initial, "verify_connection": false}} {
		m.refused(t, http.StatusBadRequest, http.MethodPut, m.at("config"), reapplied)
		if after := state(); after != before {
			t.Errorf("a refused apply has changed config from %s to %s", before, after)
		}
		m.readCreds(t, "gateway", simulator.UserID5001)
	}
	if n := m.Count("Login") - logins; n != 0 {
		t.Errorf("%d Logins at ECGrid for a superseded password, want none", n)
	}
	noDrift("after a refused apply")
	m.KillSessions(0)
	m.readCreds(t, "gateway", simulator.UserID5001) // with a new login, by the rotated password

	// login_version is raised, once the password was set anew in ECGrid.
	reset := m.invent("Set-anew-in-ECGr1d")
	m.SetPassword(simulator.AdminUserID, reset)
	m.ok(t, http.MethodPut, m.at("config"), login(reset))
	noDrift("after a new password")
	m.readCreds(t, "partner-portal", simulator.UserID5002)

	// destroy, in its order
	for _, e := range slices.Backward(endpoints) {
		if e.path != m.at("config") { // disable_delete
			m.ok(t, http.MethodDelete, e.path, nil)
		}
	}
	m.ok(t, http.MethodDelete, m.at("config"), nil)
	m.disable(t)
}

func (m *mount) readCreds(t *testing.T, role string, userID int32) {
	t.Helper()
	if a := m.read(t, m.at("creds", role)); a.Data["api_key"] != m.key(userID) {
		t.Errorf("creds/%s is not the key of user %d", role, userID)
	}
}

// terraformEndpoints are the JSON files of examples/terraform; config is first.
func terraformEndpoints(t *testing.T) []endpoint {
	t.Helper()
	dir := filepath.Join(repoRoot(), "examples", "terraform")
	roles, err := filepath.Glob(filepath.Join(dir, "roles", "*.json"))
	if err != nil || len(roles) == 0 {
		t.Fatal("examples/terraform has no roles:", err)
	}
	var all []endpoint
	for _, file := range append([]string{filepath.Join(dir, "config.json")}, roles...) {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		e := endpoint{path: "ecgrid/config"}
		if len(all) > 0 {
			e.path = path("ecgrid/roles", strings.TrimSuffix(filepath.Base(file), ".json"))
		}
		if err := json.Unmarshal(raw, &e.data); err != nil {
			t.Fatal(file, err)
		}
		all = append(all, e)
	}
	return all
}

// drift names the fields for which vault_generic_endpoint with
// ignore_absent_fields would plan a change: written ones that are read otherwise.
func drift(written, read fields) []string {
	var changed []string
	for name, value := range written {
		if is, shown := read[name]; shown && !sameJSON(is, value) {
			changed = append(changed, name)
		}
	}
	return changed
}
