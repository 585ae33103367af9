// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The TTL is the time to the next rotation, or the ttl of role or config if that is sooner.
// That of a schedule always falls from read to read, and ends after the rotation.
func TestStaticTTL(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	in := func(d time.Duration) Rotation { return Rotation{Next: now.Add(d), NotBefore: now.Add(d)} }
	hourly, daily := Schedule{Period: time.Hour}, Schedule{Cron: "0 3 * * *"}
	windowed := Schedule{Cron: "0 3 * * *", Window: time.Hour}
	for name, tt := range map[string]struct {
		config Config
		role   Role
		want   time.Duration
	}{
		"nothing":                      {want: time.Hour},
		"the config's":                 {config: Config{TTL: 5 * time.Minute}, want: 5 * time.Minute},
		"the role's":                   {config: Config{TTL: 5 * time.Minute}, role: Role{TTL: time.Minute}, want: time.Minute},
		"the role's max_ttl":           {config: Config{TTL: 5 * time.Minute}, role: Role{MaxTTL: time.Minute}, want: time.Minute},
		"the config's max_ttl":         {config: Config{MaxTTL: time.Minute}, want: time.Minute},
		"to the rotation":              {role: Role{TTL: 2 * time.Hour, Schedule: hourly, Rotation: in(30 * time.Minute)}, want: 30 * time.Minute},
		"before the rotation":          {role: Role{TTL: time.Minute, Schedule: hourly, Rotation: in(30 * time.Minute)}, want: time.Minute},
		"the rotation is put off":      {role: Role{TTL: 2 * time.Hour, Schedule: hourly, Rotation: Rotation{Next: now, NotBefore: now.Add(3 * time.Minute)}}, want: 3 * time.Minute},
		"overdue":                      {role: Role{Schedule: hourly, Rotation: in(-time.Minute)}, want: 10 * time.Second},
		"overdue, a short ttl":         {role: Role{TTL: 5 * time.Second, Schedule: hourly, Rotation: in(-time.Minute)}, want: 5 * time.Second},
		"due now":                      {role: Role{Schedule: hourly, Rotation: in(0)}, want: 10 * time.Second},
		"half a second before":         {role: Role{Schedule: hourly, Rotation: in(500 * time.Millisecond)}, want: 10 * time.Second},
		"a schedule":                   {role: Role{TTL: time.Minute, Schedule: daily, Rotation: in(15 * time.Hour)}, want: 15*time.Hour + time.Minute},
		"a schedule, overdue":          {role: Role{TTL: 10 * time.Second, Schedule: daily, Rotation: in(-time.Second)}, want: 2 * time.Second},
		"a schedule, a try failed":     {role: Role{Schedule: daily, Rotation: Rotation{Next: now.Add(-time.Hour), NotBefore: now.Add(time.Hour), Failures: 1}}, want: 2 * time.Second},
		"failures of a missed window":  {role: Role{Schedule: windowed, Rotation: Rotation{Next: now.Add(time.Hour), NotBefore: now.Add(time.Hour), Failures: 3}}, want: time.Hour + time.Minute},
		"a schedule that never comes":  {role: Role{TTL: time.Minute, Schedule: Schedule{Cron: "0 0 31 2 *"}}, want: time.Minute},
		"a schedule, its window ended": {role: Role{Schedule: windowed, Rotation: in(-2 * time.Hour)}, want: 2 * time.Second},
	} {
		if got := tt.config.staticTTL(tt.role, now); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// operator decides when to read again as the Vault Secrets Operator does, by its source: it
// keeps the TTL of the read that changed the key. An answer after that rotation is an error if
// its TTL is at most 2 seconds or did not fall, and is read again.
type operator struct {
	key  string
	last time.Time
	ttl  time.Duration
}

func (o *operator) read(t *testing.T, e *Engine) (pause time.Duration) {
	t.Helper()
	c := readStatic(t, e)
	if c.APIKey == o.key && c.LastRotation.Equal(o.last) && (c.TTL <= 2*time.Second || c.TTL >= o.ttl) {
		return 5 * time.Second
	}
	if c.APIKey != o.key {
		*o = operator{c.APIKey, c.LastRotation, c.TTL}
	}
	return o.ttl
}

func readStatic(t *testing.T, e *Engine) StaticCreds {
	t.Helper()
	c, err := e.ReadStaticCreds(t.Context(), "a")
	check(t, err)
	return c
}

// A scheduled rotation that is late reaches the operator soon after it.
func TestOperatorAndLateRotation(t *testing.T) {
	for name, late := range map[string]func(f *fakeECGrid) (mend func()){
		"first try denied": func(f *fakeECGrid) func() {
			f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			return func() { f.failWith("GenerateAPIKey", nil) }
		},
		"unconfirmed, applied late": func(f *fakeECGrid) func() {
			f.applyAfter = []time.Duration{100 * time.Second}
			return func() {}
		},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 3 * * *")}})
			o, next := &operator{}, time.Now()
			operate := func(d time.Duration) {
				for range d / time.Second {
					if !time.Now().Before(next) {
						next = time.Now().Add(o.read(t, e))
					}
					time.Sleep(time.Second)
				}
			}
			operate(time.Until(readRole(t, e, "a").Rotation.Next))
			first, mend := o.key, late(f)
			e.Tick(t.Context())
			operate(90 * time.Second) // the operator reads after a minute
			mend()
			for readStatic(t, e).APIKey == first {
				e.Tick(t.Context())
				operate(time.Minute)
			}
			if o.key != readStatic(t, e).APIKey {
				t.Error("the operator has a dead key a minute after the rotation")
			}
		})
	}
}

// A schedule whose time never comes is answered as a period: the operator refuses a TTL of a
// schedule that does not fall.
func TestScheduleThatNeverComes(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, _ := configured(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 0 31 2 *")}})
		if c := readStatic(t, e); c.Schedule != (Schedule{Period: time.Hour}) || c.TTL != time.Hour {
			t.Errorf("schedule %+v, TTL %s", c.Schedule, c.TTL)
		}
	})
}

// A role of a build without Since gets it at the next write.
func TestStaticCredsOfAnOldRole(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, _ := configured(t)
		check(t, e.store.putRole(t.Context(), "a", Role{UserID: 5001}))
		writeRole(t, e, "a", RolePatch{TTL: ptr(time.Minute)})
		if readStatic(t, e).LastRotation.IsZero() {
			t.Error("there is no last rotation")
		}
	})
}
