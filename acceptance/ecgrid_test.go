package acceptance

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// ecgrid is one simulated ECGrid, over TLS with a CA of its own.
type ecgrid struct {
	*simulator.Server

	mu   sync.Mutex
	more []string // credentials that the simulator has never seen
}

func newECGrid(t *testing.T) *ecgrid {
	t.Helper()
	server, err := simulator.Start(simulator.Options{}, simulator.ServerOptions{TLS: true})
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

// invent makes a credential that only a test knows, and has it searched for too.
func (g *ecgrid) invent(credential string) string {
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

// trusting is a client that trusts this ECGrid and nothing else.
func (g *ecgrid) trusting() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(g.CACert)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
}

type fields = map[string]any

// login is the config of the simulator's administrator.
func (g *ecgrid) login() fields {
	return fields{
		"url":      g.SOAP,
		"username": simulator.AdminLogin,
		"password": g.password(simulator.AdminUserID),
		"ca_cert":  string(g.CACert),
	}
}

// mount is the plugin mounted at a path of its own, with an ECGrid of its own.
type mount struct {
	*vault
	*ecgrid
	path string
}

// mounted gives a mount without a config.
func mounted(t *testing.T, v *vault) *mount {
	t.Helper()
	return mountedOn(t, v, newECGrid(t))
}

func mountedOn(t *testing.T, v *vault, g *ecgrid) *mount {
	t.Helper()
	m := &mount{vault: v, ecgrid: g, path: fmt.Sprintf("ecgrid%d", v.mounts.Add(1))}
	v.ok(t, http.MethodPost, path("sys/mounts", m.path), fields{"type": pluginName})
	t.Cleanup(func() {
		if v.running() {
			m.disable(t)
		}
	})
	return m
}

// configured gives a mount that is logged in as the administrator, with further
// settings.
func configured(t *testing.T, v *vault, settings fields) *mount {
	t.Helper()
	m := mounted(t, v)
	m.configure(t, settings)
	return m
}

func (m *mount) configure(t *testing.T, settings fields) {
	t.Helper()
	config := m.login()
	for name, value := range settings {
		config[name] = value
	}
	m.ok(t, http.MethodPost, m.at("config"), config)
}

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

// works is the proof that nothing is left broken.
func (m *mount) works(t *testing.T) {
	t.Helper()
	eventually(t, 10*time.Second, "a read works again", func() bool {
		a, err := m.do(http.MethodGet, m.at("keys", simulator.UserID5001), nil)
		return err == nil && a.Status == http.StatusOK && a.Data["api_key"] == m.key(simulator.UserID5001)
	})
}

// loggedOut waits until no session is left open at ECGrid.
func (m *mount) loggedOut(t *testing.T, after string) {
	t.Helper()
	eventually(t, 10*time.Second, "no session open after "+after, func() bool { return m.OpenSessions() == 0 })
}

// oneSession waits until there is the one that is in use, and no other.
func (m *mount) oneSession(t *testing.T, after string) {
	t.Helper()
	eventually(t, 10*time.Second, "one session open after "+after, func() bool { return m.OpenSessions() == 1 })
}

// loggedIn leaves exactly one session open.
func (m *mount) loggedIn(t *testing.T) {
	t.Helper()
	m.readKey(t, simulator.UserID5001)
	if n := m.OpenSessions(); n != 1 {
		t.Fatalf("%d sessions open after a read, want 1", n)
	}
}

// token has one policy and the default one.
func (m *mount) token(t *testing.T, rules string) *client {
	t.Helper()
	name := strings.ReplaceAll(m.path+"-"+t.Name(), "/", "-")
	m.ok(t, http.MethodPut, path("sys/policies/acl", name), fields{"policy": rules})
	a := m.ok(t, http.MethodPost, "auth/token/create", fields{"policies": []string{name}})
	return m.as(a.Auth.ClientToken)
}
