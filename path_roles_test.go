// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestRoleRoundTrip(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.freezeClock()
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil)
	want := fields{
		"user_id":             5001.0,
		"description":         "",
		"ttl":                 0.0,
		"max_ttl":             0.0,
		"rotate_on_revoke":    false,
		"rotation_period":     0.0,
		"rotation_schedule":   "",
		"rotation_window":     0.0,
		"last_rotation":       nil,
		"next_rotation":       nil,
		"last_rotation_error": "",
	}
	m.role("team", nil)
	if n := len(m.expect("roles/team", want).Data); n != len(want) {
		t.Errorf("%d fields, want %d", n, len(want))
	}

	m.must(logical.UpdateOperation, "roles/team", fields{
		"description": "ours", "ttl": "1h", "max_ttl": 7200, "rotate_on_revoke": true,
		"rotation_schedule": "0 3 * * *", "rotation_window": "2h",
	})
	m.expect("roles/team", fields{
		"user_id": 5001.0, "description": "ours", "ttl": 3600.0, "max_ttl": 7200.0, "rotate_on_revoke": true,
		"rotation_schedule": "0 3 * * *", "rotation_window": 7200.0,
		"last_rotation": nil, "next_rotation": "2030-01-03T03:00:00Z",
	})
	m.must(logical.DeleteOperation, "roles/team", nil)
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil)
	m.must(logical.DeleteOperation, "roles/team", nil)
	if n := m.sim.Count(""); n != 0 {
		t.Errorf("%d calls to ECGrid", n)
	}
}

// Create, update and patch treat the same data in the same way, as for config.
func TestRoleWriteIsAPatch(t *testing.T) {
	t.Parallel()
	for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.freezeClock()
			m.role("team", fields{
				"description": "ours", "ttl": "1h", "max_ttl": "2h", "rotate_on_revoke": true, "rotation_period": "24h",
			})
			m.must(op, "roles/team", fields{"max_ttl": "3h"})
			m.expect("roles/team", fields{
				"user_id": 5001.0, "description": "ours", "ttl": 3600.0, "max_ttl": 10800.0, "rotate_on_revoke": true,
				"rotation_period": 86400.0, "next_rotation": "2030-01-03T03:04:00Z",
			})
			m.must(op, "roles/team", fields{
				"description": nil, "ttl": "", "max_ttl": nil, "rotate_on_revoke": nil, "rotation_period": "",
			})
			m.expect("roles/team", fields{
				"user_id": 5001.0, "description": "", "ttl": 0.0, "max_ttl": 0.0, "rotate_on_revoke": false,
				"rotation_period": 0.0, "next_rotation": nil,
			})
			m.must(op, "roles/team", fields{"rotation_schedule": "0 3 * * *", "rotation_window": "1h"})
			m.must(op, "roles/team", fields{"description": "", "rotation_schedule": nil, "rotation_window": nil})
			m.expect("roles/team", fields{
				"description": "", "rotation_schedule": "", "rotation_window": 0.0, "next_rotation": nil,
			})
		})
	}
}

func TestRoleUserID(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	for _, accepted := range []any{"5001", 5001, 5001.0, "1", "2147483647", 2147483647} {
		m.must(logical.CreateOperation, "roles/team", fields{"user_id": accepted})
		if got := m.must(logical.ReadOperation, "roles/team", nil).Data["user_id"]; fmt.Sprint(accepted) != fmt.Sprintf("%.0f", got) {
			t.Errorf("user_id %v was stored as %v", accepted, got)
		}
		m.must(logical.DeleteOperation, "roles/team", nil)
	}
	for _, refused := range []any{
		"05001", "+5001", "5001 ", " 5001", "0x1389", "5001.0", "5e3", "٥٠٠١", "", "0", "-1", "2147483648", "5001\n", "me",
		5001.5, 0, -1, 2147483648.0, 1e300, true, false, []any{"5001"}, []any{5001}, fields{"id": 5001},
	} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", fields{"user_id": refused})
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", fields{"user_id": refused, "ttl": "1h"})
	}
	for _, missing := range []fields{nil, {"ttl": "1h"}, {"user_id": nil}} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", missing)
	}
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil) // nothing was stored
}

func TestRoleRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("team", fields{"ttl": "1h", "max_ttl": "2h", "rotation_period": "24h"})
	before := m.must(logical.ReadOperation, "roles/team", nil).Data
	for name, data := range map[string]fields{
		"unknown field":               {"rotate_on_revoek": true},
		"a returned field":            {"next_rotation": "2030-01-01T00:00:00Z"},
		"a field of config":           {"disable_automated_rotation": true},
		"ttl above max_ttl":           {"ttl": "3h"},
		"max_ttl below ttl":           {"max_ttl": "1m"},
		"malformed ttl":               {"ttl": "soon"},
		"negative ttl":                {"ttl": -1},
		"half a second":               {"max_ttl": "500ms"},
		"description as a number":     {"description": 1},
		"rotate_on_revoke as text":    {"rotate_on_revoke": "perhaps"},
		"period and schedule":         {"rotation_schedule": "0 3 * * *"},
		"period and window":           {"rotation_window": "1h"},
		"short period":                {"rotation_period": "59s"},
		"negative period":             {"rotation_period": "-1h"},
		"malformed schedule":          {"rotation_period": nil, "rotation_schedule": "often"},
		"schedule of six fields":      {"rotation_period": nil, "rotation_schedule": "0 0 3 * * *"},
		"schedule as a number":        {"rotation_period": nil, "rotation_schedule": 3},
		"window of less than an hour": {"rotation_period": nil, "rotation_schedule": "0 3 * * *", "rotation_window": "59m"},
		"window without schedule":     {"rotation_period": nil, "rotation_window": "1h"},
	} {
		t.Run(name, func(*testing.T) {
			m.refused(http.StatusBadRequest, logical.UpdateOperation, "roles/team", data)
			m.refused(http.StatusBadRequest, logical.PatchOperation, "roles/team", data)
			m.expect("roles/team", before)
		})
	}
}

func TestRoleNotFound(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	for op, path := range map[logical.Operation]string{
		logical.PatchOperation:  "roles/none",
		logical.ReadOperation:   "creds/none",
		logical.UpdateOperation: "rotate-role/none",
	} {
		m.refused(http.StatusNotFound, op, path, nil)
	}
	if m.sim.Count("GenerateAPIKey") != 0 {
		t.Error("a key was replaced")
	}
}

func TestRoleExistence(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	for _, want := range []bool{false, true} {
		found, exists, err := m.backend.HandleExistenceCheck(t.Context(), &logical.Request{
			Operation: logical.CreateOperation,
			Path:      "roles/team",
			Data:      fields{"user_id": []any{"x"}, "ttl": "soon"},
			Storage:   m.storage,
		})
		if err != nil || !found || exists != want {
			t.Errorf("found %v, exists %v, %v; want %v", found, exists, err, want)
		}
		m.role("team", nil)
	}
}

func TestListRoles(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	for _, name := range []string{"team-b", "team.c", "team_a", "Team"} {
		m.role(name, nil)
	}
	m.must(logical.DeleteOperation, "roles/team.c", nil)
	for _, data := range []fields{nil, {"limit": 10}} {
		resp := m.must(logical.ListOperation, "roles/", data)
		if got := fmt.Sprint(resp.Data["keys"]); got != "[Team team-b team_a]" {
			t.Errorf("listed %v", got)
		}
	}
}

func TestRoleSurvivesStorageFailure(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("team", nil)
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "roles/team", fields{"ttl": "1h"})
	m.storage.FailPut(false)
	m.storage.FailDelete(true)
	m.refused(http.StatusInternalServerError, logical.DeleteOperation, "roles/team", nil)
	m.storage.FailDelete(false)
	m.storage.FailGet(true)
	m.refused(http.StatusInternalServerError, logical.ReadOperation, "roles/team", nil)
	m.refused(http.StatusInternalServerError, logical.PatchOperation, "roles/team", nil)
	m.storage.FailGet(false)
	m.storage.FailList(true)
	m.refused(http.StatusInternalServerError, logical.ListOperation, "roles/", nil)
	m.storage.FailList(false)
	m.expect("roles/team", fields{"ttl": 0.0})
}

// No role may replace the key that the config itself uses.
func TestRoleOfTheOwnUser(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.must(logical.CreateOperation, "config", m.apiKeyLogin())
	for field, value := range map[string]any{"rotate_on_revoke": true, "rotation_period": "1h", "rotation_schedule": "0 3 * * *"} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/own", fields{"user_id": simulator.AdminUserID, field: value})
	}
	m.must(logical.CreateOperation, "roles/own", fields{"user_id": simulator.AdminUserID})
	m.must(logical.ReadOperation, "creds/own", nil)
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "roles/own", fields{"rotate_on_revoke": true})
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "rotate-role/own", nil)

	// The role is written while the login has a password, and used while it has the key.
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.UpdateOperation, "roles/own", fields{"rotate_on_revoke": true})
	m.must(logical.UpdateOperation, "config", fields{"api_key": m.user(simulator.AdminUserID).APIKey})
	m.refused(http.StatusBadRequest, logical.ReadOperation, "creds/own", nil)
	if m.sim.Count("GenerateAPIKey") != 0 {
		t.Error("the config's own key was replaced")
	}
}

// Another user or another schedule changes the next rotation. Other writes do not.
func TestRoleReplan(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(nil)
	m.role("team", fields{"rotation_period": "24h"})
	m.must(logical.UpdateOperation, "rotate-role/team", nil)
	clock.advance(time.Hour)
	rotated := startTime.Format(time.RFC3339)
	for _, step := range []struct {
		write      fields
		last, next any
	}{
		{fields{"ttl": "1h"}, rotated, "2030-01-03T03:04:00Z"},
		{fields{"user_id": "5001", "rotation_period": "24h"}, rotated, "2030-01-03T03:04:00Z"},
		{fields{"rotation_period": "48h"}, rotated, "2030-01-04T03:04:00Z"},
		{fields{"rotation_period": nil, "rotation_schedule": "30 * * * *"}, rotated, "2030-01-02T04:30:00Z"},
		{fields{"rotation_schedule": ""}, rotated, nil},
		{fields{"rotation_period": "24h", "user_id": 5002}, nil, "2030-01-03T04:04:00Z"},
	} {
		m.must(logical.UpdateOperation, "roles/team", step.write)
		m.expect("roles/team", fields{"last_rotation": step.last, "next_rotation": step.next})
	}
}
