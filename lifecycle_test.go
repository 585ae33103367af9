// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

// dueAfter is when everything on a scheduled mount is due.
const dueAfter = 48 * time.Hour

func newScheduledMount(t *testing.T) (*testMount, *frozenClock) {
	t.Helper()
	m := newTestMount(t)
	clock := m.freezeClock()
	m.configure(fields{"rotation_period": "24h"})
	m.role("team", fields{"rotation_period": "24h"})
	return m, clock
}

func TestScheduledRotation(t *testing.T) {
	t.Parallel()
	m, clock := newScheduledMount(t)
	m.tick()
	m.expectRotated(0, 0)
	clock.advance(dueAfter)
	for range 3 {
		m.tick()
	}
	m.expectRotated(1, 1)
	last, next := "2030-01-04T03:04:00Z", "2030-01-05T03:04:00Z"
	m.expect("config", fields{"last_root_rotation": last, "next_root_rotation": next, "last_root_rotation_error": ""})
	m.expect("roles/team", fields{"last_rotation": last, "next_rotation": next, "last_rotation_error": ""})
	m.restart()
	m.tick()
	m.expectRotated(1, 1)
	clock.advance(dueAfter)
	m.tick()
	m.expectRotated(2, 2)
	m.expectResolved()
}

func TestScheduledRotationStops(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(m *testMount){
		"disabled": func(m *testMount) {
			m.must(logical.UpdateOperation, "config", fields{"disable_automated_rotation": true})
			m.expect("config", fields{"rotation_period": 86400.0, "next_root_rotation": nil})
		},
		"cleared": func(m *testMount) {
			m.must(logical.UpdateOperation, "config", fields{"rotation_period": nil})
			m.expect("config", fields{"next_root_rotation": nil})
		},
		"deleted": func(m *testMount) { m.must(logical.DeleteOperation, "config", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, clock := newScheduledMount(t)
			stop(m)
			m.must(logical.DeleteOperation, "roles/team", nil)
			clock.advance(dueAfter)
			m.tick()
			m.expectRotated(0, 0)
		})
	}
}

func TestScheduledRotationFails(t *testing.T) {
	t.Parallel()
	m, clock := newScheduledMount(t)
	clock.advance(dueAfter)
	clearRoot := m.sim.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})
	clearKey := m.sim.Inject(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied, Echo: true})
	for range 3 {
		m.tick()
	}
	m.expectRotated(1, 1) // one try each, because the next one is not due
	clearRoot()
	clearKey()
	config, _ := m.must(logical.ReadOperation, "config", nil).Data["last_root_rotation_error"].(string)
	role, _ := m.must(logical.ReadOperation, "roles/team", nil).Data["last_rotation_error"].(string)
	if config == "" || role == "" {
		t.Error("a failure is not reported")
	}
	clock.advance(time.Minute)
	m.tick()
	m.expectRotated(2, 2)
	m.expect("config", fields{"last_root_rotation_error": ""})
	m.expect("roles/team", fields{"last_rotation_error": ""})
	m.expectResolved()
}

// A mount that is being removed or moved rotates nothing on any path.
func TestTaintedMountRotatesNothing(t *testing.T) {
	t.Parallel()
	m, clock := newScheduledMount(t)
	clock.advance(dueAfter)
	m.vault.taint(true)
	m.tick()
	for _, path := range []string{"rotate-root", "rotate-key/5001", "rotate-role/team"} {
		m.refused(http.StatusServiceUnavailable, logical.UpdateOperation, path, nil)
	}
	if err := m.rotationJob(); statusOf(nil, err) != http.StatusServiceUnavailable {
		t.Errorf("the rotation job: %v", err)
	}
	m.expectRotated(0, 0)
	m.vault.taint(false)
	m.tick()
	m.expectRotated(1, 1)
	m.expectResolved()
}

// A node that must not write to storage changes nothing at ECGrid.
func TestReplicaDoesNothing(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]consts.ReplicationState{
		"performance standby":   consts.ReplicationPerformanceStandby,
		"performance secondary": consts.ReplicationPerformanceSecondary,
		"DR secondary":          consts.ReplicationDRSecondary,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, clock := newScheduledMount(t)
			clock.advance(dueAfter)
			m.killDuringRotateRoot(true)
			m.process.kill()
			m.vault.ReplicationStateVal = state
			m.backend = m.serve()
			calls, before := m.sim.Count(""), m.stored()
			m.initialize()
			m.tick()
			if err := m.rotationJob(); err == nil {
				t.Error("the rotation job succeeded")
			}
			if m.sim.Count("") != calls || !reflect.DeepEqual(m.stored(), before) {
				t.Error("ECGrid was called, or the config was changed")
			}
			m.process.kill()
			m.vault.ReplicationStateVal = 0
			m.backend = m.serve()
			m.initialize()
			m.awaitResolved()
		})
	}
}

// No failure stops Initialize or makes it wait.
func TestInitializeIsBestEffort(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(m *testMount){
		"nothing":                    func(*testMount) {},
		"ECGrid is down":             func(m *testMount) { m.sim.Inject(simulator.Fault{Answer: simulator.AnswerReset}) },
		"ECGrid hangs":               func(m *testMount) { m.sim.Inject(simulator.Fault{Answer: simulator.AnswerSilent}) },
		"lists fail":                 func(m *testMount) { m.storage.FailList(true) },
		"reads fail":                 func(m *testMount) { m.storage.FailGet(true) },
		"both passwords are refused": func(m *testMount) { m.sim.Inject(simulator.Fault{Op: "Login", Cause: simulator.LoginRefused}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.killDuringRotateRoot(true)
			clock := m.freezeClock()
			trouble(m)
			m.initialize()
			m.storage.FailList(false)
			m.storage.FailGet(false)
			m.sim.ClearFaults()
			clock.advance(time.Hour)
			m.awaitResolved()
		})
	}
}

func TestInitializeOfANewMount(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.initialize()
	m.tick()
	if n := m.sim.Count(""); n != 0 {
		t.Errorf("%d calls to ECGrid", n)
	}
}

func TestRotationOperation(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	if err := m.rotationJob(); statusOf(nil, err) != http.StatusBadRequest {
		t.Errorf("not configured: %v", err)
	}
	m.configure(nil)
	if err := m.rotationJob(); err != nil {
		t.Error(err)
	}
	m.expectRotated(1, 0)
	m.expectResolved()
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})
	if err := m.rotationJob(); statusOf(nil, err) != http.StatusForbidden {
		t.Errorf("denied: %v", err)
	}
}

// expectJob compares the registered rotation job with these values.
func (v *fakeVault) expectJob(t *testing.T, period time.Duration, schedule string, window time.Duration) {
	t.Helper()
	got := v.registered()
	if got == nil || got.RotationPeriod != period || got.RotationSchedule != schedule || got.RotationWindow != window {
		t.Fatalf("registered %+v, want %s, %q, %s", got, period, schedule, window)
	}
	if got.MountPoint != "ecgrid/" || got.ReqPath != "config" {
		t.Errorf("registered for %s%s", got.MountPoint, got.ReqPath)
	}
}

func (v *fakeVault) expectNoJob(t *testing.T) {
	t.Helper()
	if got := v.registered(); got != nil {
		t.Errorf("%+v is still registered", got)
	}
}

// If Vault has a rotation manager, the engine leaves the schedule to it.
func TestRotationManager(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.vault.managing = true
	clock := m.freezeClock()
	m.configure(nil)
	m.vault.expectNoJob(t)
	m.must(logical.UpdateOperation, "config", fields{"rotation_period": "24h"})
	m.vault.expectJob(t, 24*time.Hour, "", 0)
	clock.advance(dueAfter)
	m.restart()
	m.tick()
	m.expectRotated(0, 0)
	if err := m.rotationJob(); err != nil {
		t.Error(err)
	}
	m.expectRotated(1, 0)
	m.expectResolved()

	// A failed write does not change the job.
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", fields{"rotation_period": "48h", "password": "wrong"})
	m.vault.expectJob(t, 24*time.Hour, "", 0)
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", fields{"rotation_period": nil})
	m.storage.FailPut(false)
	m.vault.expectJob(t, 24*time.Hour, "", 0)

	m.must(logical.UpdateOperation, "config", fields{"disable_automated_rotation": true})
	m.vault.expectNoJob(t)
	m.must(logical.UpdateOperation, "config", fields{
		"disable_automated_rotation": false, "rotation_period": nil, "rotation_schedule": "0 3 * * *", "rotation_window": "2h",
	})
	m.vault.expectJob(t, 0, "0 3 * * *", 2*time.Hour)
	m.must(logical.UpdateOperation, "config", fields{"rotation_schedule": nil, "rotation_window": nil})
	m.vault.expectNoJob(t)
	m.must(logical.UpdateOperation, "config", fields{"rotation_period": "24h"})
	m.must(logical.UpdateOperation, "config", fields{"api_key": m.user(simulator.AdminUserID).APIKey})
	m.vault.expectNoJob(t)
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.vault.expectJob(t, 24*time.Hour, "", 0)
	m.must(logical.DeleteOperation, "config", nil)
	m.vault.expectNoJob(t)
}

// If the rotation manager is gone, because a license ended, the engine follows the
// schedule from the next write on.
func TestRotationManagerIsGone(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.vault.managing = true
	clock := m.freezeClock()
	m.configure(fields{"rotation_period": "24h"})
	m.vault.managing = false
	m.must(logical.UpdateOperation, "config", fields{"rotation_period": "25h"})
	clock.advance(dueAfter)
	m.tick()
	m.expectRotated(1, 0)
}
