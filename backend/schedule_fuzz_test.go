// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"testing"
	"time"
)

// FuzzSchedule writes any cron expression. One that is accepted has only times in the future,
// in whole minutes, and none is found twice.
func FuzzSchedule(f *testing.F) {
	for _, cron := range []string{
		"0 3 * * SAT", "*/5 1-3,7 ? JAN-MAR MON", "0 0 30 2 *", "TZ=UTC 0 3 * * *", "TZ=UTC", "@daily", "@every 1s", "* * * * * *", "60 * * * *",
		"*/0 * * * *", "5-1 * * * *", "0 0 29 2 *", "59 23 31 12 6", "", " ", "\x00", "*/99999999999999999999 * * * *", "0-59/59 * L * *",
	} {
		f.Add(cron, int64(1_900_000_000), int64(0))
		f.Add(cron, int64(0), int64(7200))
	}
	f.Fuzz(func(t *testing.T, cron string, unix, window int64) {
		if unix < 0 || unix > 1<<34 || window < 0 || window > 1<<30 {
			return
		}
		length := time.Duration(window) * time.Second
		s, err := SchedulePatch{Cron: &cron, Window: &length}.apply(Schedule{})
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", cron, err)
			}
			return
		}
		if again, err := (SchedulePatch{Cron: &s.Cron, Window: &s.Window}).apply(Schedule{}); err != nil || again != s {
			t.Errorf("%q: what is stored is not accepted: %v", cron, err)
		}
		from := time.Unix(unix, 0)
		for range 3 {
			next := s.after(from)
			if next.IsZero() {
				return // no such day
			}
			if !next.After(from) || next.Second() != 0 || next.Nanosecond() != 0 || next.Location() != time.UTC {
				t.Fatalf("%q: after %v comes %v", cron, from, next)
			}
			from = next
		}
	})
}
