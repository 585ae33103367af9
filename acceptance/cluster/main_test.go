// SPDX-License-Identifier: MPL-2.0

// Package cluster runs the plugin in a Vault of three Raft nodes on loopback, and disturbs
// the nodes while clients read keys. It also restores Raft snapshots that are older than
// what ECGrid has. The tests print tables.
//
//	go test -v ./acceptance/cluster           everything, with all scheduled rotations
//	go test -v -short ./acceptance/cluster    the short core, which is part of make test
//
//	ECGRID_CLUSTER_REPORT   a file to which the tables are appended
//	ECGRID_TRANSPORT        soap, the default, or rest
//
// It needs a vault. "make test" gets one. With a bare "go test" the tests are skipped
// unless one is on PATH or in the user's cache (see scripts/vault.sh).
package cluster

import (
	"cmp"
	"fmt"
	"os"
	"strings"
	"testing"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/simulator"
)

const pluginName = vaulttest.PluginName

type fields = map[string]any

// programs are the programs under test.
var programs vaulttest.Programs

const repoRoot = "../.."

func TestMain(m *testing.M) {
	os.Exit(vaulttest.Main(m, "cluster", func(dir string) error { return programs.Find(repoRoot, dir) }))
}

// transport is that of all tests.
func transport() string { return cmp.Or(os.Getenv("ECGRID_TRANSPORT"), simulator.TransportSOAP) }

// reportVariable names the file to which the tables are appended.
const reportVariable = "ECGRID_CLUSTER_REPORT"

// table is what a test reports. Each test has its own, so that their rows do not mix.
type table struct {
	t    *testing.T
	rows []string
}

// newTable begins a table. It is appended to the report when the test ends.
func newTable(t *testing.T, title string, columns ...any) *table {
	t.Helper()
	b := &table{t: t, rows: []string{"", title, ""}}
	b.row(columns...)
	line := make([]any, len(columns))
	for i := range line {
		line[i] = "---"
	}
	b.row(line...)
	t.Cleanup(b.append)
	return b
}

// row logs a row and adds it.
func (b *table) row(cells ...any) {
	b.t.Helper()
	var text []string
	for _, cell := range cells {
		text = append(text, fmt.Sprint(cell))
	}
	row := "| " + strings.Join(text, " | ") + " |"
	b.t.Log(row)
	b.rows = append(b.rows, row)
}

func (b *table) append() {
	path := os.Getenv(reportVariable)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		b.t.Error(err)
		return
	}
	defer f.Close()
	if _, err := fmt.Fprintln(f, strings.Join(b.rows, "\n")); err != nil {
		b.t.Error(err)
	}
}
