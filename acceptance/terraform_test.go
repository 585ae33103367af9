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

// endpoint is a vault_generic_endpoint of examples/terraform: it writes data_json to a path.
type endpoint struct {
	path string
	data fields
}

// configuration is examples/terraform, applied to a mount by the requests that the
// provider sends.
type configuration struct {
	*mount
	endpoints []endpoint // config is the first
	policies  []string   // files
}

func newConfiguration(t *testing.T) *configuration {
	t.Helper()
	policies, err := filepath.Glob(filepath.Join(repoRoot(), "examples", "policies", "*.hcl"))
	if err != nil || len(policies) == 0 {
		t.Fatal("no policies:", err)
	}
	m := &mount{vault: ownVault(t, inmem), ecgrid: newECGrid(t), path: "ecgrid"}
	return &configuration{m, terraformEndpoints(t), policies}
}

func (c *configuration) register(t *testing.T) {
	t.Helper()
	c.ok(t, http.MethodPut, path("sys/plugins/catalog/secret", pluginName),
		fields{"command": pluginName, "version": suite.pluginVersion, "sha256": suite.pluginSum})
}

func (c *configuration) apply(t *testing.T) {
	t.Helper()
	for _, e := range c.endpoints {
		c.ok(t, http.MethodPut, e.path, e.data)
	}
}

func policyPath(file string) string {
	return path("sys/policies/acl", "ecgrid-"+strings.TrimSuffix(filepath.Base(file), ".hcl"))
}

// checkNoDrift fails the test if Terraform would plan a change.
func (c *configuration) checkNoDrift(t *testing.T, after string) {
	t.Helper()
	for _, e := range c.endpoints {
		if planned := drift(e.data, c.read(t, e.path).Data); len(planned) > 0 {
			t.Errorf("after %s: %s: Terraform would change %v", after, e.path, planned)
		}
	}
	for _, file := range c.policies {
		if c.read(t, policyPath(file)).Data["policy"] != string(readAll(file)) {
			t.Errorf("after %s: Terraform would change the policy %s", after, file)
		}
	}
}

func (c *configuration) login(password string) fields {
	return c.loginConfigWith("password", password)
}

// TestTerraform applies examples/terraform before and after rotate-root, and destroys it.
func TestTerraform(t *testing.T) {
	t.Parallel()
	c := newConfiguration(t)
	initial := c.password(simulator.AdminUserID)
	c.firstApply(t, initial)

	c.ok(t, http.MethodPost, c.at("rotate-root"), nil)
	if c.password(simulator.AdminUserID) == initial {
		t.Fatal("rotate-root has changed nothing")
	}
	c.checkNoDrift(t, "rotate-root")

	c.register(t)
	c.apply(t)
	c.checkNoDrift(t, "an apply without a password")
	c.endpoints[0].data["ttl"] = 1800.
	c.apply(t)
	c.checkNoDrift(t, "a change without a password")
	c.readCreds(t, "gateway", simulator.UserID5001)

	c.applySupersededPassword(t, initial)
	c.KillSessions(0)
	c.readCreds(t, "gateway", simulator.UserID5001) // needs a Login with the rotated password

	// The password was reset at ECGrid, and login_version was raised.
	reset := c.newSecret("Set-anew-in-ECGr1d")
	c.SetPassword(simulator.AdminUserID, reset)
	c.ok(t, http.MethodPut, c.at("config"), c.login(reset))
	c.checkNoDrift(t, "a new password")
	c.readCreds(t, "partner-portal", simulator.UserID5002)

	c.destroy(t)
}

func (c *configuration) firstApply(t *testing.T, password string) {
	t.Helper()
	c.register(t)
	c.ok(t, http.MethodPost, "sys/mounts/ecgrid",
		fields{"type": pluginName, "description": "ECGrid API keys", "config": fields{"plugin_version": suite.pluginVersion}})
	c.ok(t, http.MethodPut, c.at("config"), c.login(password))
	c.apply(t)
	for _, file := range c.policies {
		c.ok(t, http.MethodPut, policyPath(file), fields{"policy": string(readAll(file))})
	}
	c.checkNoDrift(t, "the first apply")
	c.run(t, "patch", c.at("config"), "ttl=2h") // the positive control: a manual change is drift
	if planned := drift(c.endpoints[0].data, c.read(t, c.at("config")).Data); !slices.Equal(planned, []string{"ttl"}) {
		t.Errorf("after a manual change Terraform would change %v, want ttl", planned)
	}
	c.apply(t)
	c.checkNoDrift(t, "an apply that undoes a manual change")
	c.readCreds(t, "gateway", simulator.UserID5001)
	c.readCreds(t, "partner-portal", simulator.UserID5002)
}

// applySupersededPassword writes an empty password and the one from before rotate-root.
// Both are refused without a Login.
func (c *configuration) applySupersededPassword(t *testing.T, initial string) {
	t.Helper()
	state := func() string { return jsonText(c.read(t, c.at("config")).Data) }
	before, logins := state(), c.Count("Login")
	for _, login := range []fields{
		c.login(""), c.login(initial), {"username": simulator.AdminLogin, "password": initial}, {"password": initial},
		{"password": initial, "ttl": 60}, {"password": initial, "verify_connection": false},
	} {
		c.wantStatus(t, http.StatusBadRequest, http.MethodPut, c.at("config"), login)
		if after := state(); after != before {
			t.Errorf("a refused apply has changed config from %s to %s", before, after)
		}
		c.readCreds(t, "gateway", simulator.UserID5001)
	}
	if n := c.Count("Login") - logins; n != 0 {
		t.Errorf("%d Logins at ECGrid with a superseded password, want none", n)
	}
	c.checkNoDrift(t, "a refused apply")
}

// destroy deletes in Terraform's order.
func (c *configuration) destroy(t *testing.T) {
	t.Helper()
	for _, e := range slices.Backward(c.endpoints) {
		if e.path != c.at("config") { // it has disable_delete
			c.ok(t, http.MethodDelete, e.path, nil)
		}
	}
	c.ok(t, http.MethodDelete, c.at("config"), nil)
	c.disable(t)
}

func (m *mount) readCreds(t *testing.T, role string, userID int32) {
	t.Helper()
	if a := m.read(t, m.at("creds", role)); a.Data["api_key"] != m.key(userID) {
		t.Errorf("creds/%s is not the key of user %d", role, userID)
	}
}

// terraformEndpoints reads the JSON files of examples/terraform.
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

// drift names the fields that vault_generic_endpoint with ignore_absent_fields would
// change: those that are read with another value than they were written.
func drift(written, read fields) []string {
	var changed []string
	for name, value := range written {
		if is, shown := read[name]; shown && !sameJSON(is, value) {
			changed = append(changed, name)
		}
	}
	return changed
}
