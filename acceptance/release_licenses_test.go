// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"debug/buildinfo"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// filesIn returns the files below dir whose name has the prefix.
func filesIn(t *testing.T, dir, prefix string) map[string][]byte {
	t.Helper()
	files := contents(t, dir)
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return !strings.HasPrefix(name, prefix) })
	return files
}

// checkLicenses compares licenses/ with the build information in the binary, and with the
// module cache. It also takes modules that are not in the binary.
func (p releasedProgram) checkLicenses(t *testing.T, files map[string][]byte, binary []byte, more ...string) {
	t.Helper()
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	own := string(files["licenses/MPL-2.0.txt"])
	if !strings.HasPrefix(own, "Mozilla Public License") || !strings.Contains(own, "Exhibit B") {
		t.Errorf("the text of our license is %.60q…", own)
	}
	want := map[string]string{"std@" + strings.TrimPrefix(info.GoVersion, "go"): goList(t, ".", "env", "GOROOT")}
	for _, module := range info.Deps {
		want[module.Path+"@"+module.Version] = goList(t, ".", "list", "-m", "-f", "{{.Dir}}", module.Path)
	}
	for _, module := range more {
		found := goList(t, "tools/release", "list", "-m", "-f", "{{.Version}} {{.Dir}}", module)
		version, dir, _ := strings.Cut(found, " ")
		want[module+"@"+version] = dir
	}
	listed := p.readManifest(t, files)
	for module, dir := range want {
		if !sameLicense(files, "licenses/"+module, dir) {
			t.Errorf("%s has no license that is the one in the module cache", module)
		}
	}
	delete(listed, p.name)
	for name := range want {
		module, _, _ := strings.Cut(name, "@")
		if !listed[module] {
			t.Errorf("the manifest does not list %s", module)
		}
		delete(listed, module)
	}
	if len(listed) != 0 {
		t.Errorf("the manifest lists what is not in the program: %v", slices.Sorted(maps.Keys(listed)))
	}
}

// sameLicense reports whether a license of the module is packed as it is.
func sameLicense(files map[string][]byte, packed, dir string) bool {
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "LICENSE-MIT"} {
		text, ok := files[packed+"/"+name]
		if ok && len(text) > 0 && bytes.Equal(text, readAll(filepath.Join(dir, name))) {
			return true
		}
	}
	return false
}

// readManifest returns the names in it. Each row names its licenses and files, and each file
// is in one row.
func (p releasedProgram) readManifest(t *testing.T, files map[string][]byte) map[string]bool {
	t.Helper()
	listed := map[string]bool{}
	left := maps.Clone(files)
	delete(left, "licenses/MANIFEST.tsv")
	for line := range strings.Lines(string(files["licenses/MANIFEST.tsv"])) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "# ") {
			continue
		}
		if len(columns) != 4 || columns[2] == "" {
			t.Fatalf("the manifest has %q", line)
		}
		listed[columns[0]] = true
		for _, name := range strings.Split(columns[3], ", ") {
			if _, ok := left["licenses/"+name]; !ok {
				t.Errorf("the manifest has %s, which is not there", name)
			}
			delete(left, "licenses/"+name)
		}
	}
	if len(left) != 0 || !listed[p.name] {
		t.Errorf("the manifest does not list %s, or not the files %v", p.name, slices.Sorted(maps.Keys(left)))
	}
	return listed
}

// goList runs go in a directory of the repository.
func goList(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := exec.Command("go", append([]string{"-C", filepath.Join(repoRoot(), dir)}, args...)...).Output()
	if err != nil {
		t.Fatalf("go %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}
