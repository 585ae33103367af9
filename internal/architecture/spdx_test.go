// SPDX-License-Identifier: MPL-2.0

package architecture

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var updateSPDX = flag.Bool("update", false, "write the SPDX line into the source files that lack it")

// license is the SPDX identifier in LICENSE.
const license = "SPDX-License-Identifier: MPL-2.0"

// commentStyles has the comment of one line for each kind of source file, by the file's
// extension, or by its name if it has none. Kinds that are not listed are not checked.
// Among them are JSON, which has no comments, and what programs write or others read byte
// by byte: golden files, go.mod, SVG, Markdown.
var commentStyles = map[string]string{
	".go": "//", ".java": "//", ".cs": "//", ".js": "//", ".mjs": "//",
	".sh": "#", ".py": "#", ".rb": "#", ".hcl": "#", ".tf": "#", ".yaml": "#", ".yml": "#", ".toml": "#",
	"Makefile": "#", "Dockerfile": "#", ".ci/run": "#",
}

// programsInTestdata are the extensions of files in testdata that are programs. The others
// there are data.
var programsInTestdata = []string{".go", ".java", ".cs", ".js", ".mjs", ".py", ".rb"}

// commentStyle returns "" for a file that gets no SPDX line.
func commentStyle(name string) string {
	if style, ok := commentStyles[name]; ok {
		return style
	}
	if style, ok := commentStyles[path.Base(name)]; ok {
		return style
	}
	extension := path.Ext(name)
	if strings.Contains(name, "testdata/") && !slices.Contains(programsInTestdata, extension) {
		return ""
	}
	return commentStyles[extension]
}

// TestSPDX checks that each source file names the license. If none does, it is skipped. To
// add the line where it is missing, run
//
//	go test ./internal/architecture -run 'TestSPDX$' -update
func TestSPDX(t *testing.T) {
	t.Parallel()
	var missing []string
	have := 0
	for _, name := range repositoryFiles(t) {
		style := commentStyle(name)
		if style == "" {
			continue
		}
		file := filepath.Join(root, filepath.FromSlash(name))
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		after := withSPDX(before, style)
		switch {
		case bytes.Equal(before, after):
			have++
		case *updateSPDX:
			if err := os.WriteFile(file, after, 0o666); err != nil { // an existing file keeps its mode
				t.Fatal(err)
			}
		default:
			missing = append(missing, name)
		}
	}
	if have == 0 && !*updateSPDX {
		t.Skip("no file has an SPDX line")
	}
	for _, name := range missing {
		t.Errorf("%s has no line %q: run the command in the comment of this test", name, license)
	}
}

// repositoryFiles are the files that git knows or would add.
func repositoryFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "-c", "core.quotePath=off", "ls-files", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Skip("this is not a git work tree: ", err)
	}
	var names []string
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSuffix(name, "\n")
		if info, err := os.Lstat(filepath.Join(root, filepath.FromSlash(name))); err == nil && info.Mode().IsRegular() {
			names = append(names, name)
		}
	}
	return names
}

// firstLine is a line that must stay the first: an interpreter, or Python's encoding.
var firstLine = regexp.MustCompile(`\A(#!.*\n(# -\*-.*\n)?|# -\*-.*\n|# syntax=.*\n)`)

// withSPDX puts the line at the top, or behind a line that must stay the first. An empty
// line follows, so that it is no part of a package's documentation, and a constraint such
// as //go:build is still a comment of its own.
func withSPDX(content []byte, style string) []byte {
	line := style + " " + license + "\n"
	head := firstLine.Find(content)
	rest := content[len(head):]
	rest, found := bytes.CutPrefix(rest, []byte(line))
	added := line
	if len(rest) > 0 && rest[0] != '\n' {
		added += "\n"
	}
	if found && added == line {
		return content
	}
	return slices.Concat(head, []byte(added), rest)
}

func TestWithSPDX(t *testing.T) {
	t.Parallel()
	const slashes, hash = "// " + license + "\n", "# " + license + "\n"
	for _, c := range []struct{ name, before, after string }{
		{"a.go", "// Package a is documented.\npackage a\n", slashes + "\n// Package a is documented.\npackage a\n"},
		{"b.go", "//go:build linux\n\npackage b\n", slashes + "\n//go:build linux\n\npackage b\n"},
		{"c.go", slashes + "// Package c had it in its documentation.\n", slashes + "\n// Package c had it in its documentation.\n"},
		{"d.go", slashes + "\npackage d\n", slashes + "\npackage d\n"},
		{"a.sh", "#!/bin/sh\n# Does it.\nset -eu\n", "#!/bin/sh\n" + hash + "\n# Does it.\nset -eu\n"},
		{"b.sh", "#!/bin/sh\n" + hash + "\nset -eu\n", "#!/bin/sh\n" + hash + "\nset -eu\n"},
		{"c.sh", "# shellcheck shell=sh\n", hash + "\n# shellcheck shell=sh\n"},
		{"a.py", "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n\nimport os\n", "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n" + hash + "\nimport os\n"},
		{"a.yaml", "---\na: b\n", hash + "\n---\na: b\n"},
		{"dir/Makefile", "all:\n", hash + "\nall:\n"},
		{".ci/run", "#!/bin/sh\n", "#!/bin/sh\n" + hash},
		{"a.tf", "", hash},
		{"testdata/client/main.go", "package main\n", slashes + "\npackage main\n"},
		{"testdata/client.js", "main();\n", slashes + "\nmain();\n"},
		{"a/testdata/client.py", "import os\n", hash + "\nimport os\n"},
		{"testdata/Client.java", "package a;\n", slashes + "\npackage a;\n"},
	} {
		if after := string(withSPDX([]byte(c.before), commentStyle(c.name))); after != c.after {
			t.Errorf("%s becomes\n%s\nwant\n%s", c.name, after, c.after)
		}
		if again := string(withSPDX([]byte(c.after), commentStyle(c.name))); again != c.after {
			t.Errorf("%s is changed again:\n%s", c.name, again)
		}
	}
	for _, name := range []string{"a.json", "README.md", "a.svg", "go.mod", "testdata/a.yaml", "testdata/golden/b.sh", "LICENSE", "a.csproj", ".gitignore"} {
		if style := commentStyle(name); style != "" {
			t.Errorf("%s would get a comment with %q", name, style)
		}
	}
}
