// SPDX-License-Identifier: MPL-2.0

// Package metrics counts what one mount does, with the Prometheus client library, and
// writes it in the Prometheus text format. It does not know what the counted things mean.
package metrics

import (
	"bytes"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
)

// ContentType is the media type of Text.
const ContentType = "text/plain; version=" + expfmt.TextVersion + "; charset=utf-8"

const (
	prefix = "ecgrid_"
	// OK is the outcome of what succeeded.
	OK = "ok"

	outcomeLabel   = "outcome"
	operationLabel = "operation"
)

// durationBuckets are in seconds. request_timeout is 1 to 20 s.
var durationBuckets = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20}

// Labels are the values of the labels that are known when the mount is made. Counters of
// all combinations exist from the start, with 0: a query sees the first increment only then.
type Labels struct {
	// Operations are the calls to ECGrid, and CallOutcomes how they end beside OK. One of
	// them must be OtherOutcome, which is counted for what is not in the list.
	Operations   []string
	CallOutcomes []string
	OtherOutcome string
	// LoginOutcomes are how a Login ends.
	LoginOutcomes []string
	// Rotations are kinds with their reasons. RotationOutcomes are how they end.
	Rotations        []Rotation
	RotationOutcomes []string
	// Build are the labels of the build and their values.
	Build map[string]string
}

// Rotation is what was rotated, and why.
type Rotation struct{ Kind, Reason string }

// Metrics are the metrics of one mount. They are safe for concurrent use. Counting looks up no
// labels: each counter is made once.
type Metrics struct {
	registry *prometheus.Registry

	calls     map[string]*Call
	logins    map[string]prometheus.Counter
	rotations map[Rotation]map[string]prometheus.Counter

	// Reads counts reads of a user's key.
	Reads Reads
}

// Reads counts reads of a user's key by where the key came from.
type Reads struct {
	Asked  prometheus.Counter // a call to ECGrid
	Shared prometheus.Counter // the call of another read
	Cached prometheus.Counter // memory
}

// New returns metrics that are all 0.
func New(l Labels) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.addCalls(l)
	reads := m.counters("key_reads_total", "Reads of a user's key, by where the key came from.", "source")
	m.Reads = Reads{Asked: reads.WithLabelValues("asked"), Shared: reads.WithLabelValues("shared"), Cached: reads.WithLabelValues("cached")}
	m.logins = each(l.LoginOutcomes, m.counters("logins_total", "Logins by how they ended.", outcomeLabel))
	m.addRotations(l)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: prefix + "build_info", Help: "The running build. The value is always 1.", ConstLabels: l.Build,
	})
	build.Set(1)
	m.registry.MustRegister(build)
	return m
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: prefix + name, Help: help}, labels)
	m.registry.MustRegister(v)
	return v
}

// each returns the counter of each value of the last label.
func each(values []string, v *prometheus.CounterVec, others ...string) map[string]prometheus.Counter {
	all := map[string]prometheus.Counter{}
	for _, value := range values {
		all[value] = v.WithLabelValues(append(others[:len(others):len(others)], value)...)
	}
	return all
}

func (m *Metrics) addRotations(l Labels) {
	total := m.counters("rotations_total", "Rotations of the login's password (root) and of users' keys (key), by reason and how they ended.", "kind", "reason", outcomeLabel)
	m.rotations = map[Rotation]map[string]prometheus.Counter{}
	for _, r := range l.Rotations {
		m.rotations[r] = each(l.RotationOutcomes, total, r.Kind, r.Reason)
	}
}

// Login counts a Login.
func (m *Metrics) Login(outcome string) { increment(m.logins[outcome]) }

// Rotated counts a rotation.
func (m *Metrics) Rotated(r Rotation, outcome string) { increment(m.rotations[r][outcome]) }

// increment ignores what is not in Labels. The tests of the callers find it missing.
func increment(c prometheus.Counter) {
	if c != nil {
		c.Inc()
	}
}

// Text writes all metrics and the state in the Prometheus text format.
func (m *Metrics) Text(s State) ([]byte, error) {
	now := prometheus.NewRegistry()
	if err := now.Register(stateCollector(s)); err != nil {
		return nil, fmt.Errorf("collecting metrics: %w", err)
	}
	families, err := prometheus.Gatherers{m.registry, now}.Gather()
	if err != nil {
		return nil, fmt.Errorf("collecting metrics: %w", err)
	}
	var text bytes.Buffer
	enc := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := enc.Encode(f); err != nil {
			return nil, fmt.Errorf("writing metrics: %w", err)
		}
	}
	return text.Bytes(), nil
}

// timestamp returns seconds since 1970, as Prometheus has times.
func timestamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
