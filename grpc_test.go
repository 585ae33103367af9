package ecgrid

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/soap"
	"vault-plugin-ecgrid/internal/simulator"
)

// testMount is a mount behind real gRPC, as Vault sees it, with the real client
// in front of a simulator.
type testMount struct {
	t       testing.TB
	backend logical.Backend
	storage *logical.InmemStorage
	sim     *simulator.Server
	plugin  *Plugin
	vault   *fakeVault
	process *process // the one that serve began last
	log     *logRecorder
}

func newTestMount(t testing.TB, options ...func(*simulator.Options)) *testMount {
	t.Helper()
	var o simulator.Options
	for _, change := range options {
		change(&o)
	}
	sim, err := simulator.Start(o, simulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	p := &Plugin{
		Version: "v1.2.3",
		Commit:  "test",
		Connect: func(e ecgrid.Endpoint) (ecgrid.Client, error) { return soap.Connect(e) },
		Clock:   backend.SystemClock{},
		Random:  rand.Reader,
	}
	m := &testMount{t: t, storage: new(logical.InmemStorage), sim: sim, plugin: p, vault: newFakeVault(), log: new(logRecorder)}
	m.backend = m.serve()
	return m
}

// serve starts the backend on the mount's storage, as Vault does after a restart.
func (m *testMount) serve() logical.Backend {
	m.t.Helper()
	m.process = newProcess(m.storage)
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: m.log, JSONFormat: true})
	client, _ := goplugin.TestPluginGRPCConn(m.t, false, map[string]goplugin.Plugin{
		plugin.BackendPluginName: &plugin.GRPCBackendPlugin{Factory: m.process.plugin(m.plugin).Factory, Logger: logger},
	})
	raw, err := client.Dispense(plugin.BackendPluginName)
	if err != nil {
		m.t.Fatal(err)
	}
	b := raw.(logical.Backend)
	if err := b.Setup(context.Background(), &logical.BackendConfig{
		Logger:      logger,
		System:      m.vault,
		StorageView: m.process,
		BackendUUID: "test",
	}); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		b.Cleanup(context.Background())
		_ = client.Close()
	})
	return b
}

func (m *testMount) do(op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	return m.backend.HandleRequest(m.t.Context(), &logical.Request{
		Operation:  op,
		Path:       path,
		Data:       data,
		Storage:    m.storage,
		MountPoint: "ecgrid/",
	})
}

// must does what has to succeed.
func (m *testMount) must(op logical.Operation, path string, data map[string]any) *logical.Response {
	m.t.Helper()
	resp, err := m.do(op, path, data)
	if status := statusOf(resp, err); status != http.StatusOK {
		m.t.Fatalf("%s %s: %d %v", op, path, status, err)
	}
	return resp
}

// refused does what has to fail with this status, and a message.
func (m *testMount) refused(status int, op logical.Operation, path string, data map[string]any) {
	m.t.Helper()
	resp, err := m.do(op, path, data)
	if got := statusOf(resp, err); got != status {
		m.t.Errorf("%s %s: got %d (%v), want %d", op, path, got, err, status)
	}
	if resp != nil && err != nil {
		m.t.Errorf("%s %s: a response beside the error", op, path)
	}
	m.noSecrets(resp, err)
}

// statusOf is the HTTP status that Vault would answer.
func statusOf(resp *logical.Response, err error) int {
	var coded logical.HTTPCodedError
	switch {
	case errors.As(err, &coded):
		return coded.Code()
	case errors.Is(err, logical.ErrUnsupportedPath):
		return http.StatusNotFound
	case errors.Is(err, logical.ErrUnsupportedOperation):
		return http.StatusMethodNotAllowed
	case err != nil:
		return http.StatusInternalServerError
	case resp.IsError():
		return http.StatusBadRequest
	}
	return http.StatusOK
}

func (m *testMount) user(id int32) simulator.User {
	m.t.Helper()
	u, ok := m.sim.User(id)
	if !ok {
		m.t.Fatalf("no user %d", id)
	}
	return u
}

// login is a config of the simulator's administrator.
func (m *testMount) login(more map[string]any) map[string]any {
	data := map[string]any{
		fieldURL:      m.sim.SOAP,
		fieldUsername: simulator.AdminLogin,
		fieldPassword: m.user(simulator.AdminUserID).Password,
	}
	for k, v := range more {
		data[k] = v
	}
	return data
}

func (m *testMount) configure(more map[string]any) {
	m.t.Helper()
	m.must(logical.CreateOperation, "config", m.login(more))
}

// validated checks a response against what its operation documents.
func (m *testMount) validated(op logical.Operation, path string, resp *logical.Response) {
	m.t.Helper()
	t, ok := m.t.(*testing.T)
	if !ok {
		return
	}
	own := m.plugin.newBackend(&logical.BackendConfig{})
	route := own.Route(path)
	if route == nil {
		t.Fatalf("no path %s", path)
	}
	schema.ValidateResponse(t, schema.GetResponseSchema(t, route, op), resp, true)
}

// noSecrets searches an answer for anything that must never leave.
func (m *testMount) noSecrets(resp *logical.Response, err error) {
	m.t.Helper()
	texts := []string{}
	if err != nil {
		texts = append(texts, err.Error())
	}
	if resp != nil {
		texts = append(texts, resp.Warnings...)
		if resp.IsError() {
			texts = append(texts, resp.Error().Error())
		}
	}
	for _, text := range texts {
		if m.holdsSecret(text) {
			m.t.Error("an error or warning holds a secret")
		}
	}
}

func (m *testMount) holdsSecret(text string) bool {
	return slices.ContainsFunc(m.sim.Secrets(), func(secret string) bool { return contains(text, secret) })
}
