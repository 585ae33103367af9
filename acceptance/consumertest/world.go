// SPDX-License-Identifier: MPL-2.0

// Package consumertest is the test kit of the programs that read keys from Vault: Vault
// Agent, operators, Terraform and clients. A World is what they run against. Measure runs
// one of them through a rotation and two outages, and reports a row of docs/consumers.md.
package consumertest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

const (
	// UserID is the ECGrid user whose key the consumers read.
	UserID = simulator.UserID5001
	// Role is a role of that user, for creds/ and static-creds/.
	Role = "edi-gateway"
	// Policy allows reading the user's key by all three paths, and nothing else.
	Policy = "edi-gateway"
)

type fields = map[string]any

// World is a Vault with the plugin at ecgrid/, and an ECGrid, both over TLS.
type World struct {
	*vaulttest.Node

	VaultBin string
	Grid     *simulator.Server
}

// Start starts a World. Leases of the user's key last for ttl. Everything ends with the
// test. Then Vault's log and audit log are searched for secrets.
func Start(t testing.TB, ttl time.Duration) *World {
	t.Helper()
	w := &World{}
	var err error
	if w.VaultBin, err = vaulttest.FindVault(Root()); errors.Is(err, vaulttest.ErrNoVault) {
		t.Skip(err)
	}
	Must(t, err)
	w.Grid, err = simulator.Start(simulator.Options{}, simulator.ServerOptions{TLS: true})
	Must(t, err)
	t.Cleanup(func() { _ = w.Grid.Close() })
	w.startVault(t, t.TempDir())
	w.mount(t, ttl)
	return w
}

// Root is the repository.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// CacheDir is the directory of what the project's scripts build once for a user. On macOS,
// it is not in os.UserCacheDir.
func CacheDir() (string, error) {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(home, ".cache")
	}
	return filepath.Join(cache, "vault-plugin-ecgrid"), nil
}

// CAFile is the file with Vault's CA.
func (w *World) CAFile() string { return w.Path("ca.pem") }

func (w *World) startVault(t testing.TB, dir string) {
	t.Helper()
	plugin, err := vaulttest.InstallPlugin(Root(), filepath.Join(dir, "plugins"))
	Must(t, err)
	w.Node, err = vaulttest.NewNode(w.VaultBin, vaulttest.Config{Dir: dir, PluginDir: plugin.Dir, Raft: true}, time.Minute)
	Must(t, err)
	t.Cleanup(func() { w.stop(t) })
	Must(t, w.SetUp())
	Must(t, w.Install(plugin))
}

func (w *World) mount(t testing.TB, ttl time.Duration) {
	t.Helper()
	admin, _ := w.Grid.User(simulator.AdminUserID)
	w.Write(t, "sys/mounts/ecgrid", fields{"type": vaulttest.PluginName})
	w.Write(t, "ecgrid/config", fields{
		"url": w.Grid.SOAP, "ca_cert": string(w.Grid.CACert), "username": admin.LoginName, "password": admin.Password,
		"request_timeout": "2s", "ttl": seconds(ttl),
	})
	w.Write(t, "ecgrid/roles/"+Role, fields{"user_id": UserID, "ttl": seconds(ttl)})
	rules := fmt.Sprintf("path \"ecgrid/keys/%d\" { capabilities = [\"read\"] }\n", UserID)
	for _, path := range []string{"creds", "static-creds"} {
		rules += fmt.Sprintf("path \"ecgrid/%s/%s\" { capabilities = [\"read\"] }\n", path, Role)
	}
	w.Write(t, "sys/policies/acl/"+Policy, fields{"policy": rules})
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// Write writes to a path of Vault with the root token. Any refusal ends the test.
func (w *World) Write(t testing.TB, path string, body any) vaulttest.Response {
	t.Helper()
	r, err := w.Do(http.MethodPut, path, body)
	Must(t, err)
	if !r.OK() {
		t.Fatalf("%s answered %d: %s", path, r.Status, r.Errors)
	}
	return r
}

// AppRole makes an AppRole with Policy. Its tokens can be renewed for as long as it exists.
func (w *World) AppRole(t testing.TB) (roleID, secretID string) {
	t.Helper()
	methods, err := w.Do(http.MethodGet, "sys/auth", nil)
	Must(t, err)
	if _, enabled := methods.Data["approle/"]; !enabled {
		w.Write(t, "sys/auth/approle", fields{"type": "approle"})
	}
	const role = "auth/approle/role/" + Role
	w.Write(t, role, fields{"token_policies": Policy, "token_period": "1h"})
	r, err := w.Do(http.MethodGet, role+"/role-id", nil)
	Must(t, err)
	return fmt.Sprint(r.Data["role_id"]), fmt.Sprint(w.Write(t, role+"/secret-id", nil).Data["secret_id"])
}

// ReaderToken makes a token with Policy.
func (w *World) ReaderToken(t testing.TB) string {
	t.Helper()
	return w.Write(t, "auth/token/create", fields{"policies": []string{Policy}, "period": "1h"}).Auth.ClientToken
}

// Key is the user's key at ECGrid.
func (w *World) Key() string {
	u, _ := w.Grid.User(UserID)
	return u.APIKey
}

// Rotate replaces the user's key through the plugin.
func (w *World) Rotate(t testing.TB) {
	t.Helper()
	w.Write(t, fmt.Sprint("ecgrid/rotate-key/", UserID), nil)
}

// ECGridDown makes ECGrid reset every connection until up is called.
func (w *World) ECGridDown() (up func()) {
	return w.Grid.Inject(simulator.Fault{Answer: simulator.AnswerReset})
}

// VaultDown kills Vault with SIGKILL. Up starts and unseals it again.
func (w *World) VaultDown(t testing.TB) (up func()) {
	w.KillAll()
	return func() {
		t.Helper()
		Must(t, w.Launch())
		Must(t, w.Unseal())
	}
}

func (w *World) stop(t testing.TB) {
	w.Stop()
	for _, name := range []string{"vault.log", vaulttest.AuditFile} {
		CheckLog(t, w.Path(name), w.Grid.Secrets()...)
	}
}
