// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func rotations(kind, reason, outcome string) string {
	return fmt.Sprintf("rotations_total{kind=%q,outcome=%q,reason=%q}", kind, outcome, reason)
}

func TestMeasuredRotations(t *testing.T) {
	runMetricsCases(t, map[string]metricsCase{
		"none": {do: func(*testing.T, *fakeECGrid, *Engine) {}, want: map[string]float64{
			rotations("root", "settled", "ok"): 0, rotations("key", "lease-end", "unconfirmed"): 0,
			rotations("root", "lease-end", "ok"): -1,
		}},
		"rotate-key": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { check(t, errOf(e.RotateKey(t.Context(), 5001))) },
			want: map[string]float64{rotations("key", "manual", "ok"): 1}},
		"rotate-key, refused": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opGenerateAPIKey, ecgrid.ErrAccessDenied)
			wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), ecgrid.ErrAccessDenied)
		}, want: map[string]float64{rotations("key", "manual", "failed"): 1, rotations("key", "manual", "ok"): 0}},
		"rotate-key, unconfirmed": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opGenerateAPIKey, ecgrid.ErrTimeout)
			wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), ErrKeyUnconfirmed)
		}, want: map[string]float64{rotations("key", "manual", "unconfirmed"): 1, rotations("key", "manual", "failed"): 0}},
		"the last lease ends": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			writeRole(t, e, "counted", RolePatch{RotateOnRevoke: ptr(true)})
			revokeLeases(t, e, issueCreds(t, e, "counted"))
		}, want: map[string]float64{rotations("key", "lease-end", "ok"): 1}},
		"a schedule": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			writeRole(t, e, "hourly", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
			tickFor(t, e, 70*time.Minute)
		}, want: map[string]float64{rotations("key", "schedule", "ok"): 1, "roles_scheduled": 1, "roles_overdue": 0, "roles_failing": 0}},
		"rotate-root, by schedule": {config: withSchedule, do: func(t *testing.T, f *fakeECGrid, e *Engine) { tickFor(t, e, 70*time.Minute) },
			want: map[string]float64{rotations("root", "schedule", "ok"): 1, "root_rotation_failures": 0}},
		"rotate-root, settled": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.set(func() { f.lost[opChangePassword] = ecgrid.ErrTimeout })
			wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
			f.set(func() { delete(f.lost, opChangePassword) })
			tickFor(t, e, 2*time.Minute)
		}, want: map[string]float64{
			rotations("root", "manual", "unconfirmed"): 1, rotations("root", "settled", "ok"): 1, rotations("root", "manual", "ok"): 0,
			"root_rotation_unresolved": 0, "root_rotation_unresolved_since_timestamp_seconds": -1,
		}},
	})
}

// Virtual time begins at midnight UTC, 1 January 2000.
const virtualStart = 946684800.

func TestMeasuredRootState(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		_, e, _ := unresolved(t, true)
		wantSamples(t, e, map[string]float64{
			"root_rotation_unresolved": 1, "root_rotation_failures": 1,
			"root_rotation_last_timestamp_seconds": -1, "root_rotation_next_timestamp_seconds": -1,
		})
		since, ok := sample(t, e, "root_rotation_unresolved_since_timestamp_seconds")
		if !ok || since < virtualStart || since > virtualStart+1 {
			t.Errorf("unresolved since %v", since)
		}
	})
	t.Run("scheduled", func(t *testing.T) {
		runVirtual(t, func(t *testing.T) {
			_, e, _ := configured(t, withSchedule)
			wantSamples(t, e, map[string]float64{"root_rotation_next_timestamp_seconds": virtualStart + 3600, "root_rotation_last_timestamp_seconds": -1})
			check(t, errOf(e.RotateRoot(t.Context())))
			if last, ok := sample(t, e, "root_rotation_last_timestamp_seconds"); !ok || last < virtualStart || last > virtualStart+1 {
				t.Errorf("last rotation at %v", last)
			}
		})
	})
}

// The state of the roles and of the counted leases is known after the first round, also in
// the next process.
func TestMeasuredRoles(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		for name, userID := range map[string]int32{"a": 5001, "b": 5002} {
			writeRole(t, e, name, RolePatch{UserID: &userID, Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		}
		writeRole(t, e, "counted", RolePatch{RotateOnRevoke: ptr(true)})
		issueCreds(t, e, "counted")
		wantSamples(t, e, map[string]float64{"roles_scheduled": -1, "counted_leases": -1})
		tickFor(t, e, time.Minute)
		wantSamples(t, e, map[string]float64{
			"roles_scheduled": 2, "roles_overdue": 0, "roles_failing": 0, "counted_leases": 1,
			"role_rotation_next_timestamp_seconds": virtualStart + 3600, "role_rotation_last_timestamp_seconds": -1,
		})
		f.failWith(opGenerateAPIKey, ecgrid.ErrAccessDenied)
		tickFor(t, e, 65*time.Minute)
		failing := map[string]float64{
			"roles_scheduled": 2, "roles_overdue": 2, "roles_failing": 2, "role_rotation_next_timestamp_seconds": virtualStart + 3600,
		}
		wantSamples(t, e, failing)

		next := testEngine(t, f, storage)
		wantSamples(t, next, map[string]float64{"roles_scheduled": -1, "counted_leases": -1})
		tickFor(t, next, time.Minute)
		wantSamples(t, next, failing)
		check(t, errOf(f, next.DeleteRole(t.Context(), "a")))
		wantSamples(t, next, map[string]float64{"roles_scheduled": 1, "roles_failing": 1, "counted_leases": 1})
		f.failWith(opGenerateAPIKey, nil)
		tickFor(t, next, 2*time.Hour)
		wantSamples(t, next, map[string]float64{"roles_overdue": 0, "roles_failing": 0})
		if last, ok := sample(t, next, "role_rotation_last_timestamp_seconds"); !ok || last < virtualStart+3600 {
			t.Errorf("last rotation at %v", last)
		}
	})
}

// What is not known of the roles is missing: nothing of roles that cannot be read, and no number
// of roles if one of them cannot be read.
func TestMetricsOfUnreadRoles(t *testing.T) {
	counts := []string{"roles_scheduled", "roles_overdue", "roles_failing"}
	t.Parallel()
	for name, tt := range map[string]struct {
		unread string // the prefix of what cannot be read
		next   float64
	}{
		"all": {rolePrefix, -1},
		"one": {rolePrefix + "a", virtualStart + 2*3600},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			for role, period := range map[string]time.Duration{"a": time.Hour, "b": 2 * time.Hour} {
				writeRole(t, e, role, RolePatch{Schedule: SchedulePatch{Period: &period}})
			}
			time.Sleep(100 * time.Minute) // one is overdue
			e.Close()
			fails := true
			next, _ := startProcess(t, f, storage, func(s step) error {
				if fails && strings.HasPrefix(s.key, tt.unread) && s.key != rolePrefix {
					return errors.New("storage fails")
				}
				return nil
			})
			next.Tick(t.Context())
			for _, series := range counts {
				wantSamples(t, next, map[string]float64{series: -1})
			}
			wantSamples(t, next, map[string]float64{"role_rotation_next_timestamp_seconds": tt.next})
			fails = false
			next.Tick(t.Context())
			wantSamples(t, next, map[string]float64{"roles_scheduled": 2, "roles_failing": 0})
		})
	}
}

// A role that is read while it is written does not replace what was written.
func TestRoleReadDuringWrite(t *testing.T) {
	t.Parallel()
	a := newAgenda()
	scheduled := &Role{Rotation: Rotation{Next: time.Now()}}
	a.roles.reload("a")
	a.roles.listed = true
	a.roles.set("a", scheduled.Rotation.Next)
	a.rotations.written("a", scheduled)
	a.rotations.read("a", nil) // what was stored before
	if n := a.rotations.sum(time.Now()).Scheduled; n != 1 {
		t.Errorf("%d roles, want the one that was written", n)
	}
}

// BenchmarkScrape is a scrape of a mount with 10,000 roles.
func BenchmarkScrape(b *testing.B) {
	e := New(Options{Storage: new(logical.InmemStorage), Clock: SystemClock{}, Random: rand.Reader, Logger: hclog.NewNullLogger()})
	e.store.agenda.roles.listed = true
	for i := range 10_000 {
		e.store.agenda.rotations.written(strconv.Itoa(i), &Role{Rotation: Rotation{Next: time.Now().Add(time.Hour)}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Metrics(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
