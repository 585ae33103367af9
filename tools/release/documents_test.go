// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	packedByScript = regexp.MustCompile(`ls-files .* -- (.*) \|`)
	pageLink       = regexp.MustCompile(`\]\(([^)\s#]+)[^)\s]*\)`)
)

// leadsOutside are the links to files that are not in the archive of a program, for each page.
var leadsOutside = map[string]map[string][]string{
	"vault-plugin-ecgrid": {
		"docs/api.md": {"testdata/openapi.json"}, // a mount gives the document of its own version
	},
	"ecgrid-simulator": {
		"docs/simulator.md": {"docs/install.md", "docs/release.md", "examples/compose/README.md"}, // of the plugin
	},
}

// TestDocumentsLinks checks that the links between packed pages lead to packed files.
func TestDocumentsLinks(t *testing.T) {
	t.Parallel()
	documents := packedDocuments(t)
	for i := range programs {
		p := &programs[i]
		var packed []string
		for _, name := range documents {
			if p.packs(name) {
				packed = append(packed, name)
			}
		}
		for _, page := range packed {
			// results.md is a part of docs/performance.md.
			if path.Ext(page) != ".md" || page == "docs/performance/results.md" {
				continue
			}
			if outside := linksOutside(t, page, packed); !slices.Equal(outside, leadsOutside[p.name][page]) {
				t.Errorf("%s in the archive of %s leads to %q, which are not packed, want %q", page, p.name, outside, leadsOutside[p.name][page])
			}
		}
	}
}

// packedDocuments are the files that scripts/release.sh gives to this program.
func packedDocuments(t *testing.T) []string {
	t.Helper()
	script, err := os.ReadFile(filepath.Join(repository, "scripts", "release.sh"))
	if err != nil {
		t.Fatal(err)
	}
	listed := packedByScript.FindSubmatch(script)
	if listed == nil {
		t.Fatal("scripts/release.sh does not list the documents as this test expects")
	}
	paths := strings.Fields(string(listed[1]))
	cmd := exec.Command("git", append([]string{"-c", "core.quotePath=off", "ls-files", "--cached", "--others", "--exclude-standard", "--"}, paths...)...)
	cmd.Dir = repository
	out, err := cmd.Output()
	if err != nil {
		t.Skip("this is not a git work tree: ", err)
	}
	names := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	for _, want := range []string{"README.md", "SECURITY.md", "docs/release.md"} {
		if !slices.Contains(names, want) {
			t.Errorf("scripts/release.sh does not pack %s", want)
		}
	}
	return names
}

// linksOutside returns the targets of a page that are neither packed nor a directory of packed
// files, sorted.
func linksOutside(t *testing.T, page string, packed []string) (outside []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, filepath.FromSlash(page)))
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range pageLink.FindAllStringSubmatch(string(text), -1) {
		if strings.Contains(link[1], ":") {
			continue
		}
		target := path.Join(path.Dir(page), link[1])
		if !slices.ContainsFunc(packed, func(name string) bool { return name == target || strings.HasPrefix(name, target+"/") }) {
			outside = append(outside, target)
		}
	}
	slices.Sort(outside)
	return slices.Compact(outside)
}
