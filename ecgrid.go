// Package ecgrid is a Vault secrets engine for ECGrid API keys. This package is
// its table of contents: a file per family of paths, which says what can be asked
// and translates it; what it means is decided in package backend.
package ecgrid

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
)

const help = `
The ecgrid secrets engine hands out the API keys of ECGrid users as leased secrets.

The login of one ECGrid user, or an API key, is written once to "config". From then
on "keys/<user_id>" returns the API key of any user that this login may see, and
"creds/<name>" that of the user a role names, on the role's terms. ECGrid has one
long-lived API key for each user: all leases on a user share it. "rotate-key",
"rotate-role" and "rotate-root", and schedules in roles and config, replace keys and
the login's own password.
`

// operationPrefix begins the OpenAPI operation IDs of this engine.
const operationPrefix = "ecgrid"

// Plugin is what all mounts of one plugin process share: how it was built, its
// seams, and the list of mounts that may hold an open ECGrid session.
type Plugin struct {
	// Version is the plugin's semantic version with its v, e.g. v0.1.0: it has to
	// be the one that the plugin is registered with.
	Version string
	// Commit is the source commit of the build.
	Commit string
	// Connect makes an ECGrid client.
	Connect ecgrid.Connector
	Clock   backend.Clock
	Random  io.Reader

	mu      sync.Mutex
	engines map[*backend.Engine]struct{}
}

// Factory makes the backend of one mount. It does no I/O: Vault calls it also for
// a throwaway process when a plugin is registered.
func (p *Plugin) Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := p.newBackend(conf)
	own := *conf
	if own.System != nil {
		own.System = &systemView{SystemView: own.System}
	}
	if err := b.Setup(ctx, &own); err != nil {
		return nil, fmt.Errorf("setting up the backend: %w", err)
	}
	return b, nil
}

// Close logs out every open session of this process, side by side and bounded at
// about 3 s. It is for the end of the process, when Vault may call Clean no more.
func (p *Plugin) Close() {
	p.mu.Lock()
	engines := slices.Collect(maps.Keys(p.engines))
	p.mu.Unlock()

	var wg sync.WaitGroup
	for _, e := range engines {
		wg.Go(e.Close)
	}
	wg.Wait()
}

func (p *Plugin) newEngine(m *mount, conf *logical.BackendConfig) *backend.Engine {
	log := conf.Logger
	if log == nil {
		log = hclog.NewNullLogger()
	}
	e := backend.New(backend.Options{
		Storage: conf.StorageView,
		Connect: p.Connect,
		Clock:   p.Clock,
		Random:  p.Random,
		// All mounts of the process share the first one's logger name.
		Logger: log.With("mount_uuid", conf.BackendUUID),
		PasswordFromPolicy: func(ctx context.Context, policy string) (string, error) {
			return m.System().GeneratePasswordFromPolicy(ctx, policy)
		},
		DefaultLeaseTTL: func() time.Duration { return m.System().DefaultLeaseTTL() },
		MaxLeaseTTL:     func() time.Duration { return m.System().MaxLeaseTTL() },
		Tainted:         func() bool { return m.System().Tainted() },
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.engines == nil {
		p.engines = map[*backend.Engine]struct{}{}
	}
	p.engines[e] = struct{}{}
	return e
}

func (p *Plugin) closeEngine(e *backend.Engine) {
	e.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.engines, e)
}

// mount is the backend of one mount.
type mount struct {
	*framework.Backend
	plugin *Plugin
	engine *backend.Engine
}

func (p *Plugin) newBackend(conf *logical.BackendConfig) *mount {
	m := &mount{plugin: p}
	m.engine = p.newEngine(m, conf)
	m.Backend = &framework.Backend{
		Help:           help,
		BackendType:    logical.TypeLogical,
		RunningVersion: p.Version,
		PathsSpecial:   &logical.Paths{SealWrapStorage: backend.SealWrapped},
		Paths: framework.PathAppend(
			m.configPaths(),
			m.keysPaths(),
			m.rolesPaths(),
			m.credsPaths(),
			m.rotatePaths(),
			m.statusPaths(),
			m.infoPaths(),
		),
		Secrets:          []*framework.Secret{m.apiKeySecret()},
		InitializeFunc:   m.initialize,
		PeriodicFunc:     m.periodic,
		RotateCredential: m.rotateCredential,
		Invalidate:       func(_ context.Context, key string) { m.engine.Invalidate(key) },
		Clean:            func(context.Context) { p.closeEngine(m.engine) },
	}
	return m
}

// systemView answers ReplicationState from memory: the framework asks it in every
// request, which is a call back to Vault each time. It cannot change during the
// life of a backend instance.
type systemView struct {
	logical.SystemView
	once  sync.Once
	state consts.ReplicationState
}

// ReplicationState is the cluster's, as it was when it was first asked for.
func (v *systemView) ReplicationState() consts.ReplicationState {
	v.once.Do(func() { v.state = v.SystemView.ReplicationState() })
	return v.state
}
