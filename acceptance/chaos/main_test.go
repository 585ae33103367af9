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
	"os"
	"testing"

	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const pluginName = vaulttest.PluginName

// programs are the programs under test.
var programs vaulttest.Programs

func TestMain(m *testing.M) {
	os.Exit(vaulttest.Main(m, "chaos", func(dir string) error { return programs.Find("../..", dir) }))
}
