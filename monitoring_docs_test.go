// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
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

// runbookURL begins with the placeholder that docs/monitoring.md says how to replace.
var runbookURL = regexp.MustCompile(`(?m)^ +runbook_url: "https://docs\.example\.com/vault-plugin-ecgrid/docs/([^"#]+)#([^"]+)"$`)

// TestMonitoringRunbooks checks that each alert leads to a section that exists, and that
// docs/monitoring.md leads to the same one.
func TestMonitoringRunbooks(t *testing.T) {
	t.Parallel()
	table := readText(t, "docs/monitoring.md")
	for _, rule := range strings.Split(readText(t, "examples/monitoring/alerts.yaml"), "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		m := runbookURL.FindStringSubmatch(rule)
		if m == nil {
			t.Errorf("alerts.yaml: %s has no runbook_url", name)
			continue
		}
		if page := "docs/" + m[1]; !anchors(t, page)[m[2]] {
			t.Errorf("alerts.yaml: the runbook of %s is %s#%s, which does not exist", name, page, m[2])
		}
		row := regexp.MustCompile("(?m)^\\| `" + name + "` .*\\(" + regexp.QuoteMeta(m[1]+"#"+m[2]) + `\) \|$`)
		if !row.MatchString(table) {
			t.Errorf("docs/monitoring.md: the row of %s does not end with a link to %s#%s", name, m[1], m[2])
		}
	}
}

// prose returns the lines of a page that are not in a fenced block.
func prose(t *testing.T, page string) (lines []string) {
	t.Helper()
	fenced := false
	for line := range strings.Lines(readText(t, page)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		} else if !fenced {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return lines
}

var (
	pageHeading = regexp.MustCompile(`^#+ (.+)$`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
)

// anchors returns the anchors of a page, as GitHub and others derive them from its headings.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	found, seen := map[string]bool{}, map[string]int{}
	for _, line := range prose(t, page) {
		m := pageHeading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		anchor := strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")
		if n := seen[anchor]; n > 0 {
			found[fmt.Sprint(anchor, "-", n)] = true
		}
		found[anchor] = true
		seen[anchor]++
	}
	return found
}

// TestDocsLinks checks that each link from one page of the repository to another leads to a
// file, and to a heading of it.
func TestDocsLinks(t *testing.T) {
	t.Parallel()
	links := linkChecker{}
	err := filepath.WalkDir(".", func(page string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (page == ".git" || page == "bin" || page == "dist"):
			return fs.SkipDir
		case filepath.Ext(page) != ".md", page == filepath.Join("docs", "performance", "results.md"): // a part of docs/performance.md
			return nil
		}
		for _, m := range pageLink.FindAllStringSubmatch(strings.Join(prose(t, page), "\n"), -1) {
			if !strings.Contains(m[1], "://") {
				links.check(t, page, m[1])
			}
		}
		return nil
	})
	if err != nil || len(links) == 0 {
		t.Errorf("links to %d pages, %v", len(links), err)
	}
}

// linkChecker keeps the anchors of each page that a link leads to.
type linkChecker map[string]map[string]bool

func (c linkChecker) check(t *testing.T, page, link string) {
	t.Helper()
	target, anchor, _ := strings.Cut(link, "#")
	file := page
	if target != "" {
		file = filepath.Join(filepath.Dir(page), filepath.FromSlash(target))
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("%s: the target of %s does not exist", page, link)
		return
	}
	if anchor == "" {
		return
	}
	if c[file] == nil {
		c[file] = anchors(t, file)
	}
	if !c[file][anchor] {
		t.Errorf("%s: %s has no such heading", page, link)
	}
}
