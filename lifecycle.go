package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/backend"
)

// initialize settles what a crash left open, in the background: Vault's take-over
// waits for this.
func (m *mount) initialize(context.Context, *logical.InitializationRequest) error {
	if m.WriteSafeReplicationState() {
		m.engine.Start()
	}
	return nil
}

// periodic does what is due; Vault calls it about once a minute.
func (m *mount) periodic(ctx context.Context, _ *logical.Request) error {
	if m.WriteSafeReplicationState() {
		m.engine.Tick(ctx)
	}
	return nil
}

// rotateCredential serves the rotation manager of Vault Enterprise.
func (m *mount) rotateCredential(ctx context.Context, _ *logical.Request) error {
	if _, err := m.engine.RotateRoot(ctx); err != nil {
		return answer(err)
	}
	return nil
}

// rotationManager gives the schedule of rotate-root to the rotation manager, where
// there is one.
type rotationManager struct {
	system     logical.SystemView
	mountPoint string
}

func (m *mount) rotationManager(req *logical.Request) backend.RotationManager {
	return rotationManager{system: m.System(), mountPoint: req.MountPoint}
}

// Keep is as of backend.RotationManager. On Community every answer is an error:
// then the schedule is this engine's own to keep.
func (r rotationManager) Keep(ctx context.Context, s backend.Schedule) bool {
	if s.IsZero() {
		_ = r.system.DeregisterRotationJob(ctx, &rotation.RotationJobDeregisterRequest{MountPoint: r.mountPoint, ReqPath: configPath})
		return false
	}
	_, err := r.system.RegisterRotationJob(ctx, &rotation.RotationJobConfigureRequest{
		Name:             operationPrefix + "-rotate-root",
		MountPoint:       r.mountPoint,
		ReqPath:          configPath,
		RotationSchedule: s.Cron,
		RotationWindow:   s.Window,
		RotationPeriod:   s.Period,
	})
	return err == nil
}
