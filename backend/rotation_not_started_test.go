// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// anyDuration is a time that is left, such as 14m48s.
var anyDuration = regexp.MustCompile(`\b(\d+h)?\d+m\d+s\b|\b\d+s\b`)

// wantLasting checks that a stored message says until when to wait, and not for how long.
func wantLasting(t *testing.T, message string, until time.Time) {
	t.Helper()
	if at := "until " + until.UTC().Format(time.RFC3339) + ": "; !strings.Contains(message, at) || anyDuration.MatchString(message) {
		t.Errorf("the stored message has not %q, or has a duration: %q", at, message)
	}
}

// refuseTwice returns when rotate-root may start after two Logins that ECGrid refused. The
// session works then.
func refuseTwice(t *testing.T, f *fakeECGrid, e *Engine) time.Time {
	t.Helper()
	f.set(func() { clear(f.sessions) })
	f.failWith(opLogin, ecgrid.ErrAccessDenied)
	first := time.Now()
	failedRead(t, e, 5001)
	time.Sleep(2 * time.Second)
	failedRead(t, e, 5001)
	f.failWith(opLogin, nil)
	time.Sleep(2 * time.Minute)
	readKey(t, e, 5001)
	return ceilSecond(first.Add(f.latency + 15*time.Minute))
}

// ceilSecond rounds a time up to a second.
func ceilSecond(at time.Time) time.Time { return at.Add(time.Second - 1).Truncate(time.Second) }

// A rotate-root that is not started is no failure. Its error says when it may start.
func TestRotateRootNotStarted(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, withSchedule)
		before := storedConfig(t, e).Root
		until := refuseTwice(t, f, e)
		_, err := e.RotateRoot(t.Context())
		wantErr(t, err, session.ErrTooSoon)
		left := time.Until(until).Truncate(time.Second).String() // the refusal was not at a full second
		if _, message, _ := Describe(err); !strings.Contains(message, "; wait for "+left+" more, until "+until.UTC().Format(time.RFC3339)) {
			t.Errorf("the answer has no wait of %s until %s: %q", left, until, message)
		}
		root := storedConfig(t, e).Root
		wantLasting(t, root.LastError, until)
		if root.Failures != 0 || root.NotBefore.After(before.Next) || !root.Next.Equal(before.Next) {
			t.Errorf("the schedule was %+v and is %+v", before, root)
		}
		wantSamples(t, e, map[string]float64{
			rotations("root", "manual", "not-started"): 1, rotations("root", "manual", "failed"): 0, "root_rotation_failures": 0,
		})
	})
}

// A scheduled rotate-root that is not started begins when it may, and not earlier.
func TestScheduledRotateRootNotStarted(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, withSchedule)
		time.Sleep(time.Until(storedConfig(t, e).Root.Next))
		until := refuseTwice(t, f, e)
		tickFor(t, e, time.Until(until)-time.Second)
		root := storedConfig(t, e).Root
		if root.Failures != 0 || !root.NotBefore.Equal(until) {
			t.Errorf("%d failures, next try at %s, want %s", root.Failures, root.NotBefore, until)
		}
		wantSamples(t, e, map[string]float64{rotations("root", "schedule", "not-started"): 1, "root_rotation_failures": 0})
		checkChanges(t, f, 0)
		tickFor(t, e, 2*time.Minute)
		checkChanges(t, f, 1)
		wantSamples(t, e, map[string]float64{rotations("root", "schedule", "ok"): 1, rotations("root", "schedule", "failed"): 0})
	})
}

// A try that is not started changes no back-off that is longer.
func TestNotStartedKeepsLongerPause(t *testing.T) {
	t.Parallel()
	now := clock(12, 0, 0)
	failing := Rotation{Next: now, NotBefore: clock(13, 0, 0), LastError: "x", Failures: 3}
	if got := failing.notStarted("later", clock(12, 15, 0)); !got.NotBefore.Equal(clock(13, 0, 0)) || got.Failures != 3 || got.LastError != "later" {
		t.Errorf("%+v", got)
	}
	if got := failing.notStarted("later", clock(13, 15, 0)); !got.NotBefore.Equal(clock(13, 15, 0)) || got.Failures != 3 {
		t.Errorf("%+v", got)
	}
}

// A role's rotation that cannot log in during a pause is not started either, and its reader
// waits as after a failure.
func TestRoleRotationNotStarted(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 * * * *")}})
		time.Sleep(time.Until(readRole(t, e, "a").Rotation.NotBefore))
		f.failWith(opLogin, ecgrid.ErrAccessDenied)
		first := time.Now()
		for range 3 {
			failedRead(t, e, 5001)
			time.Sleep(61 * time.Second)
		}
		tickFor(t, e, time.Minute)
		until := ceilSecond(first.Add(f.latency + 15*time.Minute))
		r := readRole(t, e, "a")
		wantLasting(t, r.Rotation.LastError, until)
		if r.Rotation.Failures != 0 || r.Rotation.NotBefore.Before(until) {
			t.Errorf("%d failures, next try at %s, want %s", r.Rotation.Failures, r.Rotation.NotBefore, until)
		}
		wantSamples(t, e, map[string]float64{rotations("key", "schedule", "not-started"): 1, "roles_failing": 0, "roles_overdue": 1})
		if ttl := storedConfig(t, e).staticTTL(r, time.Now()); ttl != overdueScheduleTTL {
			t.Errorf("the reader waits %s", ttl)
		}
		f.failWith(opLogin, nil)
		tickFor(t, e, time.Until(until)+2*time.Minute)
		checkChanges(t, f, 1)
	})
}

// An unresolved rotate-root stores until when logins are paused.
func TestUnresolvedInPause(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := unresolved(t, false)
		f.set(func() { clear(f.fail); f.password = "another" })
		tickFor(t, e, 10*time.Minute)
		message := storedConfig(t, e).Root.LastError
		if anyDuration.MatchString(message) || !regexp.MustCompile(`logins are paused until 2000-01-01T00:\d\d:\d\dZ: \d logins failed`).MatchString(message) {
			t.Errorf("last_root_rotation_error is %q", message)
		}
	})
}
