// Package chaos runs the plugin in a real Vault, under load, against an ECGrid of
// another hand that is as bad as a network and a busy service can be, and kills
// what can be killed. It knows the engine's paths and nothing of its inside.
//
//	ECGRID_CHAOS        how long it is bad, 25s by default
//	ECGRID_CHAOS_SEED   the dice, printed at the start
//
// It needs a vault. "make test" gets one; with a bare "go test" it is skipped
// unless one is on PATH or in the user's cache (see scripts/vault.sh).
package chaos

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const pluginName = "vault-plugin-ecgrid"

// tools are the two programs under test.
var tools struct {
	missing string // why there is no vault
	vault   string
	dir     string // plugin directory
	sum     string
	version string
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	log.SetOutput(io.Discard) // net/http prints what it did not expect
	dir, err := os.MkdirTemp("", "ecgrid-chaos")
	if err == nil {
		defer os.RemoveAll(dir)
		dir, err = filepath.EvalSymlinks(dir) // Vault refuses links in its plugin directory
	}
	if err == nil {
		err = errors.Join(findVault(), installPlugin(dir))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return m.Run()
}

// findVault never builds one: go test would time out before it is done.
func findVault() error {
	out, err := exec.Command(filepath.Join("..", "..", "scripts", "vault.sh"), "--no-build").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if exit.ExitCode() != 3 {
			return fmt.Errorf("scripts/vault.sh: %w: %s", err, exit.Stderr)
		}
		tools.missing = "no vault to test with: run 'make test', which gets one"
		fmt.Fprintln(os.Stderr, "chaos: SKIPPED,", tools.missing)
		return nil
	}
	tools.vault = string(bytes.TrimSpace(out))
	return err
}

// installPlugin takes a copy of PLUGIN_BIN, or builds one.
func installPlugin(dir string) error {
	if tools.missing != "" {
		return nil
	}
	tools.dir = dir
	target := filepath.Join(dir, pluginName)
	if built := os.Getenv("PLUGIN_BIN"); built == "" {
		cmd := exec.Command("go", "build", "-o", target, "../../cmd/"+pluginName)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building the plugin: %w\n%s", err, out)
		}
	} else if raw, err := os.ReadFile(built); err != nil {
		return err
	} else if err := os.WriteFile(target, raw, 0o755); err != nil {
		return err
	}
	raw, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	tools.sum = hex.EncodeToString(sum[:])
	said, err := exec.Command(target, "-version").Output()
	if tools.version = regexp.MustCompile(`v\d+\.\d+\.\d+\S*`).FindString(string(said)); err != nil || tools.version == "" {
		return fmt.Errorf("%s -version names no version: %w", pluginName, err)
	}
	return nil
}

func needVault(t *testing.T) {
	t.Helper()
	if tools.missing != "" {
		t.Skip(tools.missing)
	}
}

// environment keeps a user's own Vault settings out.
func environment(home string) []string {
	env := []string{"HOME=" + home}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "PATH=") || strings.HasPrefix(kv, "TMPDIR=") {
			env = append(env, kv)
		}
	}
	return env
}
