// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestTerraformSendsPasswordAgain writes what Terraform and Ansible write after
// rotate-root: the password from before it, in each form that a configuration may have.
// Each write is refused without a Login and changes nothing. The examples themselves are
// run in consumers/terraform.
func TestTerraformSendsPasswordAgain(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.writeRole(t, "gateway", nil)
	initial := m.password(simulator.AdminUserID)
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	if m.password(simulator.AdminUserID) == initial {
		t.Fatal("rotate-root has changed nothing")
	}
	m.read(t, m.at("creds", "gateway")) // opens a session with the new password

	state := func() string { return jsonText(m.read(t, m.at("config")).Data) }
	before, logins := state(), m.Count("Login")
	for _, login := range []fields{
		m.loginConfigWith("password", ""), m.loginConfigWith("password", initial),
		{"username": simulator.AdminLogin, "password": initial}, {"password": initial},
		{"password": initial, "ttl": 60}, {"password": initial, "verify_connection": false},
	} {
		m.wantStatus(t, http.StatusBadRequest, http.MethodPut, m.at("config"), login)
		if after := state(); after != before {
			t.Errorf("a refused write has changed config from %s to %s", before, after)
		}
		if a := m.read(t, m.at("creds", "gateway")); a.Data["api_key"] != m.key(simulator.UserID5001) {
			t.Error("creds/gateway is not the key of its user")
		}
	}
	if n := m.Count("Login") - logins; n != 0 {
		t.Errorf("%d Logins at ECGrid with a superseded password, want none", n)
	}

	// The password was reset at ECGrid.
	reset := m.newSecret("Set-anew-in-ECGr1d")
	m.SetPassword(simulator.AdminUserID, reset)
	m.ok(t, http.MethodPut, m.at("config"), m.loginConfigWith("password", reset))
	m.KillSessions(0)
	if a := m.read(t, m.at("creds", "gateway")); a.Data["api_key"] != m.key(simulator.UserID5001) {
		t.Error("creds/gateway is not the key of its user after a new password")
	}
}
