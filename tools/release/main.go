// SPDX-License-Identifier: MPL-2.0

// Command release makes the files of a release from the binaries in dist/bin: archives with
// all licenses, SBOMs, an OCI image layout for each program, and sums. scripts/release.sh builds the binaries and runs it.
// The names of the documents to pack are on standard input.
//
// The output does not depend on the time, the place or the user.
package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// fipsSuffix ends the name of a directory in dist/bin with a build for FIPS 140.
const fipsSuffix = "_fips140"

// release is one version of the programs.
type release struct {
	root, version, commit string
	time                  time.Time
	documents             []file
	register              string          // the template of register.sh
	verified              map[string]bool // modules that are what go.sum says
}

// file is a file in an archive or a layer.
type file struct {
	name    string
	mode    fs.FileMode // with fs.ModeDir for a directory of the image's user
	content []byte
}

// build is a program for one platform.
type build struct {
	*program
	os, arch string
	fips     bool // built for FIPS 140
	binary   file
	parts    []part
	licenses []file
}

func run() error {
	var r release
	flag.StringVar(&r.root, "root", "", "the repository")
	flag.StringVar(&r.version, "version", "", "vX.Y.Z")
	flag.StringVar(&r.commit, "commit", "", "the commit that was built")
	flag.Parse()
	if err := r.prepare(); err != nil {
		return err
	}
	platforms, err := os.ReadDir(r.dist("bin"))
	if err != nil {
		return err
	}
	var sums strings.Builder
	for i := range programs {
		if err := r.writeProgram(&programs[i], platforms, &sums); err != nil {
			return err
		}
	}
	if err := r.write("SHA256SUMS.binaries", []byte(sums.String())); err != nil {
		return err
	}
	return r.writeSums()
}

// writeProgram writes everything of a program, and the sums of its binaries.
func (r *release) writeProgram(p *program, platforms []fs.DirEntry, sums io.StringWriter) error {
	var linux []build
	for _, platform := range platforms {
		if strings.HasSuffix(platform.Name(), fipsSuffix) && !p.hasFIPS {
			continue
		}
		b, err := r.load(p, platform.Name())
		if err != nil {
			return err
		}
		if err := r.writeArchive(b); err != nil {
			return err
		}
		if err := r.writeSBOM(b); err != nil {
			return err
		}
		if _, err := sums.WriteString(sumLine(b.binary.content, r.stem(b)+"/"+b.binary.name)); err != nil {
			return err
		}
		if b.os == "linux" && !b.fips {
			linux = append(linux, b)
		}
	}
	return r.writeImage(p, linux)
}

func (r *release) prepare() error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	r.time = time.Unix(epoch, 0).UTC()
	names, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	for name := range strings.Lines(string(names)) {
		document, err := r.read(strings.TrimSuffix(name, "\n"))
		if err != nil {
			return err
		}
		r.documents = append(r.documents, document)
	}
	register, err := r.read("scripts/release-register.sh")
	r.register = string(register.content)
	return err
}

// read reads a file of the repository. Of its mode it keeps only whether it is executable.
func (r *release) read(name string) (file, error) {
	path := filepath.Join(r.root, filepath.FromSlash(name))
	info, err := os.Stat(path)
	if err != nil {
		return file{}, err
	}
	f := file{name: name, mode: 0o644}
	if info.Mode()&0o100 != 0 {
		f.mode = 0o755
	}
	f.content, err = os.ReadFile(path)
	return f, err
}

// load reads a build from dist/bin/<os>_<arch>[_fips140], and gathers its licenses.
func (r *release) load(p *program, platform string) (build, error) {
	b := build{program: p, fips: strings.HasSuffix(platform, fipsSuffix)}
	b.os, b.arch, _ = strings.Cut(strings.TrimSuffix(platform, fipsSuffix), "_")
	name := p.name
	if b.os == "windows" {
		name += ".exe"
	}
	content, err := os.ReadFile(r.dist("bin", platform, name))
	if err != nil {
		return b, err
	}
	b.binary = file{name: name, mode: 0o755, content: content}
	if b.parts, err = r.partsOf(b); err != nil {
		return b, err
	}
	b.licenses, err = r.licenseFiles(b, b.parts)
	return b, err
}

// stem is the file name of a build without the extension.
func (r *release) stem(b build) string {
	version := r.version
	if b.fips {
		version += "+fips140"
	}
	return strings.Join([]string{b.name, version, b.os, b.arch}, "_")
}

func (r *release) dist(elements ...string) string {
	return filepath.Join(r.root, "dist", filepath.Join(elements...))
}

func (r *release) write(name string, content []byte) error {
	return os.WriteFile(r.dist(name), content, 0o644)
}

// writeSums lists everything that a user can download. For an OCI layout it lists the
// index, which has the digests of the rest.
func (r *release) writeSums() error {
	entries, err := os.ReadDir(r.dist())
	if err != nil {
		return err
	}
	var sums bytes.Buffer
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() {
			if !isImageDir(name) {
				continue
			}
			name += "/index.json"
		}
		content, err := os.ReadFile(r.dist(name))
		if err != nil {
			return err
		}
		sums.WriteString(sumLine(content, name))
	}
	return r.write("SHA256SUMS", sums.Bytes())
}

// sumLine is a line for sha256sum -c.
func sumLine(content []byte, name string) string {
	return fmt.Sprintf("%x  %s\n", sha256.Sum256(content), name)
}

func sorted(files []file) []file {
	return slices.SortedFunc(slices.Values(files), func(a, b file) int { return strings.Compare(a.name, b.name) })
}
