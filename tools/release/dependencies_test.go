// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const (
	repository = "../.."
	itself     = "vault-plugin-ecgrid"
)

// dependency is a row of docs/dependencies.md.
type dependency struct{ license, why string }

// TestDependencies compares docs/dependencies.md with all go.mod files, and the licenses with
// the module cache. A module that is not in the cache is not downloaded for that.
func TestDependencies(t *testing.T) {
	t.Parallel()
	tables := dependencyTables(t)
	var notChecked []string
	for _, file := range goModFiles(t) {
		table := tables[file]
		delete(tables, file)
		required := directDependencies(t, file)
		for _, module := range required {
			if row, ok := table[module]; !ok || row.license == "" || row.why == "" {
				t.Errorf("docs/dependencies.md has no complete row for %s under %s", module, file)
			}
		}
		for module := range table {
			if !slices.Contains(required, module) {
				t.Errorf("docs/dependencies.md has %s under %s, which does not import it", module, file)
			}
		}
		notChecked = append(notChecked, checkLicenses(t, file, required, table)...)
	}
	for file := range tables {
		t.Errorf("docs/dependencies.md has %s, which does not exist", file)
	}
	if len(notChecked) > 0 {
		t.Logf("licenses of modules that are not in the module cache: not checked: %q", notChecked)
	}
}

func checkLicenses(t *testing.T, file string, modules []string, table map[string]dependency) (notChecked []string) {
	t.Helper()
	if len(modules) == 0 {
		return nil
	}
	cmd := exec.Command("go", append([]string{"list", "-m", "-e", "-f", "{{.Path}}\t{{with or .Replace .}}{{.Dir}}{{end}}"}, modules...)...)
	cmd.Dir = filepath.Join(repository, filepath.FromSlash(path.Dir(file)))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for line := range strings.Lines(string(out)) {
		module, dir, _ := strings.Cut(strings.TrimSpace(line), "\t")
		if _, err := os.Stat(dir); dir == "" || err != nil {
			notChecked = append(notChecked, module)
			continue
		}
		p := part{path: module, dir: dir}
		if err := p.readLicenses(); err != nil {
			t.Error(err)
			continue
		}
		listed := strings.Split(table[module].license, ", ")
		slices.Sort(listed)
		if !slices.Equal(listed, p.licenses) {
			t.Errorf("docs/dependencies.md has %q for %s under %s, and its files %q", listed, module, file, p.licenses)
		}
	}
	return notChecked
}

var (
	tableHeading = regexp.MustCompile("^## .*`(.*go\\.mod)`$")
	tableRow     = regexp.MustCompile("^\\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\|$")
)

func dependencyTables(t *testing.T) map[string]map[string]dependency {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(repository, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]map[string]dependency{}
	var table map[string]dependency
	for line := range strings.Lines(string(page)) {
		line = strings.TrimSuffix(line, "\n")
		if heading := tableHeading.FindStringSubmatch(line); heading != nil {
			table = map[string]dependency{}
			tables[heading[1]] = table
		}
		if row := tableRow.FindStringSubmatch(line); row != nil {
			table[row[1]] = dependency{row[2], row[3]}
		}
	}
	return tables
}

func goModFiles(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*go.mod")
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Skip("this is not a git work tree: ", err)
	}
	return strings.Fields(string(out))
}

// directDependencies are what the code of a module imports, and the modules of its tools.
func directDependencies(t *testing.T, file string) (direct []string) {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", filepath.Join(repository, filepath.FromSlash(file))).Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Tool []struct{ Path string }
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	for _, required := range mod.Require {
		isTool := false
		for _, tool := range mod.Tool {
			isTool = isTool || strings.HasPrefix(tool.Path, required.Path+"/")
		}
		if required.Path != itself && (isTool || !required.Indirect) {
			direct = append(direct, required.Path)
		}
	}
	return direct
}
