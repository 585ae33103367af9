// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"testing"
)

// Programs are what the tests of a package run.
type Programs struct {
	Missing string // why there is no vault; "" if there is one
	Vault   string
	Plugin  Plugin
}

// Find finds a vault and installs the plugin below dir; root is the repository.
func (p *Programs) Find(root, dir string) (err error) {
	if root, err = filepath.Abs(root); err != nil {
		return err
	}
	if p.Vault, err = FindVault(root); errors.Is(err, ErrNoVault) {
		p.Missing = err.Error()
		fmt.Fprintln(os.Stderr, "SKIPPED:", err)
		return nil
	}
	if err != nil {
		return err
	}
	p.Plugin, err = InstallPlugin(root, filepath.Join(dir, "plugins"))
	return err
}

// Need skips a test if there is no vault.
func (p *Programs) Need(t testing.TB) {
	t.Helper()
	if p.Missing != "" {
		t.Skip(p.Missing)
	}
}

// Main runs the tests of a package after find, with a directory for its programs. It returns
// the exit code.
func Main(m *testing.M, name string, find func(dir string) error) int {
	log.SetOutput(io.Discard) // net/http prints unexpected answers, with keys
	// If GOTMPDIR is set, programs may not run from the default directory.
	dir, err := os.MkdirTemp(os.Getenv("GOTMPDIR"), "ecgrid-"+name)
	if err == nil {
		defer os.RemoveAll(dir)
		err = find(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return m.Run()
}
