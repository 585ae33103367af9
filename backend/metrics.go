// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"time"

	"vault-plugin-ecgrid/backend/metrics"
	"vault-plugin-ecgrid/backend/session"
)

// The outcomes of a rotation.
const (
	rotationFailed      = "failed"
	rotationUnconfirmed = "unconfirmed" // ECGrid may have applied it
	rotationNotStarted  = "not-started" // logins are paused, so nothing was sent
)

// rotationKinds are the values of the label kind.
var rotationKinds = map[EventKind]string{EventKeyRotation: "key", EventRootRotation: "root"}

// countedRotations are all kinds and reasons that exist.
var countedRotations = []metrics.Rotation{
	rotationOf(EventKeyRotation, ReasonManual),
	rotationOf(EventKeyRotation, ReasonSchedule),
	rotationOf(EventKeyRotation, ReasonLeaseEnd),
	rotationOf(EventRootRotation, ReasonManual),
	rotationOf(EventRootRotation, ReasonSchedule),
	rotationOf(EventRootRotation, ReasonSettled),
}

func rotationOf(kind EventKind, why Reason) metrics.Rotation {
	return metrics.Rotation{Kind: rotationKinds[kind], Reason: string(why)}
}

func newMetrics(build map[string]string) *metrics.Metrics {
	return metrics.New(metrics.Labels{
		Operations:       operations,
		CallOutcomes:     callClasses(),
		OtherOutcome:     internalClass,
		LoginOutcomes:    session.LoginResults(),
		Rotations:        countedRotations,
		RotationOutcomes: []string{metrics.OK, rotationFailed, rotationUnconfirmed, rotationNotStarted},
		Build:            build,
	})
}

// MetricsContentType is the media type of what Metrics returns.
const MetricsContentType = metrics.ContentType

// countRotation counts a rotation that ended.
func (c *connections) countRotation(e Event, failed error) {
	outcome := metrics.OK
	switch m := meaningOf(failed); {
	case m.maybeApplied:
		outcome = rotationUnconfirmed
	case m.notStarted:
		outcome = rotationNotStarted
	case failed != nil:
		outcome = rotationFailed
	}
	c.metrics.Rotated(rotationOf(e.Kind, e.Reason), outcome)
}

// Metrics returns the mount's counters and its state in the Prometheus text format. It reads
// the stored config. It writes nothing and does not call ECGrid.
func (c *connections) Metrics(ctx context.Context) ([]byte, error) {
	config, err := c.store.config(ctx)
	if err != nil {
		return nil, err
	}
	s := metrics.State{
		LeftoverSessions: c.ledger.Leftovers(),
		Config:           config.measured(),
		Roles:            c.store.agenda.rotations.sum(c.Clock.Now()),
		CountedLeases:    c.store.agenda.holders.count(),
	}
	for _, l := range c.allLinks() {
		s.OpenSessions += l.session.OpenSessions()
	}
	if s.LoginPause, err = c.loginPause(ctx, config); err != nil {
		c.Logger.Warn("the metrics lack the pause of logins", "error", err)
	}
	return c.metrics.Text(s)
}

// loginPause returns how long no Login may be sent with the stored config, which may be nil.
func (c *connections) loginPause(ctx context.Context, config *Config) (*time.Duration, error) {
	if config == nil {
		return new(time.Duration), nil
	}
	candidates, err := c.store.candidates(ctx, *config)
	if err != nil {
		return nil, err
	}
	left, err := c.ledger.PauseLeft(ctx, config.login(), candidates)
	if err != nil {
		return nil, err
	}
	return &left, nil
}

// measured returns what is measured of a config, which may be nil.
func (c *Config) measured() *metrics.Config {
	if c == nil {
		return nil
	}
	m := &metrics.Config{
		Transport:    string(c.TransportInUse()),
		AuthMethod:   c.AuthMethod(),
		MaxCalls:     c.ConcurrentCalls(),
		RootLast:     c.Root.Last,
		RootNext:     c.Root.Next,
		RootFailures: c.Root.Failures,
	}
	if pending := c.unresolved(); pending != nil {
		m.UnresolvedSince = pending.Since
	}
	return m
}
