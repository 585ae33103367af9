// SPDX-License-Identifier: MPL-2.0

// Package soak runs the plugin in a real Vault for a long time, with random failures of
// ECGrid, rotations and failovers, and checks that memory, goroutines, connections and
// storage do not grow. It measures the plugin's process from outside, and needs /proc.
//
//	ECGRID_SOAK       how long it runs, a few seconds by default
//	ECGRID_SOAK_SEED  the seed of the random numbers, printed at the start
//	ECGRID_SOAK_CSV   a file for all measurements, which bench/soakplot can plot
//
// It needs a vault. "make test" gets one. With a bare "go test" the tests are skipped unless
// one is on PATH or in the user's cache (see scripts/vault.sh).
package soak

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const pluginName = vaulttest.PluginName

// programs are the programs under test.
var programs vaulttest.Programs

func TestMain(m *testing.M) { os.Exit(vaulttest.Main(m, "soak", findPrograms)) }

func findPrograms(dir string) error {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		programs.Missing = "no /proc to measure processes with"
		fmt.Fprintln(os.Stderr, "SKIPPED:", programs.Missing)
		return nil
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	if _, err := vaulttest.FindVault(root); err == nil {
		binary := filepath.Join(dir, "plugin-with-probe")
		if err := buildWithProbe(root, dir, binary); err != nil {
			return err
		}
		if err := os.Setenv("PLUGIN_BIN", binary); err != nil { // Find copies it
			return err
		}
	}
	return programs.Find(root, dir)
}

// buildWithProbe builds the plugin with testdata/probe.go, which reports its goroutines.
func buildWithProbe(root, dir, binary string) error {
	probe, err := filepath.Abs("testdata/probe.go")
	if err != nil {
		return err
	}
	raw, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "cmd", pluginName, "soak_probe.go"): probe,
	}})
	if err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, raw, 0o600); err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", `root=.; . scripts/env.sh; exec go build -overlay "$1" -trimpath -ldflags '-s -w' -o "$2" "./cmd/$3"`, "build", overlay, binary, pluginName)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the plugin: %w\n%s", err, out)
	}
	return nil
}

// longRun is the shortest run in which the plugin is warm early enough to compare its
// beginning with its end. A shorter run checks the rest.
const longRun = 5 * time.Minute

// parallelIfShort runs the tests beside each other, but not in a run that compares figures.
func parallelIfShort(t *testing.T) {
	t.Helper()
	if soakTime(t) == 0 {
		t.Parallel()
	}
}

// soakTime is ECGRID_SOAK, and 0 without it.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("ECGRID_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
