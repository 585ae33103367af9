// Package acceptance runs the plugin as its users do: a real Vault server over
// TLS, the real vault CLI, and the ECGrid simulator over TLS.
//
// It needs a vault. "make test" gets one; with a bare "go test" the tests skip
// unless one is on PATH or in the user's cache (see scripts/vault.sh).
package acceptance

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

const pluginName = "vault-plugin-ecgrid"

// suite is what all tests share: the binaries, and what has to be searched and
// ended when the last one is through.
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
	// Where GOTMPDIR is set, the usual place may be one that no program runs from.
	if suite.dir, err = os.MkdirTemp(os.Getenv("GOTMPDIR"), "acceptance"); err != nil {
		return err
	}
	suite.sharedVault = sync.OnceValues(func() (*vault, error) { return startVault(inmem) })
	if err = findVault(); err != nil || suite.noVault != "" {
		return err
	}
	return installPlugin()
}

func repoRoot() string {
	root, err := filepath.Abs("..")
	if err != nil {
		panic(err)
	}
	return root
}

// findVault never builds one: that takes longer than go test's own timeout and
// would look like a hang.
func findVault() error {
	cmd := exec.Command(filepath.Join(repoRoot(), "scripts", "vault.sh"), "--no-build")
	cmd.Dir = repoRoot() // where go test is typed, and a relative VAULT_BIN starts
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == 3 {
		suite.noVault = "no vault to test with: run 'make test', which gets one"
		fmt.Fprintln(os.Stderr, "acceptance: SKIPPED,", suite.noVault)
		return nil
	}
	if err != nil {
		return fmt.Errorf("scripts/vault.sh: %w: %s", err, stderr.Bytes())
	}
	suite.vaultBin = strings.TrimSpace(string(out))
	return nil
}

// installPlugin puts a copy into a plugin directory of its own, so that a build
// that runs beside the tests cannot change what is registered.
func installPlugin() error {
	suite.pluginDir = filepath.Join(suite.dir, "plugins")
	if err := os.Mkdir(suite.pluginDir, 0o755); err != nil {
		return err
	}
	var err error
	if suite.pluginDir, err = filepath.EvalSymlinks(suite.pluginDir); err != nil { // Vault refuses links
		return err
	}
	installed := filepath.Join(suite.pluginDir, pluginName)
	if err := obtainPlugin(installed); err != nil {
		return err
	}
	raw, err := os.ReadFile(installed)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	suite.pluginSum = hex.EncodeToString(sum[:])
	out, err := exec.Command(installed, "-version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s -version: %w", pluginName, err)
	}
	if suite.pluginVersion = regexp.MustCompile(`v\d+\.\d+\.\d+[0-9A-Za-z.+-]*`).FindString(string(out)); suite.pluginVersion == "" {
		return fmt.Errorf("%s -version names no version: %q", pluginName, out)
	}
	return nil
}

// obtainPlugin takes what make built, or builds the plugin the same way.
func obtainPlugin(to string) error {
	if built := os.Getenv("PLUGIN_BIN"); built != "" {
		raw, err := os.ReadFile(built)
		if err != nil {
			return err
		}
		return os.WriteFile(to, raw, 0o755)
	}
	cmd := exec.Command("sh", "-c", `root=.; . scripts/env.sh; exec go build -trimpath -ldflags '-s -w' -o "$1" "./cmd/$2"`, "build", to, pluginName)
	cmd.Dir = repoRoot()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the plugin: %w\n%s", err, out)
	}
	return nil
}

// tearDown ends what still runs, then searches everything that any Vault of this
// run has written for every secret of this run.
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

// needVault skips where there is none, and is the first line of every test.
func needVault(t *testing.T) {
	t.Helper()
	if suite.noVault != "" {
		t.Skip(suite.noVault)
	}
}

// shared is a Vault that no test may kill, seal or reload.
func shared(t *testing.T) *vault {
	t.Helper()
	needVault(t)
	v, err := suite.sharedVault()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// own is a Vault for one test alone.
func own(t *testing.T, s storage) *vault {
	t.Helper()
	needVault(t)
	v, err := startVault(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	return v
}
