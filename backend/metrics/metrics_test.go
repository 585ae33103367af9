// SPDX-License-Identifier: MPL-2.0

package metrics

import (
	"strings"
	"testing"
	"time"
)

func newTestMetrics() *Metrics {
	return New(Labels{
		Operations:       []string{"Read"},
		CallOutcomes:     []string{"timeout", "other"},
		OtherOutcome:     "other",
		LoginOutcomes:    []string{OK},
		Rotations:        []Rotation{{"key", "manual"}},
		RotationOutcomes: []string{OK},
		Build:            map[string]string{"version": "v1.2.3"},
	})
}

func textOf(t *testing.T, m *Metrics, s State) string {
	t.Helper()
	text, err := m.Text(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
}

func TestCounters(t *testing.T) {
	t.Parallel()
	m := newTestMetrics()
	for _, outcome := range []string{OK, "timeout", "timeout", "not in the list"} {
		m.Call("Read").Begin()
		m.Call("Read").End(outcome, 300*time.Millisecond)
	}
	m.Call("Read").Begin()
	m.Login(OK)
	m.Login("not in the list")
	m.Rotated(Rotation{"key", "manual"}, OK)
	m.Rotated(Rotation{"key", "not in the list"}, OK)
	wantLines(t, textOf(t, m, State{}),
		`ecgrid_calls_total{operation="Read",outcome="ok"} 1`,
		`ecgrid_calls_total{operation="Read",outcome="timeout"} 2`,
		`ecgrid_calls_total{operation="Read",outcome="other"} 1`,
		`ecgrid_call_duration_seconds_bucket{operation="Read",le="0.25"} 0`,
		`ecgrid_call_duration_seconds_bucket{operation="Read",le="0.5"} 4`,
		`ecgrid_calls_in_flight 1`,
		`ecgrid_logins_total{outcome="ok"} 1`,
		`ecgrid_rotations_total{kind="key",outcome="ok",reason="manual"} 1`,
		`ecgrid_build_info{version="v1.2.3"} 1`,
	)
}

// What is not known is missing, and is not 0.
func TestStateThatIsNotKnown(t *testing.T) {
	t.Parallel()
	text := textOf(t, newTestMetrics(), State{})
	for _, name := range []string{"ecgrid_calls_max", "ecgrid_config_info", "ecgrid_root_", "ecgrid_role", "ecgrid_counted_leases"} {
		if strings.Contains(text, "\n"+name) {
			t.Errorf("%s is there", name)
		}
	}
	leases := 0
	text = textOf(t, newTestMetrics(), State{Config: &Config{RootNext: time.Unix(1, 5e8)}, Roles: &Roles{}, CountedLeases: &leases})
	wantLines(t, text, "ecgrid_root_rotation_next_timestamp_seconds 1.5", "ecgrid_root_rotation_unresolved 0", "ecgrid_roles_overdue 0", "ecgrid_counted_leases 0")
	for _, name := range []string{"ecgrid_root_rotation_last", "ecgrid_root_rotation_unresolved_since", "ecgrid_role_rotation"} {
		if strings.Contains(text, "\n"+name) {
			t.Errorf("%s is there without a time", name)
		}
	}
}

// BenchmarkCall is what the metrics add to a call to ECGrid.
func BenchmarkCall(b *testing.B) {
	call := newTestMetrics().Call("Read")
	b.ReportAllocs()
	for b.Loop() {
		call.Begin()
		call.End(OK, time.Millisecond)
	}
}
