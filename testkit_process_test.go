// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// process is one process of the plugin. After kill it reaches neither storage nor
// ECGrid, even if its goroutines still run.
type process struct {
	logical.Storage

	mu      sync.Mutex
	dead    bool
	changed chan struct{} // closed at the next write to storage
}

var errKilled = errors.New("the plugin is dead")

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
}

func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errKilled
	}
	return nil
}

// ifAlive makes a call unless the process is dead.
func ifAlive[T any](p *process, call func() (T, error)) (result T, err error) {
	if err := p.alive(); err != nil {
		return result, err
	}
	return call()
}

// nextWrite is closed by the next write to storage.
func (p *process) nextWrite() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *process) write(do func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errKilled
	}
	defer func() {
		close(p.changed)
		p.changed = make(chan struct{})
	}()
	return do()
}

func (p *process) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return p.write(func() error { return p.Storage.Put(ctx, entry) })
}

func (p *process) Delete(ctx context.Context, key string) error {
	return p.write(func() error { return p.Storage.Delete(ctx, key) })
}

func (p *process) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	return ifAlive(p, func() (*logical.StorageEntry, error) { return p.Storage.Get(ctx, key) })
}

func (p *process) List(ctx context.Context, prefix string) ([]string, error) {
	return ifAlive(p, func() ([]string, error) { return p.Storage.List(ctx, prefix) })
}

// plugin copies a Plugin for this process.
func (p *process) plugin(like *Plugin) *Plugin {
	return &Plugin{
		Version: like.Version,
		Commit:  like.Commit,
		Clock:   like.Clock,
		Random:  like.Random,
		Connect: func(e ecgrid.Endpoint) (ecgrid.Client, error) {
			client, err := like.Connect(e)
			return mortalClient{client, p}, err
		},
	}
}

// mortalClient is the ECGrid client of a process.
type mortalClient struct {
	ecgrid.Client
	process *process
}

func (c mortalClient) Login(ctx context.Context, loginName, password string) (ecgrid.LoginResult, error) {
	return ifAlive(c.process, func() (ecgrid.LoginResult, error) { return c.Client.Login(ctx, loginName, password) })
}

func (c mortalClient) Logout(ctx context.Context, by ecgrid.Credential) error {
	_, err := ifAlive(c.process, func() (any, error) { return nil, c.Client.Logout(ctx, by) })
	return err
}

func (c mortalClient) WhoAmI(ctx context.Context, by ecgrid.Credential) (ecgrid.Session, error) {
	return ifAlive(c.process, func() (ecgrid.Session, error) { return c.Client.WhoAmI(ctx, by) })
}

func (c mortalClient) UserGetAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return ifAlive(c.process, func() (string, error) { return c.Client.UserGetAPIKey(ctx, by, userID) })
}

func (c mortalClient) GenerateAPIKey(ctx context.Context, by ecgrid.Credential, userID int32) (string, error) {
	return ifAlive(c.process, func() (string, error) { return c.Client.GenerateAPIKey(ctx, by, userID) })
}

func (c mortalClient) ChangePassword(ctx context.Context, by ecgrid.Credential, oldPassword, newPassword string) error {
	_, err := ifAlive(c.process, func() (any, error) { return nil, c.Client.ChangePassword(ctx, by, oldPassword, newPassword) })
	return err
}

func (c mortalClient) Version(ctx context.Context) (string, error) {
	return ifAlive(c.process, func() (string, error) { return c.Client.Version(ctx) })
}

// fakeVault is Vault's side of the plugin. It is Vault Community unless managing, and
// then takes rotation jobs like Vault Enterprise.
type fakeVault struct {
	*logical.StaticSystemView
	asked atomic.Int32 // calls of ReplicationState and LocalMount

	mu       sync.Mutex
	tainted  bool
	managing bool
	job      *rotation.RotationJobConfigureRequest // the registered one
}

func (v *fakeVault) taint(tainted bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tainted = tainted
}

func (v *fakeVault) Tainted() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tainted
}

func (v *fakeVault) RegisterRotationJobWithResponse(ctx context.Context, req *rotation.RotationJobConfigureRequest) (*rotation.RotationInfo, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.managing {
		return v.StaticSystemView.RegisterRotationJobWithResponse(ctx, req)
	}
	v.job = req
	return &rotation.RotationInfo{RotationID: "job"}, nil
}

func (v *fakeVault) DeregisterRotationJob(ctx context.Context, req *rotation.RotationJobDeregisterRequest) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.managing {
		return v.StaticSystemView.DeregisterRotationJob(ctx, req)
	}
	v.job = nil
	return nil
}

func (v *fakeVault) registered() *rotation.RotationJobConfigureRequest {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.job
}

// startTime is when a frozen clock stands at first.
var startTime = time.Date(2030, time.January, 2, 3, 4, 0, 0, time.UTC)

// frozenClock stands still until a test advances it. Its timers are real.
type frozenClock struct {
	backend.SystemClock
	mu  sync.Mutex
	now time.Time
}

// freezeClock restarts the mount with a clock of its own.
func (m *testMount) freezeClock() *frozenClock {
	m.t.Helper()
	clock := &frozenClock{now: startTime}
	m.plugin.Clock = clock
	m.restart()
	return clock
}

func (c *frozenClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *frozenClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (v *fakeVault) ReplicationState() consts.ReplicationState {
	v.asked.Add(1)
	return v.StaticSystemView.ReplicationState()
}

func (v *fakeVault) LocalMount() bool {
	v.asked.Add(1)
	return v.StaticSystemView.LocalMount()
}
