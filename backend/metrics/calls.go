// SPDX-License-Identifier: MPL-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Call counts the calls of one operation.
type Call struct {
	ok       prometheus.Counter
	failed   map[string]prometheus.Counter
	other    prometheus.Counter
	duration prometheus.Observer
	inFlight prometheus.Gauge
}

func (m *Metrics) addCalls(l Labels) {
	total := m.counters("calls_total", "Calls to ECGrid, by operation and how they ended. A call includes its retries.", operationLabel, outcomeLabel)
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: prefix + "call_duration_seconds", Help: "How long calls to ECGrid took, with their retries.", Buckets: durationBuckets,
	}, []string{operationLabel})
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{Name: prefix + "calls_in_flight", Help: "Calls to ECGrid in progress."})
	m.registry.MustRegister(durations, inFlight)
	m.calls = map[string]*Call{}
	for _, operation := range l.Operations {
		failed := each(l.CallOutcomes, total, operation)
		m.calls[operation] = &Call{
			ok:       total.WithLabelValues(operation, OK),
			failed:   failed,
			other:    failed[l.OtherOutcome],
			duration: durations.WithLabelValues(operation),
			inFlight: inFlight,
		}
	}
}

// Call returns the counters of an operation, which must be in Labels.
func (m *Metrics) Call(operation string) *Call { return m.calls[operation] }

// Begin counts a call as in progress. End must follow.
func (c *Call) Begin() { c.inFlight.Inc() }

// End counts a call that took so long.
func (c *Call) End(outcome string, took time.Duration) {
	c.inFlight.Dec()
	c.duration.Observe(took.Seconds())
	if outcome == OK {
		c.ok.Inc()
		return
	}
	counter := c.failed[outcome]
	if counter == nil {
		counter = c.other
	}
	counter.Inc()
}
