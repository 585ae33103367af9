// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/promtest"
	"vault-plugin-ecgrid/internal/simulator"
)

// A real Vault sends the metrics as they are, for either header of the token. The audit log has
// no part of them in plain text.
func TestMetricsOnVault(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, nil)
	m.read(t, m.at("keys/5001"))
	calls := m.Count("")
	team := m.withRules(t, `path "`+m.at("metrics")+`" { capabilities = ["read"] }`)
	for header, value := range map[string]string{"X-Vault-Token": team.token, "Authorization": "Bearer " + team.token} {
		req, err := http.NewRequest(http.MethodGet, v.node.Addr+"/v1/"+m.at("metrics"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, value)
		resp, err := v.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var text bytes.Buffer
		_, err = text.ReadFrom(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s: HTTP %d, %q (%v)", header, resp.StatusCode, resp.Header.Get("Content-Type"), err)
		}
		for _, line := range []string{`ecgrid_calls_total{operation="UserGetAPIKey",outcome="ok"} 1`, "ecgrid_sessions_open 1", "# TYPE ecgrid_call_duration_seconds histogram"} {
			if !strings.Contains(text.String(), line+"\n") {
				t.Errorf("%s: no line %s in\n%s", header, line, text.String())
			}
		}
	}
	if n := m.Count(""); n != calls {
		t.Errorf("the scrapes made %d calls", n-calls)
	}
	if bytes.Contains(readAll(v.auditPath()), []byte("ecgrid_calls_total{")) {
		t.Error("the audit log has metrics in plain text")
	}
	if out, code := team.cli("read", m.at("metrics")); code == 0 {
		t.Errorf("vault read can show metrics now, and the documentation says that it cannot: %s", out)
	}
}

// tool returns promtool or prometheus. The test is not run without it.
func tool(t *testing.T, name string) string {
	t.Helper()
	bin, err := promtest.FindTool(repoRoot(), name)
	if errors.Is(err, promtest.ErrNotFound) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// The alert rules are valid, and fire when they should and not before. The configuration is valid.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool := tool(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "alerts.yaml"},
		{"test", "rules", "alerts_test.yaml"},
		{"check", "config", "--syntax-only", "prometheus.yaml"}, // the files that it names are the user's
	} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = filepath.Join(repoRoot(), "examples", "monitoring")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
}

// monitored are the mounts of the example that a real Prometheus scrapes each second, with the examples.
type monitored struct {
	*mount
	prometheus *promtest.Server
	dashboard  promtest.Dashboard
}

func newMonitored(t *testing.T) monitored {
	t.Helper()
	bin := tool(t, "prometheus")
	m := exampleVault(t)
	m.configure(t, fields{"rotation_period": "24h"})
	m.writeExamplePolicy(t, "monitoring")
	const second = "ecgrid-b"
	m.ok(t, http.MethodPost, path("sys/mounts", second), fields{"type": pluginName})
	m.ok(t, http.MethodPut, "sys/policies/acl/monitoring-second", fields{"policy": `path "` + second + `/metrics" { capabilities = ["read"] }`})
	dir := t.TempDir()
	config := exampleFile(t, "monitoring/prometheus.yaml")
	for old, own := range map[string]string{"vault.example.com:8200": strings.TrimPrefix(m.node.Addr, "https://"), "scrape_interval: 30s": "scrape_interval: 1s\n  evaluation_interval: 1s"} {
		if !strings.Contains(config, old) {
			t.Fatalf("prometheus.yaml has no %s", old)
		}
		config = strings.ReplaceAll(config, old, own)
	}
	for name, content := range map[string]string{
		"prometheus.yaml": config,
		"alerts.yaml":     exampleFile(t, "monitoring/alerts.yaml"),
		"ecgrid-token":    m.withPolicies(t, "monitoring", "monitoring-second").token,
		"vault-ca.pem":    string(readAll(m.caPath())),
	} {
		writeFile(t, dir, name, content)
	}
	p, err := promtest.Serve(bin, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	d, err := promtest.ReadDashboard(filepath.Join(repoRoot(), "examples", "monitoring", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	m.ok(t, http.MethodPost, m.at("roles/orders"), fields{"user_id": simulator.UserID5001, "rotation_period": "1h"})
	eventually(t, 30*time.Second, "a scrape of both mounts", func() bool {
		up, err := p.Query(`up{job="ecgrid",mount=~"ecgrid|ecgrid-b"} == 1`)
		return err == nil && len(up) == 2
	})
	return monitored{m, p, d}
}

// A real Prometheus scrapes a real Vault with the example's configuration and token. Then each
// query of the dashboard has a result, and no alert fires.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	m := newMonitored(t)
	if picture := os.Getenv("ECGRID_DASHBOARD_SVG"); picture != "" {
		m.draw(t, picture)
		return
	}
	m.read(t, m.at("creds/orders"))
	time.Sleep(1500 * time.Millisecond) // counters must have been scraped before they grow
	m.ok(t, http.MethodPost, m.at("rotate-role/orders"), nil)
	m.ok(t, http.MethodPost, m.at("rotate-root"), nil)
	m.read(t, m.at("creds/orders"))
	for _, panel := range m.dashboard.Panels {
		for _, target := range panel.Targets {
			if strings.Contains(target.Expr, "ecgrid_role") || strings.Contains(target.Expr, "counted_leases") {
				continue // known after the first round of Vault, up to a minute later
			}
			eventually(t, 20*time.Second, "a result of "+panel.Title+", "+target.RefID, func() bool {
				result, err := m.prometheus.Query(target.Query("10s"))
				if err != nil {
					t.Fatalf("%s: %s: %v", panel.Title, target.Expr, err)
				}
				return len(result) > 0
			})
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, State, Health, LastError string }
		}
	}
	if err := m.prometheus.Get("rules", nil, &rules); err != nil || len(rules.Groups) != 1 {
		t.Fatalf("no alert rules: %v", err)
	}
	for _, r := range rules.Groups[0].Rules {
		if r.Health == "err" || r.State == "firing" {
			t.Errorf("%s is %s (%s): %s", r.Name, r.State, r.Health, r.LastError)
		}
	}
}
