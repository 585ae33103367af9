// SPDX-License-Identifier: MPL-2.0

package promtest

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
)

// Dashboard is a dashboard of Grafana, as far as it is used here.
type Dashboard struct {
	UID           string
	SchemaVersion int
	Panels        []Panel
	Templating    struct {
		List []struct{ Name string }
	}
}

// Panel is a panel of a dashboard.
type Panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Targets     []Target
	FieldConfig struct{ Defaults struct{ Unit string } }
	Datasource  struct{ Type, UID string }
	Options     struct{ TextMode string }
}

// Target is a query of a panel.
type Target struct {
	RefID, Expr, LegendFormat string
}

// ReadDashboard reads a dashboard from a file.
func ReadDashboard(file string) (d Dashboard, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return d, err
	}
	return d, json.Unmarshal(raw, &d)
}

// Query returns the expression for all mounts, with rates over interval.
func (t Target) Query(interval string) string {
	return strings.NewReplacer("$__rate_interval", interval, "$mount", ".*").Replace(t.Expr)
}

var legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)

// Legend returns the name of a series.
func (t Target) Legend(labels map[string]string) string {
	return legendLabel.ReplaceAllStringFunc(t.LegendFormat, func(ref string) string {
		return labels[strings.Trim(ref, "{}")]
	})
}
