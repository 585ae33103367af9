// SPDX-License-Identifier: MPL-2.0

// Package acceptance tests the plugin in a real Vault server over TLS, with the real
// vault CLI, against the ECGrid simulator over TLS.
//
// It needs a vault. "make test" gets one. With a bare "go test" the tests are skipped
// unless one is on PATH or in the user's cache (see scripts/vault.sh).
package acceptance

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const pluginName = vaulttest.PluginName

// suite is what all tests share: the binaries, and the servers to stop and search for
// secrets after the last test.
var suite struct {
	dir           string
	noVault       string // why there is no vault to test with
	vaultBin      string
	pluginDir     string
	pluginSum     string
	pluginVersion string

	sharedVault func() (*vault, error)

	mu     sync.Mutex
	vaults []*vault
	grids  []*ecgrid
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, "acceptance:", r)
			code = 1
		}
	}()
	err := setUp()
	defer os.RemoveAll(suite.dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		return 1
	}
	code = m.Run()
	return max(code, tearDown())
}

func setUp() (err error) {
	// If GOTMPDIR is set, programs may not run from the default directory.
	if suite.dir, err = os.MkdirTemp(os.Getenv("GOTMPDIR"), "acceptance"); err != nil {
		return err
	}
	suite.sharedVault = sync.OnceValues(func() (*vault, error) { return startVault(inmem) })
	if suite.vaultBin, err = vaulttest.FindVault(repoRoot()); errors.Is(err, vaulttest.ErrNoVault) {
		suite.noVault = err.Error()
		fmt.Fprintln(os.Stderr, "acceptance: SKIPPED,", err)
		return nil
	}
	if err != nil {
		return err
	}
	plugin, err := vaulttest.InstallPlugin(repoRoot(), filepath.Join(suite.dir, "plugins"))
	suite.pluginDir, suite.pluginSum, suite.pluginVersion = plugin.Dir, plugin.Sum, plugin.Version
	return err
}

func repoRoot() string {
	root, err := filepath.Abs("..")
	if err != nil {
		panic(err)
	}
	return root
}

// tearDown stops the servers, then searches everything that any Vault of this run has
// written for every secret of this run.
func tearDown() int {
	suite.mu.Lock()
	vaults := suite.vaults
	suite.mu.Unlock()
	for _, v := range vaults {
		v.stop()
	}
	secrets := allSecrets()
	code := 0
	for _, v := range vaults {
		for _, leak := range v.leaks(secrets) {
			fmt.Fprintln(os.Stderr, "acceptance: a secret of this run is in", leak)
			code = 1
		}
	}
	return code
}

func allSecrets() []string {
	suite.mu.Lock()
	defer suite.mu.Unlock()
	var all []string
	for _, g := range suite.grids {
		all = append(all, g.secrets()...)
	}
	return all
}

// needVault skips a test if there is no vault.
func needVault(t *testing.T) {
	t.Helper()
	if suite.noVault != "" {
		t.Skip(suite.noVault)
	}
}

// needVaultItself also skips a test if the vault is OpenBao's bao.
func needVaultItself(t *testing.T, why string) {
	t.Helper()
	needVault(t)
	if vaulttest.IsOpenBao(suite.vaultBin) {
		t.Skip("not for OpenBao: " + why)
	}
}

// sharedVault is a server that no test may kill, seal or reload.
func sharedVault(t *testing.T) *vault {
	t.Helper()
	needVault(t)
	v, err := suite.sharedVault()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ownVault is a server for one test alone.
func ownVault(t *testing.T, s storage) *vault {
	t.Helper()
	needVault(t)
	v, err := startVault(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	return v
}
