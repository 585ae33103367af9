// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const mit = "Permission is hereby granted, free of charge, to any person.\n" +
	"The above copyright notice and this permission\nnotice shall be included."

const busl = "Business Source License 1.1\nChange License: MPL-2.0"

// TestGather has one module in each case.
func TestGather(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		files    map[string]string
		packages []string
		texts    []string // that are gathered
		licenses []string
		err      string
	}{
		{name: "a license", files: map[string]string{"LICENSE": mit}, texts: []string{"LICENSE"}, licenses: []string{"MIT"}},
		{name: "another spelling", files: map[string]string{"licence.md": mit}, texts: []string{"licence.md"}, licenses: []string{"MIT"}},
		{
			name:  "what belongs to it",
			files: map[string]string{"COPYING": mit, "NOTICE.txt": "a notice", "PATENTS": "patents", "README.md": "no", "notice_response.go": "no", "license.go": "no"},
			texts: []string{"COPYING", "NOTICE.txt", "PATENTS"}, licenses: []string{"MIT"},
		},
		{
			name:     "a linked package with its own",
			files:    map[string]string{"LICENSE": mit, "a/b/LICENSE": redistribution, "a/c/LICENSE": "of a package that is not linked"},
			packages: []string{".", "a/b/d", "a/b"}, texts: []string{"LICENSE", "a/b/LICENSE"}, licenses: []string{"BSD-2-Clause", "MIT"},
		},
		{name: "no file", files: map[string]string{"README.md": mit}, err: "has no license file"},
		{name: "only a notice", files: map[string]string{"NOTICE": mit}, err: "has no license file"},
		{name: "an empty file", files: map[string]string{"LICENSE": ""}, err: "does not know"},
		{name: "an unknown license", files: map[string]string{"LICENSE": "All rights reserved."}, err: "does not know"},
		{name: "a license that is never released", files: map[string]string{"LICENSE": busl}, err: "never part of a release"},
		{name: "such a license below", files: map[string]string{"LICENSE": mit, "a/LICENSE": busl}, packages: []string{"a"}, err: "never part of a release"},
		{name: "an unknown one below", files: map[string]string{"LICENSE": mit, "a/LICENSE": "Ask first."}, packages: []string{"a"}, err: "does not know"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := part{path: "example.com/m", version: "v1.0.0", dir: t.TempDir()}
			for name, content := range c.files {
				write(t, filepath.Join(p.dir, filepath.FromSlash(name)), content)
			}
			for _, dir := range c.packages {
				p.packages = append(p.packages, filepath.Join(p.dir, filepath.FromSlash(dir)))
				if err := os.MkdirAll(p.packages[len(p.packages)-1], 0o755); err != nil {
					t.Fatal(err)
				}
			}
			err := p.gather()
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got %v, want %q", err, c.err)
				}
				return
			}
			var names []string
			for _, text := range p.texts {
				names = append(names, strings.TrimPrefix(text.name, "licenses/example.com/m@v1.0.0/"))
			}
			if err != nil || !slices.Equal(names, c.texts) || !slices.Equal(p.licenses, c.licenses) {
				t.Errorf("got %q of %q: %v", names, p.licenses, err)
			}
		})
	}
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestOwnLicenseText(t *testing.T) {
	t.Parallel()
	r := release{root: "../.."}
	f, err := r.ownLicenseText()
	if err != nil {
		t.Fatal(err)
	}
	text := string(f.content)
	if f.name != "licenses/MPL-2.0.txt" || !strings.HasPrefix(text, "Mozilla Public License") || strings.Contains(text, "IBM") || len(text) < 15000 {
		t.Errorf("%s is %.60q…", f.name, text)
	}
}
