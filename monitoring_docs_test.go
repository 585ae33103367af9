// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	dto "github.com/prometheus/client_model/go"

	"vault-plugin-ecgrid/internal/simulator"
)

func readText(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// documentedMetric is a row of the table in docs/monitoring.md.
type documentedMetric struct{ kind, labels string }

var metricRow = regexp.MustCompile("^\\| `(ecgrid_\\w+)` \\| (counter|gauge|histogram) \\| ([^|]*) \\| [A-Z1]")

func documentedMetrics(t *testing.T) map[string]documentedMetric {
	t.Helper()
	rows := map[string]documentedMetric{}
	for line := range strings.Lines(readText(t, "docs/monitoring.md")) {
		if m := metricRow.FindStringSubmatch(line); m != nil {
			rows[m[1]] = documentedMetric{m[2], strings.ReplaceAll(strings.TrimSpace(m[3]), "`", "")}
		}
	}
	return rows
}

// labelNames returns the names of the labels of a metric.
func labelNames(f *dto.MetricFamily) string {
	names := map[string]bool{}
	for _, s := range f.GetMetric() {
		for _, l := range s.GetLabel() {
			names[l.GetName()] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(names)), ", ")
}

// TestMetricsDocs compares the table of docs/monitoring.md with a mount that has every metric:
// a config with a schedule, an unresolved rotate-root, and a role that was rotated.
func TestMetricsDocs(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(fields{"rotation_period": "24h"})
	m.role("scheduled", fields{"rotation_period": "1h"})
	m.must(logical.UpdateOperation, "rotate-role/scheduled", nil)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.tick()
	m.must(logical.ReadOperation, "keys/5001", nil) // opens a session
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Answer: simulator.AnswerReset})
	m.sim.Inject(simulator.Fault{Op: "Login", Answer: simulator.AnswerReset})
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)

	documented := documentedMetrics(t)
	scraped := m.scrape()
	for name, f := range scraped {
		is := documentedMetric{strings.ToLower(f.GetType().String()), labelNames(f)}
		if row, ok := documented[name]; !ok {
			t.Errorf("docs/monitoring.md does not have %s", name)
		} else if row != is {
			t.Errorf("docs/monitoring.md: %s is %+v, and should be %+v", name, row, is)
		}
	}
	for name := range documented {
		if scraped[name] == nil {
			t.Errorf("docs/monitoring.md has %s, which does not exist", name)
		}
	}
	checkLabelValues(t, scraped)
}

// checkLabelValues checks that the table of labels has each value that a counter can have.
func checkLabelValues(t *testing.T, scraped map[string]*dto.MetricFamily) {
	t.Helper()
	_, table, _ := strings.Cut(readText(t, "docs/monitoring.md"), "### Labels")
	table, _, _ = strings.Cut(table, "## Alerts")
	for name, f := range scraped {
		if f.GetType() != dto.MetricType_COUNTER {
			continue
		}
		for _, s := range f.GetMetric() {
			for _, l := range s.GetLabel() {
				if !strings.Contains(table, "`"+l.GetValue()+"`") {
					t.Errorf("docs/monitoring.md does not have the %s %s of %s", l.GetName(), l.GetValue(), name)
				}
			}
		}
	}
}

var (
	metricName = regexp.MustCompile(`\becgrid_\w+`)
	alertName  = regexp.MustCompile(`(?m)^ +- alert: (\w+)$`)
	alertRow   = regexp.MustCompile("(?m)^\\| `(Ecgrid\\w+)` \\|")
)

// TestMonitoringExamples checks that the examples use only metrics that exist, and that
// docs/monitoring.md has every alert.
func TestMonitoringExamples(t *testing.T) {
	t.Parallel()
	documented := documentedMetrics(t)
	for _, file := range []string{"alerts.yaml", "alerts_test.yaml", "dashboard.json"} {
		for _, name := range metricName.FindAllString(readText(t, "examples/monitoring/"+file), -1) {
			if _, ok := documented[strings.TrimSuffix(name, "_bucket")]; !ok {
				t.Errorf("%s has %s, which does not exist", file, name)
			}
		}
	}
	rules, docs := readText(t, "examples/monitoring/alerts.yaml"), readText(t, "docs/monitoring.md")
	alerts, rows := alertName.FindAllStringSubmatch(rules, -1), alertRow.FindAllStringSubmatch(docs, -1)
	if len(alerts) == 0 || !slices.EqualFunc(alerts, rows, func(a, b []string) bool { return a[1] == b[1] }) {
		t.Errorf("alerts %q, and docs/monitoring.md has %q", alerts, rows)
	}
	tests := readText(t, "examples/monitoring/alerts_test.yaml")
	for _, alert := range alerts {
		if !regexp.MustCompile(`alertname: ` + alert[1] + `\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("no test of alerts_test.yaml has %s fire", alert[1])
		}
	}
}

// The scrape in docs/monitoring.md is that of the example.
func TestMonitoringScrapeConfig(t *testing.T) {
	t.Parallel()
	_, block, _ := strings.Cut(readText(t, "docs/monitoring.md"), "```yaml\n")
	block, _, found := strings.Cut(block, "```")
	example := readText(t, "examples/monitoring/prometheus.yaml")
	for line := range strings.Lines(block) {
		if line = strings.TrimPrefix(strings.TrimRight(line, " \n"), "   "); !found || !strings.Contains(example, line) {
			t.Errorf("examples/monitoring/prometheus.yaml has no line %q", line)
		}
	}
}
