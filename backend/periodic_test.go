// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// If ECGrid cannot be used at all, a round stops after the first role. The other roles
// record no failure.
func TestRoundStopsAtSystemicFailure(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op    string
		kind  error
		tried int // of three roles
	}{
		"unreachable":   {"Login", ecgrid.ErrUnreachable, 1},
		"too slow":      {"UserGetAPIKey", ecgrid.ErrTimeout, 1},
		"login refused": {"Login", ecgrid.ErrAuthentication, 1},
		"denied":        {"GenerateAPIKey", ecgrid.ErrAccessDenied, 3},
		"server fault":  {"GenerateAPIKey", ecgrid.ErrServerFault, 3},
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			f.set(func() { f.keys[5003] = "key-5003" })
			names := map[string]int32{"a": 5001, "b": 5002, "c": 5003}
			for name, userID := range names {
				writeRole(t, e, name, RolePatch{UserID: &userID, Schedule: SchedulePatch{Period: ptr(time.Hour)}})
			}
			f.failWith(tt.op, tt.kind)
			time.Sleep(2 * time.Hour)
			e.Tick(t.Context())
			failed := 0
			for name := range names {
				if readRole(t, e, name).Rotation.LastError != "" {
					failed++
				}
			}
			checkCalls(t, f, tt.op, tt.tried)
			if failed != tt.tried {
				t.Errorf("%d roles recorded a failure, want %d", failed, tt.tried)
			}
			f.failWith(tt.op, nil)
			tickFor(t, e, 5*time.Minute)
			checkChanges(t, f, 3)
		})
	}
}

// Each step of a round is broken. The next rounds complete it: the role's key is replaced
// once, and that is recorded.
func TestTickEachStepBroken(t *testing.T) {
	t.Parallel()
	breakEachStep(t, 20, func(t *testing.T, b *breakage) {
		f, e, storage := configured(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(100 * time.Hour)}})
		time.Sleep(101 * time.Hour)
		e, killed := b.run(t, f, storage, func(e *Engine) { e.Tick(context.Background()) })
		if killed {
			e = testEngine(t, f, storage)
		}
		tickFor(t, e, 10*time.Minute)
		r := readRole(t, e, "a")
		if len(f.now().changes) != 1 || r.Rotation.Last.IsZero() || r.Rotation.LastError != "" || r.Rotating != (Rotating{}) {
			t.Errorf("%s: %d changes, %+v", b, len(f.now().changes), r)
		}
	})
}

// A round rotates nothing while storage fails. A later round does.
func TestTickWhileStorageFails(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*logical.InmemStorage, bool) *logical.InmemStorage{
		"Get": (*logical.InmemStorage).FailGet, "List": (*logical.InmemStorage).FailList, "Put": (*logical.InmemStorage).FailPut,
	} {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			writeConfig(t, e, ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
			writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
			time.Sleep(2 * time.Hour)
			fail(storage, true)
			e.Tick(t.Context())
			checkChanges(t, f, 0)
			fail(storage, false)
			tickFor(t, e, 5*time.Minute)
			checkChanges(t, f, 2)
			checkHealthy(t, f, e)
		})
	}
}

// A panic in rotate-root does not stop the rest of a round.
func TestPanicInOnePartOfARound(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.Schedule = Schedule{Period: time.Hour} })
		writeConfig(t, e, ConfigPatch{Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}})
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		f.on("WhoAmI", func() { panic("a bug") })
		tickFor(t, e, 24*time.Hour)
		if n := f.now().calls["GenerateAPIKey"]; n < 20 {
			t.Errorf("%d rotations of a role in a day, want at least 20", n)
		}
		f.on("WhoAmI", nil)
		tickFor(t, e, 24*time.Hour)
		checkHealthy(t, f, e)
	})
}

// writeTwentyRoles writes roles of different users that rotate with this period.
func writeTwentyRoles(t *testing.T, f *fakeECGrid, e *Engine, period time.Duration) {
	t.Helper()
	for i := range 20 {
		userID := int32(6000 + i)
		f.set(func() { f.keys[userID] = fmt.Sprintf("key-%d", userID) })
		writeRole(t, e, fmt.Sprintf("r%d", i), RolePatch{UserID: &userID, Schedule: SchedulePatch{Period: &period}})
	}
}

// Vault does not wait for a long round, which goes on in the background.
func TestLongRound(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		writeTwentyRoles(t, f, e, 4*time.Hour)
		time.Sleep(5 * time.Hour)
		f.set(func() { f.latency = 3 * time.Second })
		for range 10 {
			checkWithin(t, 20*time.Second, "Tick", func() error { e.Tick(t.Context()); return nil })
			time.Sleep(time.Minute)
		}
		checkChanges(t, f, 20)
	})
}

// Start does not wait for ECGrid. Tick and Close wait only for so long.
func TestVaultDoesNotWaitForECGrid(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		f.applyAfter = []time.Duration{time.Hour}
		writeConfig(t, e, ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		writeTwentyRoles(t, f, e, time.Hour)
		wantErr(t, errOf(e.RotateRoot(t.Context())), ErrUnconfirmed)
		e.Close()
		time.Sleep(2 * time.Hour)
		f.set(func() { f.latency = time.Hour })
		e = testEngine(t, f, storage)
		checkWithin(t, 0, "Start", func() error { e.Start(); return nil })
		for range 3 {
			checkWithin(t, 20*time.Second, "Tick", func() error { e.Tick(t.Context()); return nil })
		}
		checkWithin(t, 3*time.Second, "Close", func() error { e.Close(); return nil })
		time.Sleep(10 * time.Minute)
	})
}

// Overlapping rounds rotate each key and password once.
func TestOverlappingRounds(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		hourly := SchedulePatch{Period: ptr(time.Hour)}
		writeRole(t, e, "a", RolePatch{Schedule: hourly})
		writeConfig(t, e, ConfigPatch{Schedule: hourly})
		time.Sleep(90 * time.Minute)
		f.set(func() { f.latency = 2 * time.Second })
		concurrently(6, func(i int) {
			if i%2 == 0 {
				_ = e.roles.rotateDue(t.Context(), "a")
			} else {
				_ = e.rootRotator.rotateDue(t.Context())
			}
		})
		concurrently(3, func(i int) {
			time.Sleep(time.Duration(i) * 1500 * time.Millisecond)
			e.Tick(t.Context())
		})
		time.Sleep(5 * time.Minute)
		checkChanges(t, f, 2)
		checkHealthy(t, f, e)
	})
}
