// SPDX-License-Identifier: MPL-2.0

package ecgrid

// The test kit of this package. A testMount is one mount of the plugin behind real
// gRPC, as Vault sees it, with a real client and a simulator as its ECGrid. The client is
// that of SOAP or, with ECGRID_TRANSPORT=rest, that of REST.
//
//	m := newTestMount(t)                  // without a config
//	m.configure(fields{"ttl": "1h"})      // the login of the simulator's administrator
//	m.role("team", nil)                   // a role of user 5001
//	m.must(op, path, data)                // a request that must succeed
//	m.refused(status, op, path, data)     // a request that must fail
//	m.lease(op, secret), m.revoke(secret) // renewals and revocations
//	m.initialize(), m.tick(), …           // what Vault calls by itself
//	m.restart(), m.freezeClock()          // a new process, with a clock of its own
//	m.expect(path, fields{"ttl": 60.0})   // what a read must return
//	m.awaitResolved(), m.expectResolved() // the end of a rotate-root
//
// Each response is checked against the schema of its operation. No response, error,
// lease, event or log line may contain a secret of the simulator.

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/ecgrid/clients"
	"vault-plugin-ecgrid/internal/simulator"
)

type fields = map[string]any

// transport is that of all tests: ECGRID_TRANSPORT, soap by default.
func transport() string { return cmp.Or(os.Getenv("ECGRID_TRANSPORT"), simulator.TransportSOAP) }

// byTransport is what a test wants over SOAP and over REST, if that differs.
func byTransport[T any](soap, rest T) T {
	if transport() == simulator.TransportREST {
		return rest
	}
	return soap
}

// foreignStatus is what a user of another network is answered with. Over REST such a user is
// like one that does not exist.
func foreignStatus() int { return byTransport(http.StatusForbidden, http.StatusNotFound) }

type testMount struct {
	t       testing.TB
	backend logical.Backend
	storage *logical.InmemStorage
	sim     *simulator.Server
	plugin  *Plugin
	paths   *mount // for the schemas of responses
	vault   *fakeVault
	process *process // the one that serve started last
	log     *logRecorder
	events  *eventRecorder
}

func newTestMount(t testing.TB) *testMount {
	t.Helper()
	sim, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	p := &Plugin{
		Version: "v1.2.3",
		Commit:  "test",
		Connect: clients.Connect,
		Clock:   backend.SystemClock{},
		Random:  rand.Reader,
	}
	m := &testMount{
		t: t, storage: new(logical.InmemStorage), sim: sim, plugin: p,
		paths: p.newBackend(&logical.BackendConfig{}), vault: &fakeVault{StaticSystemView: logical.TestSystemView()}, log: new(logRecorder), events: newEventRecorder(),
	}
	m.vault.ReplicationStateVal = consts.ReplicationPerformanceDisabled | consts.ReplicationDRDisabled // as Vault Community says
	t.Cleanup(func() {
		if m.holdsSecret(m.log.String(), m.events.text()) {
			t.Error("the log or an event contains a secret")
		}
	})
	m.backend = m.serve()
	return m
}

// serve starts the plugin on the mount's storage, as Vault does.
func (m *testMount) serve() logical.Backend {
	m.t.Helper()
	m.process = &process{Storage: m.storage, changed: make(chan struct{})}
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
		BackendUUID: "test", EventsSender: m.events,
	}); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		b.Cleanup(context.Background())
		_ = client.Close()
	})
	return b
}

// restart kills the process and starts another.
func (m *testMount) restart() {
	m.t.Helper()
	m.process.kill()
	m.backend = m.serve()
}

// request makes the request that Vault would send.
func (m *testMount) request(op logical.Operation, path string, data fields) *logical.Request {
	return &logical.Request{Operation: op, Path: path, Data: data, Storage: m.storage, MountPoint: "ecgrid/"}
}

func (m *testMount) do(op logical.Operation, path string, data fields) (*logical.Response, error) {
	m.t.Helper()
	return m.handle(m.request(op, path, data))
}

// handle sends a request and searches its response for secrets.
func (m *testMount) handle(req *logical.Request) (*logical.Response, error) {
	m.t.Helper()
	resp, err := m.backend.HandleRequest(m.t.Context(), req)
	var texts []string
	if err != nil {
		texts = append(texts, err.Error())
	}
	if resp != nil {
		texts = append(texts, resp.Warnings...)
		for name, value := range resp.Data {
			if text, ok := value.(string); ok && name != "api_key" {
				texts = append(texts, text)
			}
		}
	}
	if resp != nil && resp.Secret != nil {
		for name, value := range resp.Secret.InternalData {
			text, ok := value.(string)
			if !ok {
				m.t.Errorf("the lease stores %s as a %T", name, value)
			}
			texts = append(texts, text)
		}
	}
	if m.holdsSecret(texts...) {
		m.t.Errorf("%s %s: the response contains a secret", req.Operation, req.Path)
	}
	return resp, err
}

func (m *testMount) holdsSecret(texts ...string) bool {
	all := strings.Join(texts, "\n")
	return slices.ContainsFunc(m.sim.Secrets(), func(secret string) bool { return strings.Contains(all, secret) })
}

// must sends a request that must succeed, and checks the response against its schema.
func (m *testMount) must(op logical.Operation, path string, data fields) *logical.Response {
	m.t.Helper()
	resp, err := m.do(op, path, data)
	if status := statusOf(resp, err); status != http.StatusOK {
		m.t.Fatalf("%s %s: %d %v", op, path, status, err)
	}
	if t, ok := m.t.(*testing.T); ok {
		schema.ValidateResponse(t, schema.GetResponseSchema(t, m.paths.Route(path), op), resp, true)
	}
	return resp
}

// refused sends a request that must fail with this status.
func (m *testMount) refused(status int, op logical.Operation, path string, data fields) {
	m.t.Helper()
	resp, err := m.do(op, path, data)
	if got := statusOf(resp, err); got != status {
		m.t.Errorf("%s %s: got %d (%v), want %d", op, path, got, err, status)
	}
	if err != nil && (resp != nil || err.Error() == "") {
		m.t.Errorf("%s %s: a response beside the error, or no message", op, path)
	}
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

// lease renews or revokes a lease. An error in the response counts as an error.
func (m *testMount) lease(op logical.Operation, secret *logical.Secret) (*logical.Response, error) {
	m.t.Helper()
	resp, err := m.handle(&logical.Request{Operation: op, Secret: secret, Storage: m.storage})
	if err == nil && resp.IsError() {
		err = resp.Error()
	}
	return resp, err
}

func (m *testMount) revoke(secret *logical.Secret) {
	m.t.Helper()
	if _, err := m.lease(logical.RevokeOperation, secret); err != nil {
		m.t.Errorf("revoke: %v", err)
	}
}

// initialize must not wait for ECGrid.
func (m *testMount) initialize() {
	m.t.Helper()
	start := time.Now()
	if err := m.backend.Initialize(m.t.Context(), &logical.InitializationRequest{Storage: m.storage}); err != nil {
		m.t.Errorf("initialize: %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		m.t.Errorf("initialize took %s", took)
	}
}

// tick is Vault's call once a minute.
func (m *testMount) tick() {
	m.t.Helper()
	resp, err := m.handle(&logical.Request{Operation: logical.RollbackOperation, Storage: m.storage})
	if err != nil || resp.IsError() {
		m.t.Errorf("rollback: %v", err)
	}
}

// rotationJob is a call of Vault Enterprise's rotation manager.
func (m *testMount) rotationJob() error {
	m.t.Helper()
	_, err := m.handle(&logical.Request{Operation: logical.RotationOperation, Path: configPath, Storage: m.storage})
	return err
}

// user is a user of the simulator.
func (m *testMount) user(id int32) simulator.User {
	m.t.Helper()
	u, ok := m.sim.User(id)
	if !ok {
		m.t.Fatalf("no user %d", id)
	}
	return u
}

// login is a config with the login of the simulator's administrator.
func (m *testMount) login(more fields) fields {
	data := fields{
		"transport": transport(), "url": m.sim.URL(transport()),
		"username": simulator.AdminLogin, "password": m.user(simulator.AdminUserID).Password,
	}
	maps.Copy(data, more)
	return data
}

// apiKeyLogin is a config with the administrator's API key.
func (m *testMount) apiKeyLogin() fields {
	return fields{"transport": transport(), "url": m.sim.URL(transport()), "api_key": m.user(simulator.AdminUserID).APIKey}
}

func (m *testMount) configure(more fields) {
	m.t.Helper()
	m.must(logical.CreateOperation, "config", m.login(more))
}

// role writes a role of user 5001.
func (m *testMount) role(name string, more fields) {
	m.t.Helper()
	data := fields{"user_id": 5001}
	maps.Copy(data, more)
	m.must(logical.CreateOperation, "roles/"+name, data)
}

// expect reads a path and compares the fields that are given.
func (m *testMount) expect(path string, want fields) *logical.Response {
	m.t.Helper()
	resp := m.must(logical.ReadOperation, path, nil)
	for name, value := range want {
		if resp.Data[name] != value {
			m.t.Errorf("%s: got %v, want %v", name, resp.Data[name], value)
		}
	}
	return resp
}

// expectRotated compares how often ECGrid was asked to rotate, whatever it answered.
func (m *testMount) expectRotated(passwords, keys int) {
	m.t.Helper()
	if p, k := m.sim.Count("ChangePassword"), m.sim.Count("GenerateAPIKey"); p != passwords || k != keys {
		m.t.Errorf("%d passwords and %d keys were rotated, want %d and %d", p, k, passwords, keys)
	}
}

// counted is the number of leases that are stored because their role has
// rotate_on_revoke.
func (m *testMount) counted() int {
	m.t.Helper()
	leases, err := logical.CollectKeys(m.t.Context(), logical.NewStorageView(m.storage, "lease/"))
	if err != nil {
		m.t.Fatal(err)
	}
	return len(leases)
}

// stored is the config in storage, with its passwords.
func (m *testMount) stored() backend.Config {
	m.t.Helper()
	entry, err := m.storage.Get(m.t.Context(), configPath)
	if err != nil || entry == nil {
		m.t.Fatalf("no config in storage: %v", err)
	}
	var c backend.Config
	if err := entry.DecodeJSON(&c); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// isUnresolved tells if it is unknown which password ECGrid has.
func isUnresolved(c backend.Config) bool {
	return slices.ContainsFunc(c.Pending, func(p backend.Pending) bool { return p.KeepUntil.IsZero() })
}

// awaitStored waits until the stored config meets the condition.
func (m *testMount) awaitStored(what string, condition func(backend.Config) bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	for {
		next := m.process.nextWrite()
		if condition(m.stored()) {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			m.t.Fatalf("the stored config never becomes %s", what)
		}
	}
}

// awaitResolved waits until a rotate-root is resolved in the background.
func (m *testMount) awaitResolved() {
	m.t.Helper()
	m.awaitStored("resolved", func(c backend.Config) bool { return !isUnresolved(c) })
	m.expectResolved()
}

// expectResolved checks that the stored password is ECGrid's and that reads work.
func (m *testMount) expectResolved() {
	m.t.Helper()
	c := m.stored()
	if c.Password != m.user(simulator.AdminUserID).Password {
		m.t.Error("the stored password is not ECGrid's")
	}
	if isUnresolved(c) {
		m.t.Error("a rotate-root is unresolved")
	}
	if key := m.must(logical.ReadOperation, "keys/5001", nil).Data["api_key"]; key != m.user(5001).APIKey {
		m.t.Error("a read does not return the user's key")
	}
}

// killDuringRotateRoot leaves a mount whose process died during ChangePassword, before
// or after ECGrid applied it.
func (m *testMount) killDuringRotateRoot(applied bool) {
	m.t.Helper()
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	f := simulator.Fault{Op: "ChangePassword", After: func(*simulator.Simulator) { m.process.kill() }}
	if !applied {
		f.Answer = simulator.AnswerReset
	}
	m.sim.Inject(f)
	if _, err := m.do(logical.UpdateOperation, "rotate-root", nil); err == nil {
		m.t.Error("a dead process has answered")
	}
	m.sim.ClearFaults()
	if !isUnresolved(m.stored()) {
		m.t.Fatal("the new password is not in storage")
	}
	m.restart()
}

// cutConnections makes ECGrid cut every connection from now on.
func cutConnections(s *simulator.Simulator) { s.Inject(simulator.Fault{Answer: simulator.AnswerReset}) }

// logRecorder records the plugin's log.
type logRecorder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logRecorder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logRecorder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
