package ecgrid

import (
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/internal/simulator"
)

// tick is Vault's minute.
func (m *testMount) tick() {
	m.t.Helper()
	resp, err := m.backend.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage})
	if err != nil || resp.IsError() {
		m.t.Errorf("rollback: %v", err)
	}
}

// initialize is Vault's take-over of the mount, which waits for nothing of ECGrid.
func (m *testMount) initialize() {
	m.t.Helper()
	begun := time.Now()
	if err := m.backend.Initialize(m.t.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
		m.t.Errorf("initialize: %v", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		m.t.Errorf("initialize took %s", took)
	}
}

// tock is Vault Enterprise's rotation manager.
func (m *testMount) tock() error {
	_, err := m.backend.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.RotationOperation, Path: configPath, Storage: m.storage})
	return err
}

// scheduled gives a mount on which everything is due after two days.
func scheduled(t *testing.T) (*testMount, *frozenClock) {
	t.Helper()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(map[string]any{fieldRotationPeriod: "24h"})
	m.role("team", map[string]any{fieldRotationPeriod: "24h"})
	return m, clock
}

const dueAfter = 48 * time.Hour

func (m *testMount) rotated() (root, keys int) {
	return m.sim.Count("ChangePassword"), m.sim.Count("GenerateAPIKey")
}

func (m *testMount) expectRotated(root, keys int) {
	m.t.Helper()
	if gotRoot, gotKeys := m.rotated(); gotRoot != root || gotKeys != keys {
		m.t.Errorf("%d passwords and %d keys were rotated, want %d and %d", gotRoot, gotKeys, root, keys)
	}
}

func TestScheduledRotation(t *testing.T) {
	t.Parallel()
	m, clock := scheduled(t)
	m.tick()
	m.expectRotated(0, 0)
	clock.advance(dueAfter)
	for range 3 {
		m.tick()
	}
	m.expectRotated(1, 1)
	last, next := "2030-01-04T03:04:00Z", "2030-01-05T03:04:00Z"
	m.expect(map[string]any{fieldLastRootRotation: last, fieldNextRootRotation: next, fieldLastRootError: ""})
	m.expectRole("team", map[string]any{fieldLastRotation: last, fieldNextRotation: next, fieldLastError: ""})
	m.restart()
	m.tick()
	m.expectRotated(1, 1)
	clock.advance(dueAfter)
	m.tick()
	m.expectRotated(2, 2)
	m.settled()
}

func TestScheduledRotationStops(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(m *testMount){
		"disabled": func(m *testMount) {
			m.must(logical.UpdateOperation, "config", map[string]any{fieldDisableRotation: true})
			m.expect(map[string]any{fieldRotationPeriod: 86400.0, fieldNextRootRotation: nil})
		},
		"cleared": func(m *testMount) {
			m.must(logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: nil})
			m.expect(map[string]any{fieldNextRootRotation: nil})
		},
		"deleted": func(m *testMount) { m.must(logical.DeleteOperation, "config", nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, clock := scheduled(t)
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
	m, clock := scheduled(t)
	clock.advance(dueAfter)
	clearRoot := m.sim.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})
	clearKey := m.sim.Inject(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied, Echo: true})
	for range 3 {
		m.tick()
	}
	m.expectRotated(1, 1) // tries, and no more before their time
	clearRoot()
	clearKey()
	config := m.must(logical.ReadOperation, "config", nil)
	role := m.must(logical.ReadOperation, "roles/team", nil)
	for _, why := range []any{config.Data[fieldLastRootError], role.Data[fieldLastError]} {
		if text, _ := why.(string); text == "" || m.holdsSecret(text) {
			t.Error("a failure is not told, or holds a secret")
		}
	}
	clock.advance(time.Minute)
	m.tick()
	m.expectRotated(2, 2)
	m.expect(map[string]any{fieldLastRootError: ""})
	m.expectRole("team", map[string]any{fieldLastError: ""})
	m.settled()
}

// A mount that is being removed or moved rotates nothing, by any path.
func TestTaintedMountRotatesNothing(t *testing.T) {
	t.Parallel()
	m, clock := scheduled(t)
	clock.advance(dueAfter)
	m.vault.taint(true)
	m.tick()
	for _, path := range []string{"rotate-root", "rotate-key/5001", "rotate-role/team"} {
		m.refused(http.StatusServiceUnavailable, logical.UpdateOperation, path, nil)
	}
	if err := m.tock(); statusOf(nil, err) != http.StatusServiceUnavailable {
		t.Errorf("the rotation manager was answered %v", err)
	}
	m.expectRotated(0, 0)
	m.vault.taint(false)
	m.tick()
	m.expectRotated(1, 1)
	m.settled()
}

// Nothing is changed where this node may not write it down.
func TestReplicaDoesNothing(t *testing.T) {
	t.Parallel()
	for name, state := range map[string]consts.ReplicationState{
		"performance standby":   consts.ReplicationPerformanceStandby,
		"performance secondary": consts.ReplicationPerformanceSecondary,
		"DR secondary":          consts.ReplicationDRSecondary,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, clock := scheduled(t)
			clock.advance(dueAfter)
			m.killInRotateRoot(true)
			m.process.kill()
			m.vault.ReplicationStateVal = state
			m.backend = m.serve()
			calls, before := m.sim.Count(""), m.stored()
			m.initialize()
			m.tick()
			if err := m.tock(); err == nil {
				t.Error("the rotation manager was obeyed")
			}
			if m.sim.Count("") != calls || !reflect.DeepEqual(m.stored(), before) {
				t.Error("ECGrid was called, or something was written or forgotten")
			}
			m.process.kill()
			m.vault.ReplicationStateVal = 0
			m.backend = m.serve()
			m.initialize()
			m.awaitSettled()
			m.settled()
		})
	}
}

// A mount comes up whatever Initialize finds, and does not wait for it.
func TestInitializeIsBestEffort(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(m *testMount){
		"nothing":         func(*testMount) {},
		"ECGrid is down":  func(m *testMount) { m.sim.Inject(simulator.Fault{Answer: simulator.AnswerReset}) },
		"ECGrid hangs":    func(m *testMount) { m.sim.Inject(simulator.Fault{Answer: simulator.AnswerSilent}) },
		"storage fails":   func(m *testMount) { m.storage.FailList(true) },
		"nothing is read": func(m *testMount) { m.storage.FailGet(true) },
		"both refused":    func(m *testMount) { m.sim.Inject(simulator.Fault{Op: "Login", Cause: simulator.LoginRefused}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.killInRotateRoot(true)
			clock := m.freeze()
			trouble(m)
			m.initialize()
			m.storage.FailList(false)
			m.storage.FailGet(false)
			m.sim.ClearFaults()
			clock.advance(time.Hour)
			m.awaitSettled()
			m.settled()
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
	if err := m.tock(); statusOf(nil, err) != http.StatusBadRequest {
		t.Errorf("not configured: %v", err)
	}
	m.configure(nil)
	if err := m.tock(); err != nil {
		t.Error(err)
	}
	m.expectRotated(1, 0)
	m.settled()
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Cause: simulator.AccessDenied, Echo: true})
	err := m.tock()
	if statusOf(nil, err) != http.StatusForbidden {
		t.Errorf("denied: %v", err)
	}
	m.noSecrets(nil, err)
}

// Where there is a rotation manager it keeps the schedule, and we do not.
func TestRotationManager(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.vault.managing = true
	clock := m.freeze()
	job := func(want rotation.RotationJobConfigureRequest) {
		t.Helper()
		got := m.vault.registered()
		if got == nil || got.RotationPeriod != want.RotationPeriod || got.RotationSchedule != want.RotationSchedule || got.RotationWindow != want.RotationWindow {
			t.Fatalf("registered %+v, want %+v", got, want)
		}
		if got.MountPoint != "ecgrid/" || got.ReqPath != "config" {
			t.Errorf("registered for %s%s", got.MountPoint, got.ReqPath)
		}
	}
	none := func() {
		t.Helper()
		if got := m.vault.registered(); got != nil {
			t.Errorf("%+v is still registered", got)
		}
	}
	day := rotation.RotationJobConfigureRequest{RotationPeriod: 24 * time.Hour}

	m.configure(nil)
	none()
	m.must(logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: "24h"})
	job(day)
	clock.advance(dueAfter)
	m.restart()
	m.tick()
	m.expectRotated(0, 0)
	if err := m.tock(); err != nil {
		t.Error(err)
	}
	m.expectRotated(1, 0)
	m.settled()

	// A write that fails takes nothing with it.
	m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: "48h", fieldPassword: "wrong"})
	job(day)
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: nil})
	m.storage.FailPut(false)
	job(day)

	m.must(logical.UpdateOperation, "config", map[string]any{fieldDisableRotation: true})
	none()
	m.must(logical.UpdateOperation, "config", map[string]any{
		fieldDisableRotation: false, fieldRotationPeriod: nil, fieldRotationSchedule: "0 3 * * *", fieldRotationWindow: "2h",
	})
	job(rotation.RotationJobConfigureRequest{RotationSchedule: "0 3 * * *", RotationWindow: 2 * time.Hour})
	m.must(logical.UpdateOperation, "config", map[string]any{fieldRotationSchedule: nil, fieldRotationWindow: nil})
	none()
	m.must(logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: "24h"})
	m.must(logical.UpdateOperation, "config", map[string]any{fieldAPIKey: m.user(simulator.AdminUserID).APIKey})
	none()
	m.must(logical.UpdateOperation, "config", m.login(nil))
	job(day)
	m.must(logical.DeleteOperation, "config", nil)
	none()
}

// A manager that is gone (a licence that has ended) leaves the schedule to us at
// the next write.
func TestRotationManagerIsGone(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.vault.managing = true
	clock := m.freeze()
	m.configure(map[string]any{fieldRotationPeriod: "24h"})
	m.vault.managing = false
	m.must(logical.UpdateOperation, "config", map[string]any{fieldRotationPeriod: "25h"})
	clock.advance(dueAfter)
	m.tick()
	m.expectRotated(1, 0)
}
