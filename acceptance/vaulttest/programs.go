// SPDX-License-Identifier: MPL-2.0

// Package vaulttest finds the programs under test and runs a real Vault server with the
// plugin in its plugin directory.
package vaulttest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// PluginName is the name of the plugin's binary and of its entry in Vault's catalog.
const PluginName = "vault-plugin-ecgrid"

// ErrNoVault means that there is no vault to test with. FindVault never builds one, since
// that takes longer than the timeout of go test.
var ErrNoVault = errors.New("no vault to test with: run 'make test', which gets one")

// FindVault returns the path of a vault binary; root is the repository.
func FindVault(root string) (string, error) {
	cmd := exec.Command(filepath.Join(root, "scripts", "vault.sh"), "--no-build")
	cmd.Dir = root // a relative VAULT_BIN starts here
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if exit.ExitCode() == 3 {
			return "", ErrNoVault
		}
		return "", fmt.Errorf("scripts/vault.sh: %w: %s", err, exit.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// Plugin is the plugin as Vault's catalog wants it described.
type Plugin struct {
	Dir     string // Vault's plugin_directory
	Sum     string // SHA-256 of the binary, in hex
	Version string // as the binary prints it
}

// InstallPlugin copies the plugin into a new directory dir, so that a build that runs
// beside the tests does not change what is registered.
func InstallPlugin(root, dir string) (p Plugin, err error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return p, err
	}
	if p.Dir, err = filepath.EvalSymlinks(dir); err != nil { // Vault refuses links
		return p, err
	}
	binary := filepath.Join(p.Dir, PluginName)
	if err := obtainPlugin(root, binary); err != nil {
		return p, err
	}
	return describe(p.Dir, PluginName)
}

// describe reads the sum and the version of a binary in the plugin directory.
func describe(dir, command string) (Plugin, error) {
	p, binary := Plugin{Dir: dir}, filepath.Join(dir, command)
	raw, err := os.ReadFile(binary)
	if err != nil {
		return p, err
	}
	sum := sha256.Sum256(raw)
	p.Sum = hex.EncodeToString(sum[:])
	out, err := exec.Command(binary, "-version").CombinedOutput()
	if p.Version = regexp.MustCompile(`v\d+\.\d+\.\d+[0-9A-Za-z.+-]*`).FindString(string(out)); err != nil || p.Version == "" {
		return p, fmt.Errorf("%s -version prints no version: %q: %w", command, out, err)
	}
	return p, nil
}

// obtainPlugin copies the binary that PLUGIN_BIN names, or builds one as make does.
func obtainPlugin(root, to string) error {
	if built := os.Getenv("PLUGIN_BIN"); built != "" {
		raw, err := os.ReadFile(built)
		if err != nil {
			return err
		}
		// A process that is started meanwhile would inherit the open file, and Linux would refuse
		// to run it ("text file busy").
		syscall.ForkLock.RLock()
		defer syscall.ForkLock.RUnlock()
		return os.WriteFile(to, raw, 0o755)
	}
	return buildPlugin(root, to, "")
}

// AddVersion builds the plugin with another version beside p.
func (p Plugin) AddVersion(root, version string) (command string, added Plugin, err error) {
	command = PluginName + "-" + version
	if err := buildPlugin(root, filepath.Join(p.Dir, command), "-X main.version="+version); err != nil {
		return "", p, err
	}
	added, err = describe(p.Dir, command)
	return command, added, err
}

func buildPlugin(root, to, flags string) error {
	cmd := exec.Command("sh", "-c", `root=.; . scripts/env.sh; exec go build -trimpath -ldflags "-s -w $3" -o "$1" "./cmd/$2"`, "build", to, PluginName, flags)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the plugin: %w\n%s", err, out)
	}
	return nil
}

// Environment is a process environment without the user's own Vault settings and token.
// Of the user's variables it keeps PATH, TMPDIR and those named.
func Environment(home string, keep ...string) []string {
	env := []string{"HOME=" + home}
	for _, name := range append([]string{"PATH", "TMPDIR"}, keep...) {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
