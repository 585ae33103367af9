// SPDX-License-Identifier: MPL-2.0

// Package architecture checks the code against docs/architecture.md and against the
// limits that keep it readable.
package architecture

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "vault-plugin-ecgrid"
)

// row is a package in the table of docs/architecture.md.
type row struct {
	path      string
	imports   []string // packages of this project
	libraries []string // prefixes of foreign import paths
	tests     []string // what only its tests import, of this project
}

// pkg is what `go list -json` says about a package.
type pkg struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func (p pkg) path() string {
	if p.ImportPath == module {
		return "."
	}
	return strings.TrimPrefix(p.ImportPath, module+"/")
}

// A package imports what the table allows, only packages below it, and nothing in the
// table is made up.
func TestImports(t *testing.T) {
	t.Parallel()
	table := readTable(t)
	var listed []string
	for _, p := range listPackages(t) {
		listed = append(listed, p.path())
		i := slices.IndexFunc(table, func(r row) bool { return r.path == p.path() })
		if i < 0 {
			t.Errorf("%s is not in the table", p.path())
			continue
		}
		checkImports(t, table[i], p)
		for _, imported := range table[i].imports {
			if !slices.ContainsFunc(table[i+1:], func(r row) bool { return r.path == imported }) {
				t.Errorf("%s imports %s, which is not below it", p.path(), imported)
			}
		}
	}
	for _, r := range table {
		if !slices.Contains(listed, r.path) {
			t.Errorf("the table has %s, which does not exist", r.path)
		}
	}
}

func checkImports(t *testing.T, r row, p pkg) {
	t.Helper()
	own, foreign := split(p.Imports)
	if !slices.Equal(own, r.imports) {
		t.Errorf("%s imports %v, and the table says %v", r.path, own, r.imports)
	}
	for _, imported := range foreign {
		if !slices.ContainsFunc(r.libraries, func(prefix string) bool { return strings.Contains(imported, prefix) }) {
			t.Errorf("%s imports %s, and the table allows only %v", r.path, imported, r.libraries)
		}
	}
	for _, prefix := range r.libraries {
		if !slices.ContainsFunc(foreign, func(imported string) bool { return strings.Contains(imported, prefix) }) {
			t.Errorf("%s does not import %s, which the table allows", r.path, prefix)
		}
	}
	inTests, _ := split(append(p.TestImports, p.XTestImports...))
	inTests = slices.DeleteFunc(inTests, func(path string) bool { return path == r.path || slices.Contains(r.imports, path) })
	if !slices.Equal(inTests, r.tests) {
		t.Errorf("the tests of %s also import %v, and the table says %v", r.path, inTests, r.tests)
	}
}

// split sorts the imports that are not of the standard library.
func split(imports []string) (own, foreign []string) {
	for _, path := range imports {
		first, _, _ := strings.Cut(path, "/")
		switch {
		case first == module:
			own = append(own, pkg{ImportPath: path}.path())
		case strings.Contains(first, "."):
			foreign = append(foreign, path)
		}
	}
	slices.Sort(own)
	return slices.Compact(own), foreign
}

func listPackages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

var quoted = regexp.MustCompile("`([^`]+)`")

// readTable reads the table whose columns are: package, what it does, imports,
// libraries, imports of its tests.
func readTable(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	var table []row
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|") // the first and the last are empty
		if len(cells) != 7 || !strings.Contains(cells[1], "`") {
			continue
		}
		table = append(table, row{
			path:      names(cells[1])[0],
			imports:   names(cells[3]),
			libraries: names(cells[4]),
			tests:     names(cells[5]),
		})
	}
	if len(table) == 0 {
		t.Fatal("docs/architecture.md has no table of packages")
	}
	return table
}

func names(cell string) (found []string) {
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return found
}
