// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/testcert"
)

// ecgrid is a simulated ECGrid with a CA of its own.
type ecgrid struct {
	*simulator.Server

	mu   sync.Mutex
	more []string // credentials that only a test knows
}

// newECGrid makes an ECGrid. Its certificate is for further hosts too.
func newECGrid(t *testing.T, hosts ...string) *ecgrid {
	t.Helper()
	server, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{TLS: true, Hosts: hosts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() }) // some tests have closed it
	g := &ecgrid{Server: server}
	suite.mu.Lock()
	defer suite.mu.Unlock()
	suite.grids = append(suite.grids, g)
	return g
}

// newSecret adds a credential to those that the tests search for.
func (g *ecgrid) newSecret(credential string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.more = append(g.more, credential)
	return credential
}

func (g *ecgrid) secrets() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append(g.Secrets(), g.more...)
}

func (g *ecgrid) password(userID int32) string {
	u, _ := g.User(userID)
	return u.Password
}

func (g *ecgrid) key(userID int32) string {
	u, _ := g.User(userID)
	return u.APIKey
}

// httpClient trusts this ECGrid and nothing else.
func (g *ecgrid) httpClient() *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   testcert.ClientConfig(g.CACert),
		DisableKeepAlives: true,
	}}
}

type fields = map[string]any

// loginConfig is a config with the administrator's login.
func (g *ecgrid) loginConfig() fields {
	return fields{
		"transport": transport(),
		"url":       g.endpoint(),
		"username":  simulator.AdminLogin,
		"password":  g.password(simulator.AdminUserID),
		"ca_cert":   string(g.CACert),
	}
}

// transport is that of all tests: ECGRID_TRANSPORT, soap by default.
func transport() string { return cmp.Or(os.Getenv("ECGRID_TRANSPORT"), simulator.TransportSOAP) }

// byTransport is what a test wants over SOAP and over REST, if that differs.
func byTransport[T any](soap, rest T) T {
	if transport() == simulator.TransportREST {
		return rest
	}
	return soap
}

// endpoint is the url of the config.
func (g *ecgrid) endpoint() string { return g.URL(transport()) }

// mount is the plugin mounted at a path of its own, with an ECGrid of its own.
type mount struct {
	*vault
	*ecgrid
	path string
}

// newMount makes a mount without a config. It is disabled when the test ends.
func newMount(t *testing.T, v *vault) *mount {
	t.Helper()
	m := &mount{vault: v, ecgrid: newECGrid(t), path: fmt.Sprintf("ecgrid%d", v.mounts.Add(1))}
	v.ok(t, http.MethodPost, path("sys/mounts", m.path), fields{"type": pluginName})
	t.Cleanup(func() {
		if v.running() {
			m.disable(t)
		}
	})
	return m
}

// configuredMount makes a mount with the administrator's login and further settings.
func configuredMount(t *testing.T, v *vault, settings fields) *mount {
	t.Helper()
	m := newMount(t, v)
	m.configure(t, settings)
	return m
}

func (m *mount) configure(t *testing.T, settings fields) {
	t.Helper()
	config := m.loginConfig()
	for name, value := range settings {
		config[name] = value
	}
	m.ok(t, http.MethodPost, m.at("config"), config)
}

// disable may be called again: Vault answers the same.
func (m *mount) disable(t *testing.T) {
	t.Helper()
	m.ok(t, http.MethodDelete, path("sys/mounts", m.path), nil)
}

// at is a path below the mount.
func (m *mount) at(parts ...any) string {
	return path(append([]any{m.path}, parts...)...)
}

func (m *mount) readKey(t *testing.T, userID int32) answer {
	t.Helper()
	a := m.read(t, m.at("keys", userID))
	if a.Data["api_key"] != m.key(userID) {
		t.Errorf("keys/%d is not the user's key", userID)
	}
	return a
}

// awaitRead waits until a key can be read, which proves that the mount works.
func (m *mount) awaitRead(t *testing.T) {
	t.Helper()
	eventually(t, 10*time.Second, "a read works again", func() bool {
		a, err := m.do(http.MethodGet, m.at("keys", simulator.UserID5001), nil)
		return err == nil && a.Status == http.StatusOK && a.Data["api_key"] == m.key(simulator.UserID5001)
	})
}

// awaitLogout waits until no session is open at ECGrid.
func (m *mount) awaitLogout(t *testing.T, after string) {
	t.Helper()
	eventually(t, 10*time.Second, "no session open after "+after, func() bool { return m.OpenSessions() == 0 })
}

// awaitOneSession waits until only the session in use is open.
func (m *mount) awaitOneSession(t *testing.T, after string) {
	t.Helper()
	eventually(t, 10*time.Second, "one session open after "+after, func() bool { return m.OpenSessions() == 1 })
}

// openSession reads a key, and checks that exactly one session is open.
func (m *mount) openSession(t *testing.T) {
	t.Helper()
	m.readKey(t, simulator.UserID5001)
	if n := m.OpenSessions(); n != 1 {
		t.Fatalf("%d sessions open after a read, want 1", n)
	}
}

// withRules makes a token with this policy and the default one.
func (m *mount) withRules(t *testing.T, rules string) *client {
	t.Helper()
	name := strings.ReplaceAll(m.path+"-"+t.Name(), "/", "-")
	m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": rules})
	return m.withPolicies(t, name)
}

// withPolicies makes a token with these policies and the default one.
func (m *mount) withPolicies(t *testing.T, policies ...string) *client {
	t.Helper()
	a := m.ok(t, http.MethodPost, "auth/token/create", fields{"policies": policies})
	return m.withToken(a.Auth.ClientToken)
}
