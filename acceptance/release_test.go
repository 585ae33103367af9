// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

const firstVersion, nextVersion = "v0.1.0", "v0.2.0"

// release is the dist/ of "make release" for this machine's platform.
type release struct{ dist, version, commit string }

// releases are built in clones. Their commit holds the state of the work tree, whether it
// is committed or not.
type releases struct {
	clone              string
	first, again, next release // again is first, built elsewhere; next is signed
	signer             *signer // nil if gpg is not installed
}

// Tests that use it are not parallel: a build uses the whole machine.
var released = sync.OnceValues(makeReleases)

func needReleases(t *testing.T) releases {
	t.Helper()
	needVault(t)
	if runtime.GOOS == "windows" {
		t.Skip("releases are built on Unix")
	}
	r, err := released()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func makeReleases() (r releases, err error) {
	dir := filepath.Join(suite.dir, "releases")
	origin := filepath.Join(dir, "origin.git")
	here, elsewhere := filepath.Join(dir, "here"), filepath.Join(dir, "other", "long path")
	for _, args := range [][]string{
		{"init", "-q", "--bare", origin},
		{"--git-dir=" + origin, "--work-tree=.", "add", "--all"},
		{"--git-dir=" + origin, "--work-tree=.", "commit", "-q", "-m", "what is tested"},
		{"clone", "-q", origin, here},
		{"clone", "-q", origin, elsewhere},
	} {
		if _, err := command(repoRoot(), nil, "git", args...); err != nil {
			return r, err
		}
	}
	r.clone = here
	if r.first, err = makeRelease(here, firstVersion); err != nil {
		return r, err
	}
	if r.again, err = makeRelease(elsewhere, firstVersion); err != nil {
		return r, err
	}
	settings, env := []string(nil), []string(nil)
	if r.signer, err = newSigner(); err != nil {
		return r, err
	}
	if r.signer != nil {
		defer r.signer.stop()
		settings, env = []string{"SIGN_KEY=" + r.signer.fingerprint}, r.signer.env()
	}
	r.next, err = makeReleaseWith(here, nextVersion, env, settings...)
	return r, err
}

func makeRelease(clone, version string) (release, error) {
	return makeReleaseWith(clone, version, nil)
}

func makeReleaseWith(clone, version string, env []string, settings ...string) (release, error) {
	commit, err := command(clone, nil, "git", "rev-parse", "--short=12", "HEAD")
	if err != nil {
		return release{}, err
	}
	args := append([]string{"release", "VERSION=" + version, "PLATFORMS=" + runtime.GOOS + "/" + runtime.GOARCH}, settings...)
	if _, err := command(clone, env, "make", args...); err != nil {
		return release{}, err
	}
	r := release{dist: clone + "-" + version, version: version, commit: strings.TrimSpace(commit)}
	return r, os.Rename(filepath.Join(clone, "dist"), r.dist)
}

// command runs a program without the settings of a make or git that runs the tests.
func command(dir string, more []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); {
		case strings.HasPrefix(name, "MAKE"), strings.HasPrefix(name, "GIT_"), strings.HasPrefix(name, "VAULT_"):
		case slices.Contains([]string{"MFLAGS", "VERSION", "PLATFORMS", "FORCE", "FIPS", "SIGN_KEY", "SOURCE_DATE_EPOCH"}, name):
		default:
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	cmd.Env = append(cmd.Env, more...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %q: %w\n%s", name, args, err, out)
	}
	return string(out), err
}

func (r release) stem() string { return r.stemOf(pluginName) }

func (r release) stemOf(program string) string {
	return strings.Join([]string{program, r.version, runtime.GOOS, runtime.GOARCH}, "_")
}

func (r release) unpack(t *testing.T) string {
	t.Helper()
	return r.unpackProgram(t, pluginName)
}

// unpackProgram returns the directory in the archive.
func (r release) unpackProgram(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := command(dir, nil, "tar", "-xzf", filepath.Join(r.dist, r.stemOf(program)+".tar.gz")); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, r.stemOf(program))
}

func (r release) binarySum(t *testing.T) string {
	t.Helper()
	return r.binarySumOf(t, pluginName)
}

// binarySumOf is a binary's entry in SHA256SUMS.binaries.
func (r release) binarySumOf(t *testing.T, program string) string {
	t.Helper()
	sum, ok := sums(t, filepath.Join(r.dist, "SHA256SUMS.binaries"))[r.stemOf(program)+"/"+program]
	if !ok {
		t.Fatalf("SHA256SUMS.binaries does not name %s", program)
	}
	return sum
}

// sums reads the output of sha256sum.
func sums(t *testing.T, list string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for line := range strings.Lines(string(readAll(list))) {
		sum, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		if !ok {
			t.Fatalf("%s: %q", filepath.Base(list), line)
		}
		all[name] = sum
	}
	return all
}

func sumOf(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// TestReleaseRefuses versions that Vault does not accept, and changed work trees, which
// nobody can build again.
func TestReleaseRefuses(t *testing.T) {
	r := needReleases(t)
	refused := func(t *testing.T, why string, more []string, settings ...string) {
		t.Helper()
		out, err := command(r.clone, more, "make", append([]string{"release"}, settings...)...)
		if err == nil || !strings.Contains(out, why) {
			t.Errorf("make release %q is not refused for %q: %v\n%s", settings, why, err, out)
		}
		if _, err := os.Stat(filepath.Join(r.clone, "dist")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a dist/ is left: %v", err)
		}
	}
	refused(t, "set the version", nil)
	for _, version := range []string{"1.2.3", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3-rc1", "v1.2.3+ent", "v1.2.3 ", "V1.2.3", "../v1.2.3"} {
		refused(t, "is not a version", nil, "VERSION="+version)
	}
	refused(t, "is not a version", []string{"VERSION=v1.2.3\nv1.2.3"})
	refused(t, "use FIPS=1", nil, "VERSION=v1.2.3", "FIPS=yes")
	refused(t, "SIGN_KEY", nil, "VERSION=v1.2.3", "SIGN_KEY=nobody@example.invalid")
	refused(t, "unknown platform", nil, "VERSION=v1.2.3", "PLATFORMS=linux/amd64 plan9/386")

	t.Run("a changed tree", func(t *testing.T) {
		extra := writeFile(t, r.clone, "new.go", "package ecgrid\n")
		defer os.Remove(extra)
		refused(t, "new.go", nil, "VERSION=v1.2.3")
		refused(t, "FORCE=1", nil, "VERSION=v1.2.3")

		// A go that fails keeps this fast: nothing is built.
		bin := t.TempDir()
		if err := os.WriteFile(filepath.Join(bin, "go"), []byte("#!/bin/sh\necho \"$@\"\nexit 1\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		path := []string{"PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")}
		refused(t, "FORCE=1: releasing a work tree that differs from its commit", path, "VERSION=v1.2.3", "FORCE=1")
		refused(t, "main.commit="+r.first.commit+"-dirty", path, "VERSION=v1.2.3", "FORCE=1")
	})
}

// TestRegisterScript runs register.sh with echo in vault's place.
func TestRegisterScript(t *testing.T) {
	r := needReleases(t).first
	dir := r.unpack(t)
	register := func(args ...string) (string, error) {
		return command("/", []string{"VAULT_BIN=echo"}, filepath.Join(dir, "register.sh"), args...)
	}
	registers := "plugin register -sha256=" + r.binarySum(t) + " -version=" + r.version
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, registers + " secret " + pluginName + "\n"},
		{[]string{"-command=another"}, registers + " -command=another secret " + pluginName + "\n"},
		{[]string{"-x"}, "usage: ./register.sh [-command=NAME]"},
		{[]string{"-command=a", "b"}, "usage: ./register.sh [-command=NAME]"},
		{[]string{"-command=/bin/sh"}, "without a path"},
	} {
		if out, _ := register(c.args...); !strings.Contains(out, c.says) {
			t.Errorf("register.sh %q says %q, want %q", c.args, out, c.says)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, pluginName), []byte("another"), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := register(); err == nil || !strings.Contains(out, "is not the one of "+r.version) {
		t.Errorf("another binary is registered: %s", out)
	}
}
