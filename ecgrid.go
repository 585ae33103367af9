// SPDX-License-Identifier: MPL-2.0

// Package ecgrid is a Vault secrets engine for ECGrid API keys. It defines the
// engine's paths, one file per family: fields, help, and handlers that translate
// requests into calls of package backend, which makes all decisions.
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
The ecgrid secrets engine returns the API keys of ECGrid users as leased secrets.

Write the login of one ECGrid user, or an API key, to "config". Then "keys/<user_id>"
returns the API key of any user that this login can see, and "creds/<name>" returns the
key of a role's user with the role's lease settings, or "static-creds/<name>" without a
lease. ECGrid has one long-lived API key
per user, and all leases of a user share it.

"rotate-key" and "rotate-role" replace keys, and "rotate-root" changes the login's own
password. Roles and config can also do this on a schedule.
`

// operationPrefix is the prefix of the OpenAPI operation IDs.
const operationPrefix = "ecgrid"

// Plugin is what all mounts of one plugin process share.
type Plugin struct {
	// Version is the plugin's semantic version with a leading v, such as v0.1.0. It
	// must match the version that the plugin is registered with.
	Version string
	// Commit is the source commit of the build.
	Commit string
	// Connect makes an ECGrid client.
	Connect ecgrid.Connector
	Clock   backend.Clock
	Random  io.Reader

	mu      sync.Mutex
	engines map[*backend.Engine]struct{} // those that are not closed
}

// Factory makes the backend of one mount. It does no I/O, because Vault also calls it
// when a plugin is registered.
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

// Close logs out all open sessions of this process, concurrently and within about 3 s.
// Call it when the process ends, because Vault may not call Clean then.
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
		// The logger's name is that of the first mount in this process.
		Logger: log.With("mount_uuid", conf.BackendUUID),
		PasswordFromPolicy: func(ctx context.Context, policy string) (string, error) {
			return m.System().GeneratePasswordFromPolicy(ctx, policy)
		},
		DefaultLeaseTTL: func() time.Duration { return m.System().DefaultLeaseTTL() },
		MaxLeaseTTL:     func() time.Duration { return m.System().MaxLeaseTTL() },
		Tainted:         func() bool { return m.System().Tainted() },
		Notify:          m.notify,
		Build:           p.buildLabels(),
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

// mount is the logical.Backend of one mount.
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
			m.staticCredsPaths(),
			m.rotatePaths(),
			m.statusPaths(),
			m.infoPaths(),
			m.metricsPaths(),
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

// systemView caches what the framework asks for in every request. Each answer is a call
// to Vault and cannot change while the backend exists.
type systemView struct {
	logical.SystemView

	mu               sync.Mutex // guards the following
	known            bool
	replicationState consts.ReplicationState
	localMount       bool
}

// ask returns the replication state of the cluster and whether the mount is local. It
// caches no failure: the SDK returns ReplicationUnknown then, and a Vault never does.
func (v *systemView) ask() (consts.ReplicationState, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.known {
		v.replicationState = v.SystemView.ReplicationState()
		v.localMount = v.SystemView.LocalMount()
		v.known = v.replicationState != consts.ReplicationUnknown
	}
	return v.replicationState, v.localMount
}

// ReplicationState returns the replication state of the cluster.
func (v *systemView) ReplicationState() consts.ReplicationState {
	state, _ := v.ask()
	return state
}

// LocalMount reports whether the mount is not replicated.
func (v *systemView) LocalMount() bool {
	_, local := v.ask()
	return local
}
