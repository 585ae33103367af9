// SPDX-License-Identifier: MPL-2.0

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// State is what is measured at the scrape. A nil part is not known, and its metrics are
// missing then. So is a time that is zero.
type State struct {
	OpenSessions     int
	LeftoverSessions int            // still to be logged out
	LoginPause       *time.Duration // until a Login may be sent
	Config           *Config        // nil without a config
	Roles            *Roles         // nil until the roles were listed
	CountedLeases    *int           // nil until the leases were listed
}

// Config is what is measured of the config.
type Config struct {
	Transport, AuthMethod string
	MaxCalls              int
	RootLast, RootNext    time.Time
	RootFailures          int       // in a row
	UnresolvedSince       time.Time // zero if rotate-root is resolved
}

// Roles sums up the rotations of all roles that could be read.
type Roles struct {
	Last time.Time // the latest rotation
	Next time.Time // the earliest rotation that is scheduled; in the past if it is overdue

	Incomplete bool // a role could not be read, so the numbers below are not known
	Scheduled  int
	Overdue    int
	Failing    int // the last try failed
}

// gauge is a metric of State. Value returns false if it is not known.
type gauge struct {
	name, help string
	value      func(State) (float64, bool)
}

var gauges = []gauge{
	{"sessions_open", "Sessions that this mount has open at ECGrid.", func(s State) (float64, bool) { return float64(s.OpenSessions), true }},
	{"sessions_leftover", "Sessions that could not be logged out yet.", func(s State) (float64, bool) { return float64(s.LeftoverSessions), true }},
	{"login_pause_seconds", "How long no Login is sent, after failed ones. 0 if Logins are not paused.", func(s State) (float64, bool) {
		if s.LoginPause == nil {
			return 0, false
		}
		return s.LoginPause.Seconds(), true
	}},
	{"calls_max", "max_concurrent_calls of config.", ofConfig(func(c *Config) (float64, bool) { return float64(c.MaxCalls), true })},
	{"root_rotation_last_timestamp_seconds", "When rotate-root last succeeded.", ofConfig(func(c *Config) (float64, bool) { return ofTime(c.RootLast) })},
	{"root_rotation_next_timestamp_seconds", "When rotate-root is due next. In the past if it is overdue.", ofConfig(func(c *Config) (float64, bool) { return ofTime(c.RootNext) })},
	{"root_rotation_failures", "Failures of rotate-root since it last succeeded.", ofConfig(func(c *Config) (float64, bool) { return float64(c.RootFailures), true })},
	{"root_rotation_unresolved", "1 if it is unknown which password ECGrid has after a rotate-root, else 0.", ofConfig(func(c *Config) (float64, bool) { return ofBool(!c.UnresolvedSince.IsZero()), true })},
	{"root_rotation_unresolved_since_timestamp_seconds", "When the unresolved rotate-root was sent.", ofConfig(func(c *Config) (float64, bool) { return ofTime(c.UnresolvedSince) })},
	{"role_rotation_last_timestamp_seconds", "The latest rotation of the roles.", ofRoles(func(r *Roles) (float64, bool) { return ofTime(r.Last) })},
	{"role_rotation_next_timestamp_seconds", "The earliest scheduled rotation of the roles. In the past if it is overdue.", ofRoles(func(r *Roles) (float64, bool) { return ofTime(r.Next) })},
	{"roles_scheduled", "Roles with a scheduled rotation.", ofRoles(func(r *Roles) (float64, bool) { return float64(r.Scheduled), !r.Incomplete })},
	{"roles_overdue", "Roles whose scheduled rotation is overdue.", ofRoles(func(r *Roles) (float64, bool) { return float64(r.Overdue), !r.Incomplete })},
	{"roles_failing", "Roles whose last scheduled rotation failed.", ofRoles(func(r *Roles) (float64, bool) { return float64(r.Failing), !r.Incomplete })},
	{"counted_leases", "Leases after whose end a key is replaced (rotate_on_revoke).", func(s State) (float64, bool) {
		if s.CountedLeases == nil {
			return 0, false
		}
		return float64(*s.CountedLeases), true
	}},
}

func ofConfig(value func(*Config) (float64, bool)) func(State) (float64, bool) {
	return func(s State) (float64, bool) {
		if s.Config == nil {
			return 0, false
		}
		return value(s.Config)
	}
}

func ofRoles(value func(*Roles) (float64, bool)) func(State) (float64, bool) {
	return func(s State) (float64, bool) {
		if s.Roles == nil {
			return 0, false
		}
		return value(s.Roles)
	}
}

func ofTime(t time.Time) (float64, bool) { return timestamp(t), !t.IsZero() }

func ofBool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// stateCollector makes the metrics of a State, for one scrape.
type stateCollector State

// Describe implements prometheus.Collector. It describes nothing: what is collected varies.
func (stateCollector) Describe(chan<- *prometheus.Desc) {}

var configInfo = prometheus.NewDesc(prefix+"config_info", "The transport and the kind of credential in config. The value is always 1.", []string{"transport", "auth_method"}, nil)

// Collect implements prometheus.Collector.
func (s stateCollector) Collect(to chan<- prometheus.Metric) {
	for _, g := range gauges {
		if value, known := g.value(State(s)); known {
			to <- prometheus.MustNewConstMetric(prometheus.NewDesc(prefix+g.name, g.help, nil, nil), prometheus.GaugeValue, value)
		}
	}
	if c := s.Config; c != nil {
		to <- prometheus.MustNewConstMetric(configInfo, prometheus.GaugeValue, 1, c.Transport, c.AuthMethod)
	}
}
