package backend

import (
	"testing"
	"time"
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
		"to the rotation":              {role: Role{TTL: 2 * time.Hour, Schedule: hourly, Rotation: in(30 * time.Minute)}, want: 30 * time.Minute},
		"before the rotation":          {role: Role{TTL: time.Minute, Schedule: hourly, Rotation: in(30 * time.Minute)}, want: time.Minute},
		"the rotation is put off":      {role: Role{TTL: 2 * time.Hour, Schedule: hourly, Rotation: Rotation{Next: now, NotBefore: now.Add(3 * time.Minute)}}, want: 3 * time.Minute},
		"overdue":                      {role: Role{Schedule: hourly, Rotation: in(-time.Minute)}, want: 10 * time.Second},
		"overdue, a short ttl":         {role: Role{TTL: 5 * time.Second, Schedule: hourly, Rotation: in(-time.Minute)}, want: 5 * time.Second},
		"due now":                      {role: Role{Schedule: hourly, Rotation: in(0)}, want: 10 * time.Second},
		"half a second before":         {role: Role{Schedule: hourly, Rotation: in(500 * time.Millisecond)}, want: 10 * time.Second},
		"a schedule":                   {role: Role{TTL: time.Minute, Schedule: daily, Rotation: in(15 * time.Hour)}, want: 15*time.Hour + time.Minute},
		"a schedule, overdue":          {role: Role{TTL: 10 * time.Second, Schedule: daily, Rotation: in(-time.Second)}, want: time.Minute},
		"a schedule that never comes":  {role: Role{TTL: time.Minute, Schedule: Schedule{Cron: "0 0 31 2 *"}}, want: time.Minute},
		"a schedule, its window ended": {role: Role{Schedule: windowed, Rotation: in(-2 * time.Hour)}, want: time.Minute},
	} {
		if got := tt.config.staticTTL(tt.role, now); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}
