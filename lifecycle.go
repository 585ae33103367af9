// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/backend"
)

// initialize starts background work that a crash left unfinished. It must not
// block: Vault waits for it before the node becomes active.
func (m *mount) initialize(context.Context, *logical.InitializationRequest) error {
	if m.WriteSafeReplicationState() {
		m.engine.Start()
	}
	return nil
}

// periodic runs the rotations that are due. Vault calls it about once a minute.
func (m *mount) periodic(ctx context.Context, _ *logical.Request) error {
	if m.WriteSafeReplicationState() {
		m.engine.Tick(ctx)
	}
	return nil
}

// rotateCredential serves the rotation manager of Vault Enterprise.
func (m *mount) rotateCredential(ctx context.Context, _ *logical.Request) error {
	_, err := m.engine.RotateManagedRoot(ctx)
	return err
}

// rotationManager registers the schedule of rotate-root with Vault's rotation
// manager.
type rotationManager struct {
	system     logical.SystemView
	mountPoint string
}

func (m *mount) rotationManager(req *logical.Request) backend.RotationManager {
	return rotationManager{system: m.System(), mountPoint: req.MountPoint}
}

// Keep implements backend.RotationManager. Vault Community has no rotation manager
// and always returns an error. Then the engine follows the schedule itself.
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
