package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/backend"
)

// initialize settles what a crash left open. Vault mounts the engine whatever
// comes of it, and a read tries again.
func (m *mount) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	if !m.WriteSafeReplicationState() {
		return nil
	}
	if err := m.engine.RecoverRoot(ctx, req.Storage); err != nil {
		m.Logger().Warn("a rotate-root is not settled yet", "error", answer(err))
	}
	return nil
}

// periodic does what is due; Vault calls it about once a minute.
func (m *mount) periodic(ctx context.Context, req *logical.Request) error {
	if m.WriteSafeReplicationState() {
		m.engine.Tick(ctx, req.Storage)
	}
	return nil
}

// rollback settles a rotate-root that did not end. The entry stays for as long as
// this fails.
func (m *mount) rollback(ctx context.Context, req *logical.Request, _ string, _ any) error {
	if !m.WriteSafeReplicationState() {
		return logical.ErrReadOnly
	}
	err := m.engine.RecoverRoot(ctx, req.Storage)
	if err != nil {
		m.Logger().Warn("a rotate-root is not settled yet", "error", answer(err))
		return answer(err)
	}
	return nil
}

// rotateCredential serves the rotation manager of Vault Enterprise.
func (m *mount) rotateCredential(ctx context.Context, req *logical.Request) error {
	_, err := m.engine.RotateRoot(ctx, req.Storage)
	if err != nil {
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
