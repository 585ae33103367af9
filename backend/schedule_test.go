// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// Omitted fields stay. A schedule has a period or a cron expression in UTC.
func TestSchedulePatch(t *testing.T) {
	t.Parallel()
	const nightly = "0 3 * * *"
	hour, none := ptr(time.Hour), ptr(time.Duration(0))
	for name, tt := range map[string]struct {
		old   Schedule
		patch SchedulePatch
		want  *Schedule // nil: refused
	}{
		"nothing":                      {Schedule{}, SchedulePatch{}, &Schedule{}},
		"omitted fields":               {Schedule{Cron: nightly, Window: time.Hour}, SchedulePatch{}, &Schedule{Cron: nightly, Window: time.Hour}},
		"a period":                     {Schedule{}, SchedulePatch{Period: hour}, &Schedule{Period: time.Hour}},
		"the shortest period":          {Schedule{}, SchedulePatch{Period: ptr(time.Minute)}, &Schedule{Period: time.Minute}},
		"a period too short":           {Schedule{}, SchedulePatch{Period: ptr(time.Minute - 1)}, nil},
		"no period":                    {Schedule{Period: time.Hour}, SchedulePatch{Period: none}, &Schedule{}},
		"a schedule":                   {Schedule{}, SchedulePatch{Cron: ptr(nightly)}, &Schedule{Cron: nightly}},
		"a schedule with a window":     {Schedule{}, SchedulePatch{Cron: ptr(nightly), Window: hour}, &Schedule{Cron: nightly, Window: time.Hour}},
		"a window later":               {Schedule{Cron: nightly}, SchedulePatch{Window: hour}, &Schedule{Cron: nightly, Window: time.Hour}},
		"both at once":                 {Schedule{}, SchedulePatch{Period: hour, Cron: ptr(nightly)}, nil},
		"a schedule beside a period":   {Schedule{Period: time.Hour}, SchedulePatch{Cron: ptr(nightly)}, nil},
		"a period beside a schedule":   {Schedule{Cron: nightly}, SchedulePatch{Period: hour}, nil},
		"from period to schedule":      {Schedule{Period: time.Hour}, SchedulePatch{Period: none, Cron: ptr(nightly)}, &Schedule{Cron: nightly}},
		"from schedule to period":      {Schedule{Cron: nightly, Window: time.Hour}, SchedulePatch{Period: hour, Cron: ptr(""), Window: none}, &Schedule{Period: time.Hour}},
		"a window alone":               {Schedule{}, SchedulePatch{Window: hour}, nil},
		"a window beside a period":     {Schedule{Period: time.Hour}, SchedulePatch{Window: hour}, nil},
		"a window too short":           {Schedule{}, SchedulePatch{Cron: ptr(nightly), Window: ptr(time.Hour - time.Second)}, nil},
		"a window without a schedule":  {Schedule{Cron: nightly, Window: time.Hour}, SchedulePatch{Cron: ptr("")}, nil},
		"a window cleared":             {Schedule{Cron: nightly, Window: time.Hour}, SchedulePatch{Window: none}, &Schedule{Cron: nightly}},
		"all cleared":                  {Schedule{Cron: nightly, Window: time.Hour}, SchedulePatch{Cron: ptr(""), Window: none}, &Schedule{}},
		"a time zone alone":            {Schedule{}, SchedulePatch{Cron: ptr("TZ=UTC")}, nil},
		"an empty time zone":           {Schedule{}, SchedulePatch{Cron: ptr("TZ=")}, nil},
		"a cron time zone alone":       {Schedule{}, SchedulePatch{Cron: ptr("CRON_TZ=UTC")}, nil},
		"a time zone":                  {Schedule{}, SchedulePatch{Cron: ptr("TZ=UTC 0 3 * * *")}, nil},
		"a cron time zone":             {Schedule{}, SchedulePatch{Cron: ptr("CRON_TZ=Asia/Tokyo 0 3 * * *")}, nil},
		"a time zone in lower case":    {Schedule{}, SchedulePatch{Cron: ptr(" tz=UTC 0 3 * * *")}, nil},
		"no cron expression":           {Schedule{}, SchedulePatch{Cron: ptr("soon")}, nil},
		"six fields":                   {Schedule{}, SchedulePatch{Cron: ptr("0 0 3 * * *")}, nil},
		"out of range":                 {Schedule{}, SchedulePatch{Cron: ptr("60 3 * * *")}, nil},
		"a descriptor":                 {Schedule{}, SchedulePatch{Cron: ptr("@daily")}, nil},
		"a date that does not exist":   {Schedule{}, SchedulePatch{Cron: ptr("0 0 30 2 *")}, &Schedule{Cron: "0 0 30 2 *"}},
		"a schedule that is too short": {Schedule{}, SchedulePatch{Cron: ptr("0")}, nil},
	} {
		got, err := tt.patch.apply(tt.old)
		if tt.want == nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: got error %v, want ErrInvalid", name, err)
			}
			continue
		}
		if err != nil || got != *tt.want {
			t.Errorf("%s: got %+v and error %v, want %+v", name, got, err, *tt.want)
		}
	}
}

// clock returns a time of day on 1 January 2000 in UTC, when virtual time begins.
func clock(hour, minute, second int) time.Time {
	return time.Date(2000, 1, 1, hour, minute, second, 0, time.UTC)
}

func TestScheduleAfter(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("zone", 5*60*60)
	for name, tt := range map[string]struct {
		schedule Schedule
		from     time.Time
		want     time.Time // zero: never
	}{
		"never":                      {Schedule{}, clock(1, 0, 0), time.Time{}},
		"a period":                   {Schedule{Period: time.Hour}, clock(1, 0, 0), clock(2, 0, 0)},
		"a period, from a zone":      {Schedule{Period: time.Hour}, clock(1, 0, 0).In(zone), clock(2, 0, 0)},
		"a schedule":                 {Schedule{Cron: "30 3 * * *"}, clock(1, 0, 0), clock(3, 30, 0)},
		"a schedule, from a zone":    {Schedule{Cron: "30 3 * * *"}, clock(1, 0, 0).In(zone), clock(3, 30, 0)},
		"a stored zone is ignored":   {Schedule{Cron: "CRON_TZ=Asia/Tokyo 30 3 * * *"}, clock(1, 0, 0), clock(3, 30, 0)},
		"at the very time":           {Schedule{Cron: "30 3 * * *"}, clock(3, 30, 0), clock(3, 30, 0).AddDate(0, 0, 1)},
		"a date that does not exist": {Schedule{Cron: "0 0 30 2 *"}, clock(1, 0, 0), time.Time{}},
		"a leap day":                 {Schedule{Cron: "0 0 29 2 *"}, clock(1, 0, 0), time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)},
		"a stored invalid schedule":  {Schedule{Cron: "soon"}, clock(1, 0, 0), time.Time{}},
	} {
		got := tt.schedule.after(tt.from)
		if !got.Equal(tt.want) || got.Location() != time.UTC {
			t.Errorf("%s: got %s, want %s in UTC", name, got, tt.want)
		}
	}
}

func TestJitter(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		schedule Schedule
		fraction float64
		want     time.Duration
	}{
		"none":           {Schedule{Period: time.Hour}, 0, 0},
		"a twentieth":    {Schedule{Period: time.Hour}, 1, 3 * time.Minute},
		"half of it":     {Schedule{Period: time.Hour}, 0.5, 90 * time.Second},
		"at most":        {Schedule{Period: 1000 * time.Hour}, 1, maxJitter},
		"of the window":  {Schedule{Cron: "0 3 * * *", Window: time.Hour}, 1, 3 * time.Minute},
		"no window":      {Schedule{Cron: "0 3 * * *"}, 1, 0},
		"a short period": {Schedule{Period: time.Minute}, 1, 3 * time.Second},
	} {
		if got := tt.schedule.jitter(tt.fraction); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	hourly, nightly := Schedule{Period: time.Hour}, Schedule{Cron: "0 3 * * *", Window: time.Hour}
	failing := Rotation{Last: clock(0, 0, 0), LastError: "x", Failures: 3}
	now := clock(1, 30, 0)
	for name, tt := range map[string]struct {
		got, want Rotation
	}{
		"plan counts from now":             {failing.plan(hourly, now, 1), Rotation{clock(0, 0, 0), clock(2, 30, 0), clock(2, 33, 0), "x", 3}},
		"plan of never":                    {Rotation{Next: now, NotBefore: now}.plan(Schedule{}, now, 1), Rotation{}},
		"replan counts from the last":      {Rotation{Last: clock(1, 0, 0)}.reschedule(hourly, now, 0), Rotation{Last: clock(1, 0, 0), Next: clock(2, 0, 0), NotBefore: clock(2, 0, 0)}},
		"replan may be due at once":        {failing.reschedule(hourly, now, 0), Rotation{clock(0, 0, 0), clock(1, 0, 0), clock(1, 0, 0), "x", 3}},
		"replan without a last":            {Rotation{}.reschedule(hourly, now, 0), Rotation{Next: clock(2, 30, 0), NotBefore: clock(2, 30, 0)}},
		"replan of a schedule is from now": {failing.reschedule(nightly, now, 1), Rotation{clock(0, 0, 0), clock(3, 0, 0), clock(3, 3, 0), "x", 3}},
		"replan of never keeps the last":   {Rotation{Last: now, Next: now}.reschedule(Schedule{}, now, 0), Rotation{Last: now}},
		"success forgets the failures":     {failing.succeeded(hourly, now, 0), Rotation{Last: now, Next: clock(2, 30, 0), NotBefore: clock(2, 30, 0)}},
		"success without a schedule":       {failing.succeeded(Schedule{}, now, 0), Rotation{Last: now}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, tt.got, tt.want)
		}
	}
	local := now.In(time.FixedZone("zone", 5*60*60))
	for _, r := range []Rotation{failing.succeeded(hourly, local, 0), failing.failed("x", local)} {
		if r.Last.Location() != time.UTC || r.NotBefore.Location() != time.UTC {
			t.Errorf("not in UTC: %+v", r)
		}
	}
}

// The pauses after failures double from a minute to an hour.
func TestBackoff(t *testing.T) {
	t.Parallel()
	now := clock(1, 0, 0)
	r := Rotation{Last: clock(0, 0, 0), Next: now}
	var waits []string
	for i := range 70 {
		r = r.failed("why", now)
		if i < 8 {
			waits = append(waits, r.NotBefore.Sub(now).String())
		}
		if wait := r.NotBefore.Sub(now); wait < firstRetry || wait > maxRetry {
			t.Fatalf("the pause after %d failures is %s", i+1, wait)
		}
	}
	if got := strings.Join(waits, " "); got != "1m0s 2m0s 4m0s 8m0s 16m0s 32m0s 1h0m0s 1h0m0s" {
		t.Errorf("the pauses are %s", got)
	}
	if r.LastError != "why" || r.Failures != 70 || !r.Next.Equal(now) || !r.Last.Equal(clock(0, 0, 0)) {
		t.Errorf("wrong state after 70 failures: %+v", r)
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	period, windowed, open := Schedule{Period: time.Hour}, Schedule{Cron: "0 3 * * *", Window: time.Hour}, Schedule{Cron: "0 3 * * *"}
	three := Rotation{Next: clock(3, 0, 0), NotBefore: clock(3, 2, 0)}
	for name, tt := range map[string]struct {
		schedule    Schedule
		rotation    Rotation
		now         time.Time
		due, missed bool
	}{
		"never":                     {Schedule{}, Rotation{}, clock(3, 0, 0), false, false},
		"never, with a window":      {windowed, Rotation{}, clock(3, 0, 0), false, false},
		"too early":                 {period, three, clock(2, 59, 59), false, false},
		"within the jitter":         {period, three, clock(3, 1, 59), false, false},
		"after the jitter":          {period, three, clock(3, 2, 0), true, false},
		"not before it is time":     {period, Rotation{Next: clock(3, 0, 0), NotBefore: clock(2, 0, 0)}, clock(2, 30, 0), false, false},
		"late":                      {period, three, clock(23, 0, 0), true, false},
		"late, no window":           {open, three, clock(23, 0, 0), true, false},
		"within its window":         {windowed, three, clock(3, 2, 0), true, false},
		"at the end of the window":  {windowed, three, clock(3, 59, 59), true, false},
		"the window is over":        {windowed, three, clock(4, 0, 0), false, true},
		"postponed past its window": {windowed, Rotation{Next: clock(3, 0, 0), NotBefore: clock(4, 30, 0)}, clock(4, 15, 0), false, true},
		"postponed in its window":   {windowed, Rotation{Next: clock(3, 0, 0), NotBefore: clock(3, 30, 0)}, clock(3, 15, 0), false, false},
		"before its window":         {windowed, three, clock(1, 0, 0), false, false},
	} {
		if due, missed := tt.rotation.isDue(tt.schedule, tt.now), tt.rotation.isMissed(tt.schedule, tt.now); due != tt.due || missed != tt.missed {
			t.Errorf("%s: due %t, missed %t, want %t and %t", name, due, missed, tt.due, tt.missed)
		}
	}
}

func TestTimeLeft(t *testing.T) {
	t.Parallel()
	next := Rotation{Next: clock(3, 0, 0), NotBefore: clock(3, 5, 0)}
	for name, tt := range map[string]struct {
		rotation Rotation
		now      time.Time
		want     time.Duration // 0: no end
	}{
		"no rotation":       {Rotation{Last: clock(1, 0, 0)}, clock(2, 0, 0), 0},
		"until the next":    {next, clock(2, 0, 0), time.Hour},
		"in whole seconds":  {next, clock(2, 59, 0).Add(time.Millisecond), 59 * time.Second},
		"never 0":           {next, clock(3, 0, 0).Add(-time.Millisecond), time.Second},
		"overdue":           {next, clock(3, 0, 0), time.Minute},
		"overdue for hours": {next, clock(20, 0, 0), time.Minute},
		"postponed":         {Rotation{Next: clock(3, 0, 0), NotBefore: clock(4, 0, 0)}, clock(3, 30, 0), time.Minute},
	} {
		if got, ends := tt.rotation.timeLeft(tt.now); got != tt.want || ends != (tt.want != 0) {
			t.Errorf("%s: got %s, ends %t, want %s", name, got, ends, tt.want)
		}
	}
}

// An accepted schedule never panics, and its next time is in the future or never.
func TestRandomCron(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	parts := []string{"*", "0", "7", "59", "60", "31", "30", "2", "/", "-", ",", "?", "L", "W", "#", "SUN", "feb", "@every 1s", "@daily", "TZ=", "CRON_TZ=UTC ", " ", " ", " ", " ", "\t", "99999999999999999999", "*/0", "0-0", "5-1", "é", "\x00"}
	now := time.Date(2027, 2, 28, 23, 59, 59, 0, time.UTC)
	for range 30_000 {
		cron := ""
		for range 1 + r.IntN(12) {
			cron += parts[r.IntN(len(parts))]
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%q panics: %v", cron, p)
				}
			}()
			s, err := SchedulePatch{Cron: ptr(cron)}.apply(Schedule{})
			if err != nil {
				return
			}
			if next := s.after(now); !next.IsZero() && !next.After(now) {
				t.Errorf("the next time of %q is %s, want one after %s", cron, next, now)
			}
		}()
	}
}
