// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/simulator"
)

// scrape reads metrics as Vault does and parses them.
func (m *testMount) scrape() map[string]*dto.MetricFamily {
	m.t.Helper()
	resp, err := m.do(logical.ReadOperation, "metrics", nil)
	if err != nil || resp == nil {
		m.t.Fatalf("metrics: %v", err)
	}
	if resp.Data[logical.HTTPContentType] != "text/plain; version=0.0.4; charset=utf-8" || fmt.Sprint(resp.Data[logical.HTTPStatusCode]) != "200" {
		m.t.Errorf("content type %q, status %v", resp.Data[logical.HTTPContentType], resp.Data[logical.HTTPStatusCode])
	}
	// []byte becomes base64 in gRPC, and Vault decodes it.
	text, err := base64.StdEncoding.DecodeString(resp.Data[logical.HTTPRawBody].(string))
	if err != nil {
		m.t.Fatal(err)
	}
	if m.holdsSecret(string(text)) {
		m.t.Error("the metrics contain a secret")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		m.t.Fatal(err)
	}
	return families
}

// sumOf adds up the series of a counter or gauge that have the label values.
func sumOf(f *dto.MetricFamily, labels map[string]string) (sum float64) {
	for _, s := range f.GetMetric() {
		found := 0
		for _, l := range s.GetLabel() {
			if labels[l.GetName()] == l.GetValue() {
				found++
			}
		}
		if found == len(labels) {
			sum += s.GetCounter().GetValue() + s.GetGauge().GetValue()
		}
	}
	return sum
}

// TestMetricsOfDeadAPIKey measures what the alert EcgridCallsRefused compares: the part of the calls
// that ECGrid refuses. It is all of them if the api_key is dead, and half of them if the login
// works and may not see a user.
func TestMetricsOfDeadAPIKey(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		begin func(*testMount)
		code  int
		part  float64
	}{
		"the key was replaced": {func(m *testMount) { m.sim.ReplaceKey(simulator.AdminUserID) }, http.StatusBadRequest, 1},
		"access denied": {func(m *testMount) {
			m.sim.Inject(simulator.Fault{Op: "UserGetAPIKey", Cause: simulator.AccessDenied})
		}, http.StatusForbidden, .5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.must(logical.CreateOperation, "config", m.apiKeyLogin())
			before := m.scrape()["ecgrid_calls_total"]
			tt.begin(m)
			for range 3 {
				m.refused(tt.code, logical.ReadOperation, "keys/5001", nil)
			}
			after := m.scrape()["ecgrid_calls_total"]
			calls := func(outcomes ...string) (n float64) {
				for _, operation := range []string{"UserGetAPIKey", "WhoAmI"} {
					for _, outcome := range outcomes {
						of := map[string]string{"operation": operation, "outcome": outcome}
						n += sumOf(after, of) - sumOf(before, of)
					}
				}
				return n
			}
			refused, all := calls("access-denied", "session-expired"), calls("access-denied", "session-expired", "ok")
			if all < 3 || refused/all != tt.part {
				t.Errorf("%v of %v calls were refused, want %v of them", refused, all, tt.part)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	if _, ok := m.scrape()["ecgrid_config_info"]; ok {
		t.Error("a mount without a config has a config")
	}
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.refused(http.StatusNotFound, logical.ReadOperation, "keys/1", nil)
	calls := m.sim.Count("")
	after := m.scrape()
	if n := m.sim.Count(""); n != calls {
		t.Errorf("a scrape made %d calls", n-calls)
	}
	for _, want := range []struct {
		name   string
		labels map[string]string
		value  float64
	}{
		{"ecgrid_logins_total", map[string]string{"outcome": "ok"}, 1},
		{"ecgrid_calls_total", map[string]string{"operation": "UserGetAPIKey", "outcome": "ok"}, 1},
		{"ecgrid_calls_total", map[string]string{"operation": "UserGetAPIKey", "outcome": "no-such-user"}, 1},
		{"ecgrid_key_reads_total", nil, 2},
		{"ecgrid_sessions_open", nil, 1},
		{"ecgrid_calls_max", nil, backend.DefaultMaxConcurrentCalls},
		{"ecgrid_build_info", map[string]string{"version": "v1.2.3", "commit": "test"}, 1},
		{"ecgrid_config_info", map[string]string{"transport": transport(), "auth_method": "password"}, 1},
	} {
		if got := sumOf(after[want.name], want.labels); got != want.value {
			t.Errorf("%s%v is %v, want %v", want.name, want.labels, got, want.value)
		}
	}
	m.restart()
	if got := sumOf(m.scrape()["ecgrid_key_reads_total"], nil); got != 0 {
		t.Errorf("a new process begins with %v reads", got)
	}
}

func TestMetricsOfTwoMounts(t *testing.T) {
	t.Parallel()
	a := newTestMount(t)
	a.configure(nil)
	b := newTestMount(t)
	b.plugin = a.plugin
	b.backend = b.serve()
	a.must(logical.ReadOperation, "keys/5001", nil)
	if got := sumOf(b.scrape()["ecgrid_key_reads_total"], nil); got != 0 {
		t.Errorf("a mount counts %v reads of another", got)
	}
}
