// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestLeaseTTL(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	for name, c := range map[string]struct {
		settings fields
		tuned    fields // of the mount itself
		query    string
		want     int
		warned   bool
	}{
		"the mount's":                {want: 768 * 3600},
		"tuned mount":                {tuned: fields{"default_lease_ttl": "7m", "max_lease_ttl": "9m"}, want: 420},
		"config":                     {settings: fields{"ttl": "5m", "max_ttl": "1h"}, want: 300},
		"config above the mount":     {settings: fields{"ttl": "20m"}, tuned: fields{"max_lease_ttl": "9m", "default_lease_ttl": "2m"}, want: 540, warned: true},
		"request":                    {settings: fields{"ttl": "5m", "max_ttl": "1h"}, query: "?ttl=10m", want: 600},
		"request in seconds":         {settings: fields{"ttl": "5m", "max_ttl": "1h"}, query: "?ttl=90", want: 90},
		"request above the config's": {settings: fields{"ttl": "5m", "max_ttl": "1h"}, query: "?ttl=2h", want: 3600, warned: true},
		"request above the mount's":  {tuned: fields{"max_lease_ttl": "9m", "default_lease_ttl": "2m"}, query: "?ttl=2h", want: 540, warned: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configuredMount(t, v, c.settings)
			if c.tuned != nil {
				v.ok(t, http.MethodPost, path("sys/mounts", m.path, "tune"), c.tuned)
			}
			a := v.read(t, m.at("keys/5001")+c.query)
			if a.LeaseDuration != c.want {
				t.Errorf("leased for %d s, want %d", a.LeaseDuration, c.want)
			}
			if warned := len(a.Warnings) > 0; warned != c.warned {
				t.Errorf("warnings: %q", a.Warnings)
			}
		})
	}
	t.Run("not a duration", func(t *testing.T) {
		t.Parallel()
		m := configuredMount(t, v, nil)
		for _, ttl := range []string{"x", "-5m", "-1"} {
			v.wantStatus(t, http.StatusBadRequest, http.MethodGet, m.at("keys/5001")+"?ttl="+ttl, nil)
		}
	})
}

func TestRenewStaysBelowTheMaximum(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), fields{"ttl": "1m", "max_ttl": "2m"})
	held := m.readKey(t, simulator.UserID5001)
	a := m.renew(t, http.StatusOK, held, fields{"increment": 90})
	if a.LeaseDuration != 60 && a.LeaseDuration != 90 {
		t.Errorf("renewed for %d s", a.LeaseDuration)
	}
	a = m.renew(t, http.StatusOK, held, fields{"increment": 86400})
	if a.LeaseDuration > 120 {
		t.Errorf("renewed for %d s, past the maximum", a.LeaseDuration)
	}
}

func (m *mount) renew(t *testing.T, status int, held answer, more fields) answer {
	t.Helper()
	body := fields{"lease_id": held.LeaseID}
	for name, value := range more {
		body[name] = value
	}
	return m.wantStatus(t, status, http.MethodPost, "sys/leases/renew", body)
}

func (m *mount) revoke(t *testing.T, held answer) {
	t.Helper()
	m.ok(t, http.MethodPost, "sys/leases/revoke", fields{"lease_id": held.LeaseID, "sync": true})
}

// A renewal asks ECGrid, and only a definite answer ends the lease.
func TestRenewAsksECGrid(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	renewed, refused := http.StatusOK, http.StatusBadRequest
	for name, c := range map[string]struct {
		happens func(*mount)
		status  int
		warned  bool
	}{
		"nothing happened":  {func(*mount) {}, renewed, false},
		"key replaced":      {func(m *mount) { m.ReplaceKey(simulator.UserID5001) }, refused, false},
		"key taken away":    {func(m *mount) { m.Update(simulator.UserID5001, func(u *simulator.User) { u.APIKey = "" }) }, refused, false},
		"user gone":         {func(m *mount) { m.Delete(simulator.UserID5001) }, refused, false},
		"access taken away": {func(m *mount) { m.Update(simulator.UserID5001, func(u *simulator.User) { u.NetworkID = 900 }) }, refused, false},
		"session dead":      {func(m *mount) { m.KillSessions(0) }, renewed, false},
		"ECGrid cuts":       {func(m *mount) { m.Inject(simulator.Fault{Answer: simulator.AnswerReset}) }, renewed, true},
		"ECGrid is down":    {func(m *mount) { _ = m.ecgrid.Close() }, renewed, true},
		"ECGrid is slow":    {func(m *mount) { m.Inject(simulator.Fault{Op: "UserGetAPIKey", Answer: simulator.AnswerDrip}) }, renewed, true},
		"ECGrid in trouble": {func(m *mount) { m.Inject(simulator.Fault{Cause: simulator.SystemError}) }, renewed, true},
		"a web page": {func(m *mount) {
			m.Inject(simulator.Fault{Answer: simulator.AnswerHTML})
		}, renewed, true},
		"login refused": {func(m *mount) {
			m.KillSessions(0)
			m.SetPassword(simulator.AdminUserID, m.newSecret("Changed-behind-our-b4ck"))
		}, renewed, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configuredMount(t, v, fields{"request_timeout": "1s"})
			held := m.readKey(t, simulator.UserID5001)
			c.happens(m)
			a, err := m.do(http.MethodPost, "sys/leases/renew", fields{"lease_id": held.LeaseID})
			if err != nil {
				t.Fatal(err)
			}
			if c.status == renewed && (a.Status != renewed || a.LeaseDuration <= 0) {
				t.Errorf("HTTP %d, renewed for %d s: %s", a.Status, a.LeaseDuration, a.Body)
			}
			if c.status == refused && (a.Status < 400 || len(a.Errors) == 0) {
				t.Errorf("not refused: HTTP %d: %s", a.Status, a.Body)
			}
			// Vault warns by itself if a second has passed since the issue.
			a.Warnings = slices.DeleteFunc(a.Warnings, func(w string) bool { return strings.Contains(w, "effective max_ttl") })
			if warned := len(a.Warnings) > 0; warned != c.warned {
				t.Errorf("warnings: %q", a.Warnings)
			}
			m.revoke(t, held) // works in every case
		})
	}
}

// Leases share a long-lived key, so a revocation does not call ECGrid.
func TestRevokeCallsNothing(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	mine, yours := m.readKey(t, simulator.UserID5001), m.readKey(t, simulator.UserID5001)
	before := m.Count("")
	m.revoke(t, mine)
	if n := m.Count("") - before; n != 0 {
		t.Errorf("%d calls to ECGrid", n)
	}
	m.renew(t, http.StatusOK, yours, nil)
	if !restAccepts(t, m.ecgrid, yours.Data["api_key"].(string)) {
		t.Error("the key is dead for the other lease")
	}
}

// A lease can be revoked after its config was deleted.
func TestLeasesOutliveTheConfig(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	held := m.readKey(t, simulator.UserID5001)
	m.ok(t, http.MethodDelete, m.at("config"), nil)
	m.revoke(t, held)
}
