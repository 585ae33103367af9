// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestVerify takes a module and its sum from go.sum, and changes a copy of it.
func TestVerify(t *testing.T) {
	t.Parallel()
	const module = "github.com/CycloneDX/cyclonedx-go"
	found, err := goCommand(".", nil, "list", "-m", "-f", "{{.Version}} {{.Dir}}", module)
	if err != nil {
		t.Fatal(err)
	}
	version, dir, _ := strings.Cut(found, " ")
	goSum, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(goSum), module+" "+version+" ")
	sum, _, _ := strings.Cut(after, "\n")
	for name, c := range map[string]struct {
		change func(copied string) error
		err    string
	}{
		"as it was": {change: func(string) error { return nil }},
		"a changed file": {
			change: func(copied string) error { return os.WriteFile(filepath.Join(copied, "cyclonedx.go"), nil, 0o600) },
			err:    "is not what go.sum says",
		},
		"another file": {
			change: func(copied string) error { return os.WriteFile(filepath.Join(copied, "init.go"), nil, 0o600) },
			err:    "is not what go.sum says",
		},
		"a missing file": {
			change: func(copied string) error { return os.Remove(filepath.Join(copied, "cyclonedx.go")) },
			err:    "is not what go.sum says",
		},
		"no directory": {change: os.RemoveAll, err: "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			copied := filepath.Join(t.TempDir(), "module")
			copyDir(t, copied, dir)
			if err := c.change(copied); err != nil {
				t.Fatal(err)
			}
			var r release
			err := r.verify([]part{{path: module, version: version, dir: copied, sum: sum}})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
}

// copyDir makes files that can be changed, unlike those of the module cache.
func copyDir(t *testing.T, to, from string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, name)
		write(t, filepath.Join(to, below), string(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
