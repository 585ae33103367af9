// SPDX-License-Identifier: MPL-2.0

// Command esocopy copies External Secrets Operator from the module cache to
// bin/.external-secrets, to which go.mod of acceptance/consumers/eso points. The copy
// registers only the providers and generators in its directory register. With all of them, go
// would compile the libraries of every cloud. Tests are left out. Run it in the repository's
// root.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	module = "github.com/external-secrets/external-secrets"
	// sum is the checksum of the module. Change it with the version in go.mod.
	sum    = "h1:iNY+gIgSyL5higXTfnz+hdPCaiB/43UiHLqE7HBpj68="
	target = "bin/.external-secrets"
	tests  = "acceptance/consumers/eso"
)

// replaced has files of the copy, and those that replace them.
var replaced = [][2]string{
	{"pkg/provider/register/register.go", "register/providers.go"},
	{"pkg/generator/register/register.go", "register/generators.go"},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "esocopy:", err)
		os.Exit(1)
	}
}

func run() error {
	goMod, err := os.ReadFile(filepath.Join(tests, "go.mod"))
	if err != nil {
		return err
	}
	found := regexp.MustCompile(`(?m)^(?:require)?\s*` + module + ` (v\S+)`).FindSubmatch(goMod)
	if found == nil {
		return fmt.Errorf("%s/go.mod does not require %s", tests, module)
	}
	version := string(found[1])
	own, stamp := map[string][]byte{}, []byte(version)
	for _, r := range replaced {
		raw, err := os.ReadFile(filepath.Join(tests, r[1]))
		if err != nil {
			return err
		}
		own[r[0]], stamp = raw, append(stamp, raw...)
	}
	if old, err := os.ReadFile(filepath.Join(target, "stamp")); err == nil && bytes.Equal(old, stamp) {
		return nil
	}
	dir, err := download(version)
	if err != nil {
		return err
	}
	own["stamp"] = stamp
	return replace(dir, own)
}

// download returns the directory of the module in the module cache.
func download(version string) (dir string, err error) {
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+version)
	cmd.Dir, cmd.Stderr = os.TempDir(), os.Stderr // outside of any module
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go mod download: %w", err)
	}
	var info struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &info); err != nil {
		return "", err
	}
	if info.Sum != sum {
		return "", fmt.Errorf("%s %s has another checksum than this program: change both together", module, version)
	}
	return info.Dir, nil
}

// replace makes a new copy, and puts it in the place of the old one.
func replace(dir string, own map[string][]byte) error {
	tmp := fmt.Sprintf("%s.%d", target, os.Getpid())
	defer os.RemoveAll(tmp)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		top, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && top != "apis" && top != "pkg" && top != "config":
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(tmp, name), 0o755)
		case top == name && name != "go.mod" && name != "LICENSE" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		raw, err := os.ReadFile(path)
		return errors.Join(err, os.WriteFile(filepath.Join(tmp, name), raw, 0o644))
	})
	if err != nil {
		return err
	}
	for name, content := range own {
		if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
			return err
		}
	}
	return errors.Join(os.RemoveAll(target), os.Rename(tmp, target))
}
