package ecgrid

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/rotation"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// process is one life of the plugin. Its ways to storage and to ECGrid end with
// it, whatever its goroutines still try.
type process struct {
	logical.Storage

	mu      sync.Mutex
	dead    bool
	changed chan struct{} // closed at the next write to storage
}

func newProcess(storage logical.Storage) *process {
	return &process{Storage: storage, changed: make(chan struct{})}
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
	if err := p.alive(); err != nil {
		return nil, err
	}
	return p.Storage.Get(ctx, key)
}

func (p *process) List(ctx context.Context, prefix string) ([]string, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	return p.Storage.List(ctx, prefix)
}

// plugin is another of the same make, whose calls to ECGrid end with the process.
func (p *process) plugin(like *Plugin) *Plugin {
	return &Plugin{
		Version: like.Version,
		Commit:  like.Commit,
		Clock:   like.Clock,
		Random:  like.Random,
		Connect: func(e ecgrid.Endpoint) (ecgrid.Client, error) {
			ecgrid, err := like.Connect(e)
			return mortal{ecgrid, p}, err
		},
	}
}

// mortal is a client that makes no call after the death of its process.
type mortal struct {
	ecgrid.Client
	process *process
}

func (m mortal) Login(ctx context.Context, loginName, password string) (string, error) {
	if err := m.process.alive(); err != nil {
		return "", err
	}
	return m.Client.Login(ctx, loginName, password)
}

func (m mortal) Logout(ctx context.Context, sessionID string) error {
	if err := m.process.alive(); err != nil {
		return err
	}
	return m.Client.Logout(ctx, sessionID)
}

func (m mortal) WhoAmI(ctx context.Context, sessionID string) (ecgrid.Session, error) {
	if err := m.process.alive(); err != nil {
		return ecgrid.Session{}, err
	}
	return m.Client.WhoAmI(ctx, sessionID)
}

func (m mortal) UserGetAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	if err := m.process.alive(); err != nil {
		return "", err
	}
	return m.Client.UserGetAPIKey(ctx, sessionID, userID)
}

func (m mortal) GenerateAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	if err := m.process.alive(); err != nil {
		return "", err
	}
	return m.Client.GenerateAPIKey(ctx, sessionID, userID)
}

func (m mortal) Version(ctx context.Context) (string, error) {
	if err := m.process.alive(); err != nil {
		return "", err
	}
	return m.Client.Version(ctx)
}

func (m mortal) ChangePassword(ctx context.Context, sessionID, oldPassword, newPassword string) error {
	if err := m.process.alive(); err != nil {
		return err
	}
	return m.Client.ChangePassword(ctx, sessionID, oldPassword, newPassword)
}

// restart is the end of this process and the begin of the next.
func (m *testMount) restart() {
	m.t.Helper()
	m.process.kill()
	m.backend = m.serve()
}

// fakeVault is what a Vault tells the plugin. It is Community: it takes no
// rotation jobs, unless managing.
type fakeVault struct {
	*logical.StaticSystemView

	mu       sync.Mutex
	tainted  bool
	managing bool
	job      *rotation.RotationJobConfigureRequest // the one that is registered
}

func newFakeVault() *fakeVault { return &fakeVault{StaticSystemView: logical.TestSystemView()} }

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

// frozenClock stands still until it is moved. Its timers are the machine's.
type frozenClock struct {
	backend.SystemClock
	mu  sync.Mutex
	now time.Time
}

// begin is when tests with a frozen clock begin.
var begin = time.Date(2030, time.January, 2, 3, 4, 0, 0, time.UTC)

// freeze restarts the mount with a clock of its own.
func (m *testMount) freeze() *frozenClock {
	m.t.Helper()
	clock := &frozenClock{now: begin}
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
