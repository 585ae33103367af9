// SPDX-License-Identifier: MPL-2.0

// Package testbed sets up a real Vault server with the plugin and the contenders that it
// is compared with, side by side.
package testbed

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Programs of contenders.
const (
	Plugin = "ecgrid"
	Noop   = "noop"
	Other  = "other" // another build of the plugin
)

// pluginVersion is built into the plugin, because Vault needs one.
const pluginVersion = "v0.0.0"

// Tools are the binaries of a run. All files of the run are in one directory.
type Tools struct {
	VaultVersion string
	Commit       string // of the plugin

	vault     string
	dir       string
	pluginDir string
	programs  map[string]*program
}

type program struct {
	path    string
	size    int64
	sha256  string
	version string // "" for none
}

// Options are where the binaries come from.
type Options struct {
	Root   string // the repository
	Vault  string // a vault binary
	Plugin string // a plugin binary; "" builds it
	Other  string // another build of the plugin; "" for none
}

// Prepare builds the plugins. Call Close to remove them.
func Prepare(ctx context.Context, o Options) (*Tools, error) {
	dir, err := os.MkdirTemp("", "ecgrid-bench")
	if err != nil {
		return nil, err
	}
	t := &Tools{vault: o.Vault, dir: dir, programs: map[string]*program{}}
	if err := t.prepare(ctx, o); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

func (t *Tools) prepare(ctx context.Context, o Options) error {
	dir, err := filepath.EvalSymlinks(t.dir) // Vault refuses symbolic links
	if err != nil {
		return err
	}
	t.dir, t.pluginDir = dir, filepath.Join(dir, "plugins")
	if err := os.Mkdir(t.pluginDir, 0o700); err != nil {
		return err
	}
	version, err := output(ctx, "", o.Vault, "version")
	if err != nil {
		return err
	}
	t.VaultVersion = regexp.MustCompile(`v\d[0-9A-Za-z.+-]*`).FindString(version)
	if o.Plugin != "" {
		t.Commit, err = t.addPrebuilt(ctx, Plugin, o.Plugin)
	} else if t.Commit, err = output(ctx, o.Root, filepath.Join("scripts", "commit.sh")); err == nil {
		err = t.build(ctx, Plugin, pluginVersion, o.Root, "./cmd/vault-plugin-ecgrid", " -X main.version="+pluginVersion+" -X main.commit="+t.Commit)
	}
	if err == nil && o.Other != "" {
		_, err = t.addPrebuilt(ctx, Other, o.Other)
	}
	if err != nil {
		return err
	}
	return t.build(ctx, Noop, "", filepath.Join(o.Root, "bench"), "./plugins/noop", "")
}

// build builds a program with the flags of a release.
func (t *Tools) build(ctx context.Context, name, version, dir, pkg, ldflags string) error {
	path := filepath.Join(t.dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w"+ldflags, "-o", path, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="+cmp.Or(os.Getenv("GOFLAGS"), "-buildvcs=false"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return t.add(name, version, path)
}

// addPrebuilt adds a build of the plugin that already exists.
func (t *Tools) addPrebuilt(ctx context.Context, name, path string) (commit string, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	printed, err := output(ctx, "", path, "-version")
	if err != nil {
		return "", err
	}
	fields := strings.Fields(printed) // name, version, commit
	if len(fields) != 3 {
		return "", fmt.Errorf("%s -version printed %q, not a name, a version and a commit", path, printed)
	}
	return fields[2], t.add(name, fields[1], path)
}

func (t *Tools) add(name, version, path string) error {
	binary, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(binary)
	t.programs[name] = &program{path: path, size: int64(len(binary)), sha256: hex.EncodeToString(sum[:]), version: version}
	return nil
}

// Has reports whether the contender's program exists.
func (t *Tools) Has(c Contender) bool { return c.Program == "" || t.programs[c.Program] != nil }

// Size returns the size of a program in bytes.
func (t *Tools) Size(program string) int64 { return t.programs[program].size }

// install copies a program into the plugin directory. The name of the copy is used to
// find its process.
func (t *Tools) install(p *program, name string) error {
	path := filepath.Join(t.pluginDir, name)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	binary, err := os.ReadFile(p.path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, binary, 0o700)
}

// Close removes all files of the run.
func (t *Tools) Close() { _ = os.RemoveAll(t.dir) }

// output runs a command and returns its standard output.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w %s", filepath.Base(name), err, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}
