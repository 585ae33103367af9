// SPDX-License-Identifier: MPL-2.0

// Package clients runs examples/clients: programs in five languages that call ECGrid with a
// key from Vault.
package clients

import (
	"fmt"
	"os"
	"testing"
)

// workDir has what is built once for all tests.
var workDir string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if workDir, err = os.MkdirTemp("", "ecgrid-clients"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(workDir)
	return m.Run()
}
