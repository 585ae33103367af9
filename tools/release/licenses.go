// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	licenseDir = "licenses/"
	ownLicense = "MPL-2.0"
	// ownLicenseFrom is a module whose LICENSE is the text of our own license.
	ownLicenseFrom = "github.com/hashicorp/vault/sdk"
	rootsModule    = "golang.org/x/crypto/x509roots/fallback"
)

// part is something that a program contains: a module, or the standard library.
type part struct {
	path, version string
	sum           string // as in go.sum
	dir           string
	packages      []string // directories that are linked
	texts         []file   // license files, with names below licenses/
	licenses      []string // SPDX identifiers of the texts
}

// licenseFile matches the names of files that have to accompany a program.
var licenseFile = regexp.MustCompile(`(?i)^(((un)?licen[cs]e|copying)|notice|patents)([-.].*)?$`)

// partsOf finds what is linked into a build, and gathers its license texts. It fails if a
// text is missing, or is of a license that may not be released, or if a module is not what
// go.sum says.
func (r *release) partsOf(b build) ([]part, error) {
	info, err := buildinfo.Read(bytes.NewReader(b.binary.content))
	if err != nil {
		return nil, err
	}
	parts := []part{{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}}
	if parts[0].dir, err = goCommand(r.root, nil, "env", "GOROOT"); err != nil {
		return nil, err
	}
	linked, err := r.linkedPackages(b)
	if err != nil {
		return nil, err
	}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		p, found := linked[module.Path+"@"+module.Version]
		if !found {
			return nil, fmt.Errorf("%s is linked into %s, but go list does not know it", module.Path, b.name)
		}
		p.sum = module.Sum
		parts = append(parts, p)
	}
	for i := range parts {
		if err := parts[i].gather(); err != nil {
			return nil, err
		}
	}
	return parts, r.verify(parts[1:]) // the standard library has no sum
}

// linkedPackages asks go list for the modules of a build, and the directories of their packages.
func (r *release) linkedPackages(b build) (map[string]part, error) {
	const format = "{{with .Module}}{{if not .Main}}{{with or .Replace .}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}\t{{$.Dir}}{{end}}{{end}}"
	out, err := goCommand(r.root, []string{"GOOS=" + b.os, "GOARCH=" + b.arch}, "list", "-deps", "-f", format, "./cmd/"+b.name)
	if err != nil {
		return nil, err
	}
	parts := map[string]part{}
	for line := range strings.SplitSeq(out, "\n") {
		fields := strings.Split(line, "\t")
		if len(fields) != 4 {
			continue
		}
		key := fields[0] + "@" + fields[1]
		p := parts[key]
		p.path, p.version, p.dir = fields[0], fields[1], fields[2]
		p.packages = append(p.packages, fields[3])
		parts[key] = p
	}
	return parts, nil
}

// trustedRootsPart is the module that has the root certificates.
func (r *release) trustedRootsPart() (part, error) {
	out, err := goCommand(filepath.Join(r.root, "tools", "release"), nil, "list", "-m", "-f", "{{.Version}}\t{{.Dir}}", rootsModule)
	if err != nil {
		return part{}, err
	}
	version, dir, _ := strings.Cut(out, "\t")
	p := part{path: rootsModule, version: version, dir: dir}
	return p, p.gather()
}

// ownLicenseText is the full text of our license, without the copyright line of the module
// that it is taken from.
func (r *release) ownLicenseText() (file, error) {
	dir, err := goCommand(r.root, nil, "list", "-m", "-f", "{{.Dir}}", ownLicenseFrom)
	if err != nil {
		return file{}, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "LICENSE"))
	if err != nil {
		return file{}, err
	}
	start := bytes.Index(text, []byte("Mozilla Public License"))
	if start < 0 || !slices.Equal(licensesIn(text), []string{ownLicense}) || !bytes.Contains(text, []byte("Exhibit B")) {
		return file{}, fmt.Errorf("the LICENSE of %s is not the text of %s: name another module in tools/release/licenses.go", ownLicenseFrom, ownLicense)
	}
	return file{name: licenseDir + ownLicense + ".txt", mode: 0o644, content: text[start:]}, nil
}

// gather is readLicenses for what is released. It refuses a license in neverReleased.
func (p *part) gather() error {
	if err := p.readLicenses(); err != nil {
		return err
	}
	for _, id := range p.licenses {
		if slices.Contains(neverReleased, id) {
			return fmt.Errorf("%s@%s is under %s, which is never part of a release: do not import it", p.path, p.version, id)
		}
	}
	return nil
}

// readLicenses reads the license files of the module's directory, and those between it and
// the packages that are linked. It fails if there is none, or one of an unknown license.
func (p *part) readLicenses() error {
	dirs := []string{p.dir}
	for _, dir := range p.packages {
		for ; dir != p.dir && strings.HasPrefix(dir, p.dir); dir = filepath.Dir(dir) {
			dirs = append(dirs, dir)
		}
	}
	slices.Sort(dirs)
	for _, dir := range slices.Compact(dirs) {
		if err := p.gatherFrom(dir); err != nil {
			return err
		}
	}
	if len(p.licenses) == 0 {
		return fmt.Errorf("%s@%s has no license file in %s", p.path, p.version, p.dir)
	}
	slices.Sort(p.licenses)
	p.licenses = slices.Compact(p.licenses)
	return nil
}

func (p *part) gatherFrom(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	below, err := filepath.Rel(p.dir, dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		match := licenseFile.FindStringSubmatch(name)
		if match == nil || entry.IsDir() || filepath.Ext(name) == ".go" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if match[2] != "" {
			found := licensesIn(text)
			if len(found) == 0 {
				return fmt.Errorf("%s of %s@%s is of a license that tools/release does not know: read it, then add it to knownLicenses", name, p.path, p.version)
			}
			p.licenses = append(p.licenses, found...)
		}
		p.texts = append(p.texts, file{
			name: licenseDir + path.Join(p.path+"@"+p.version, filepath.ToSlash(below), name), mode: 0o644, content: text,
		})
	}
	return nil
}

// licenseFiles are our license, the texts of all parts, and a list of them.
func (r *release) licenseFiles(b build, parts []part) ([]file, error) {
	own, err := r.ownLicenseText()
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	fmt.Fprintf(&list, "# What %s %s for %s/%s contains: name, version, licenses (SPDX), files\n", b.name, r.version, b.os, b.arch)
	row := func(columns ...string) { list.WriteString(strings.Join(columns, "\t") + "\n") }
	row(b.name, r.version, ownLicense, strings.TrimPrefix(own.name, licenseDir))
	files := []file{own}
	for _, p := range parts {
		var names []string
		for _, text := range p.texts {
			names = append(names, strings.TrimPrefix(text.name, licenseDir))
		}
		row(p.path, p.version, strings.Join(p.licenses, ", "), strings.Join(names, ", "))
		files = append(files, p.texts...)
	}
	return append(files, file{name: licenseDir + "MANIFEST.tsv", mode: 0o644, content: []byte(list.String())}), nil
}

// goCommand runs go in a directory and returns what it prints.
func goCommand(dir string, env []string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
