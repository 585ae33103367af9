package ecgrid

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

// role writes a role of user 5001.
func (m *testMount) role(name string, more map[string]any) {
	m.t.Helper()
	data := map[string]any{fieldUserID: 5001}
	for k, v := range more {
		data[k] = v
	}
	m.must(logical.CreateOperation, "roles/"+name, data)
}

func (m *testMount) expectRole(name string, want map[string]any) {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, "roles/"+name, nil)
	m.validated(logical.ReadOperation, "roles/"+name, resp)
	for field, value := range want {
		if resp.Data[field] != value {
			m.t.Errorf("%s: got %v, want %v", field, resp.Data[field], value)
		}
	}
}

func TestRoleRoundTrip(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.freeze()
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil)
	want := map[string]any{
		fieldUserID:           5001.0,
		fieldDescription:      "",
		fieldTTL:              0.0,
		fieldMaxTTL:           0.0,
		fieldRotateOnRevoke:   false,
		fieldRotationPeriod:   0.0,
		fieldRotationSchedule: "",
		fieldRotationWindow:   0.0,
		fieldLastRotation:     nil,
		fieldNextRotation:     nil,
		fieldLastError:        "",
	}
	m.role("team", nil)
	m.expectRole("team", want)
	if n := len(m.must(logical.ReadOperation, "roles/team", nil).Data); n != len(want) {
		t.Errorf("%d fields, want %d", n, len(want))
	}

	m.must(logical.UpdateOperation, "roles/team", map[string]any{
		fieldDescription: "ours", fieldTTL: "1h", fieldMaxTTL: 7200, fieldRotateOnRevoke: true,
		fieldRotationSchedule: "0 3 * * *", fieldRotationWindow: "2h",
	})
	m.expectRole("team", map[string]any{
		fieldUserID: 5001.0, fieldDescription: "ours", fieldTTL: 3600.0, fieldMaxTTL: 7200.0, fieldRotateOnRevoke: true,
		fieldRotationSchedule: "0 3 * * *", fieldRotationWindow: 7200.0,
		fieldLastRotation: nil, fieldNextRotation: "2030-01-03T03:00:00Z",
	})
	m.must(logical.DeleteOperation, "roles/team", nil)
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil)
	m.must(logical.DeleteOperation, "roles/team", nil)
	if n := m.sim.Count(""); n != 0 {
		t.Errorf("%d calls to ECGrid", n)
	}
}

// The same body through create, update and patch, as with config.
func TestRoleWriteIsAPatch(t *testing.T) {
	t.Parallel()
	for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation} {
		t.Run(string(op), func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.freeze()
			m.role("team", map[string]any{
				fieldDescription: "ours", fieldTTL: "1h", fieldMaxTTL: "2h", fieldRotateOnRevoke: true, fieldRotationPeriod: "24h",
			})
			m.must(op, "roles/team", map[string]any{fieldMaxTTL: "3h"})
			m.expectRole("team", map[string]any{
				fieldUserID: 5001.0, fieldDescription: "ours", fieldTTL: 3600.0, fieldMaxTTL: 10800.0, fieldRotateOnRevoke: true,
				fieldRotationPeriod: 86400.0, fieldNextRotation: "2030-01-03T03:04:00Z",
			})
			m.must(op, "roles/team", map[string]any{
				fieldDescription: nil, fieldTTL: "", fieldMaxTTL: nil, fieldRotateOnRevoke: nil, fieldRotationPeriod: "",
			})
			m.expectRole("team", map[string]any{
				fieldUserID: 5001.0, fieldDescription: "", fieldTTL: 0.0, fieldMaxTTL: 0.0, fieldRotateOnRevoke: false,
				fieldRotationPeriod: 0.0, fieldNextRotation: nil,
			})
			m.must(op, "roles/team", map[string]any{fieldRotationSchedule: "0 3 * * *", fieldRotationWindow: "1h"})
			m.must(op, "roles/team", map[string]any{fieldDescription: "", fieldRotationSchedule: nil, fieldRotationWindow: nil})
			m.expectRole("team", map[string]any{
				fieldDescription: "", fieldRotationSchedule: "", fieldRotationWindow: 0.0, fieldNextRotation: nil,
			})
		})
	}
}

func TestRoleUserID(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	for _, accepted := range []any{"5001", 5001, 5001.0, "1", "2147483647", 2147483647} {
		m.must(logical.CreateOperation, "roles/team", map[string]any{fieldUserID: accepted})
		if got := m.must(logical.ReadOperation, "roles/team", nil).Data[fieldUserID]; fmt.Sprint(accepted) != fmt.Sprintf("%.0f", got) {
			t.Errorf("user_id %v was stored as %v", accepted, got)
		}
		m.must(logical.DeleteOperation, "roles/team", nil)
	}
	for _, refused := range []any{
		"05001", "+5001", "5001 ", " 5001", "0x1389", "5001.0", "5e3", "٥٠٠١", "", "0", "-1", "2147483648", "5001\n", "me",
		5001.5, 0, -1, 2147483648.0, 1e300, true, false, []any{"5001"}, []any{5001}, map[string]any{"id": 5001},
	} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", map[string]any{fieldUserID: refused})
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", map[string]any{fieldUserID: refused, fieldTTL: "1h"})
	}
	for _, missing := range []map[string]any{nil, {fieldTTL: "1h"}, {fieldUserID: nil}} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/team", missing)
	}
	m.refused(http.StatusNotFound, logical.ReadOperation, "roles/team", nil) // nothing was stored
}

func TestRoleRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	stored := map[string]any{fieldTTL: "1h", fieldMaxTTL: "2h", fieldRotationPeriod: "24h"}
	m.role("team", stored)
	before := m.must(logical.ReadOperation, "roles/team", nil)
	for name, data := range map[string]map[string]any{
		"unknown field":               {"rotate_on_revoek": true},
		"a field of the answer":       {fieldNextRotation: "2030-01-01T00:00:00Z"},
		"a field of config":           {fieldDisableRotation: true},
		"ttl above max_ttl":           {fieldTTL: "3h"},
		"max_ttl below ttl":           {fieldMaxTTL: "1m"},
		"ttl that is none":            {fieldTTL: "soon"},
		"negative ttl":                {fieldTTL: -1},
		"half a second":               {fieldMaxTTL: "500ms"},
		"description as a number":     {fieldDescription: 1},
		"rotate_on_revoke as text":    {fieldRotateOnRevoke: "perhaps"},
		"period and schedule":         {fieldRotationSchedule: "0 3 * * *"},
		"period and window":           {fieldRotationWindow: "1h"},
		"short period":                {fieldRotationPeriod: "59s"},
		"negative period":             {fieldRotationPeriod: "-1h"},
		"schedule that is none":       {fieldRotationPeriod: nil, fieldRotationSchedule: "often"},
		"schedule of six fields":      {fieldRotationPeriod: nil, fieldRotationSchedule: "0 0 3 * * *"},
		"schedule as a number":        {fieldRotationPeriod: nil, fieldRotationSchedule: 3},
		"window of less than an hour": {fieldRotationPeriod: nil, fieldRotationSchedule: "0 3 * * *", fieldRotationWindow: "59m"},
		"window of its own":           {fieldRotationPeriod: nil, fieldRotationWindow: "1h"},
	} {
		for _, op := range []logical.Operation{logical.UpdateOperation, logical.PatchOperation} {
			m.refused(http.StatusBadRequest, op, "roles/team", data)
		}
		after := m.must(logical.ReadOperation, "roles/team", nil)
		for field, value := range before.Data {
			if after.Data[field] != value {
				t.Errorf("%s: %s changed", name, field)
			}
		}
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
		resp, err := m.do(op, path, nil)
		if statusOf(resp, err) != http.StatusNotFound || err.Error() == "" {
			t.Errorf("%s %s: %v", op, path, err)
		}
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
			Data:      map[string]any{fieldUserID: []any{"x"}, fieldTTL: "soon"},
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
	for _, data := range []map[string]any{nil, {"limit": 10}} {
		resp := m.must(logical.ListOperation, "roles/", data)
		m.validated(logical.ListOperation, "roles/", resp)
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
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "roles/team", map[string]any{fieldTTL: "1h"})
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
	m.expectRole("team", map[string]any{fieldTTL: 0.0})
}

// A role that would replace the key that the config itself uses is none.
func TestRoleOfTheOwnUser(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	admin := map[string]any{fieldUserID: simulator.AdminUserID}
	m.must(logical.CreateOperation, "config", map[string]any{fieldURL: m.sim.SOAP, fieldAPIKey: m.user(simulator.AdminUserID).APIKey})
	for field, value := range map[string]any{fieldRotateOnRevoke: true, fieldRotationPeriod: "1h", fieldRotationSchedule: "0 3 * * *"} {
		m.refused(http.StatusBadRequest, logical.CreateOperation, "roles/own", map[string]any{fieldUserID: simulator.AdminUserID, field: value})
	}
	m.must(logical.CreateOperation, "roles/own", admin)
	m.must(logical.ReadOperation, "creds/own", nil)
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "roles/own", map[string]any{fieldRotateOnRevoke: true})
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "rotate-role/own", nil)

	// Written while the login had a password, and used with the key in its place.
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.UpdateOperation, "roles/own", map[string]any{fieldRotateOnRevoke: true})
	m.must(logical.UpdateOperation, "config", map[string]any{fieldAPIKey: m.user(simulator.AdminUserID).APIKey})
	m.refused(http.StatusBadRequest, logical.ReadOperation, "creds/own", nil)
	if m.sim.Count("GenerateAPIKey") != 0 {
		t.Error("the config's own key was replaced")
	}
}

// Another user, or another schedule, begins anew; any other write leaves what is
// planned.
func TestRoleReplan(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(nil)
	m.role("team", map[string]any{fieldRotationPeriod: "24h"})
	m.must(logical.UpdateOperation, "rotate-role/team", nil)
	clock.advance(time.Hour)
	rotated := begin.Format(time.RFC3339)
	for _, step := range []struct {
		write      map[string]any
		last, next any
	}{
		{map[string]any{fieldTTL: "1h"}, rotated, "2030-01-03T03:04:00Z"},
		{map[string]any{fieldUserID: "5001", fieldRotationPeriod: "24h"}, rotated, "2030-01-03T03:04:00Z"},
		{map[string]any{fieldRotationPeriod: "48h"}, rotated, "2030-01-04T03:04:00Z"},
		{map[string]any{fieldRotationPeriod: nil, fieldRotationSchedule: "30 * * * *"}, rotated, "2030-01-02T04:30:00Z"},
		{map[string]any{fieldRotationSchedule: ""}, rotated, nil},
		{map[string]any{fieldRotationPeriod: "24h", fieldUserID: 5002}, nil, "2030-01-03T04:04:00Z"},
	} {
		m.must(logical.UpdateOperation, "roles/team", step.write)
		m.expectRole("team", map[string]any{fieldLastRotation: step.last, fieldNextRotation: step.next})
	}
}
