// SPDX-License-Identifier: MPL-2.0

// Package chaos runs the plugin in a real Vault under load, against a second ECGrid
// stand-in that misbehaves as a network and a busy service can, and kills the plugin and
// Vault. It knows the engine's paths and none of its code.
//
//	ECGRID_CHAOS        how long ECGrid misbehaves, 25s by default
//	ECGRID_CHAOS_SEED   the seed of the random numbers, printed at the start
//	ECGRID_TRANSPORT    soap, the default, or rest
//
// It needs a vault. "make test" gets one. With a bare "go test" the test is skipped unless
// one is on PATH or in the user's cache (see scripts/vault.sh).
package chaos

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const pluginName = vaulttest.PluginName

// programs are the programs under test.
var programs struct {
	missing string // why there is no vault
	vault   string
	plugin  vaulttest.Plugin
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	log.SetOutput(io.Discard) // net/http prints unexpected answers, with keys
	dir, err := os.MkdirTemp("", "ecgrid-chaos")
	if err == nil {
		defer os.RemoveAll(dir)
		err = findPrograms(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return m.Run()
}

func findPrograms(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if programs.vault, err = vaulttest.FindVault(root); errors.Is(err, vaulttest.ErrNoVault) {
		programs.missing = err.Error()
		fmt.Fprintln(os.Stderr, "chaos: SKIPPED,", err)
		return nil
	}
	if err != nil {
		return err
	}
	programs.plugin, err = vaulttest.InstallPlugin(root, filepath.Join(dir, "plugins"))
	return err
}

func needVault(t *testing.T) {
	t.Helper()
	if programs.missing != "" {
		t.Skip(programs.missing)
	}
}
