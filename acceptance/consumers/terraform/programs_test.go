// SPDX-License-Identifier: MPL-2.0

package terraform

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// program is a Terraform or an OpenTofu.
type program struct {
	name, bin, version string
	registry           string // host of its providers
}

var registries = map[string]string{"terraform": "registry.terraform.io", "tofu": "registry.opentofu.org"}

var versionLine = regexp.MustCompile(`(?m)^((?:Terraform|OpenTofu) v(\d+)\.(\d+)\S*)`)

// atLeast compares two numbers of a version.
func atLeast(major, minor string, wantMajor, wantMinor int) bool {
	a, _ := strconv.Atoi(major)
	b, _ := strconv.Atoi(minor)
	return a > wantMajor || a == wantMajor && b >= wantMinor
}

// programs are the Terraform and the OpenTofu on PATH that have ephemeral resources (1.11
// or newer). Without an OpenTofu there, it is the one that scripts/tofu.sh has built.
func programs() (all []program) {
	for _, name := range []string{"terraform", "tofu"} {
		if bin, err := exec.LookPath(name); err == nil {
			all = appendProgram(all, name, bin)
		}
	}
	hasTofu := slices.ContainsFunc(all, func(p program) bool { return p.name == "tofu" })
	if built := builtTofu(); !hasTofu && built != "" {
		all = appendProgram(all, "tofu", built)
	}
	return all
}

// builtTofu is the OpenTofu in the cache of scripts/tofu.sh, in the version that
// tools/tofu/go.mod pins, and "" if there is none.
func builtTofu() string {
	raw, err := os.ReadFile(filepath.Join(consumertest.Root(), "tools", "tofu", "go.mod"))
	pinned := regexp.MustCompile(`(?m)^require github\.com/opentofu/opentofu v(\S+)`).FindSubmatch(raw)
	cache, cacheErr := consumertest.CacheDir()
	if err != nil || cacheErr != nil || pinned == nil {
		return ""
	}
	return filepath.Join(cache, "tofu-"+string(pinned[1]), "tofu")
}

func appendProgram(all []program, name, bin string) []program {
	cmd := exec.Command(bin, "version")
	cmd.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1")
	out, _ := cmd.Output()
	found := versionLine.FindStringSubmatch(string(out))
	if found == nil || !atLeast(found[2], found[3], 1, 11) {
		return all
	}
	return append(all, program{name, bin, found[1], registries[name]})
}

// source is a binary of the Vault provider.
type source struct {
	bin, version string
}

// standInVersion is what the stand-in calls itself: the oldest version that the examples
// allow.
const standInVersion = "5.11.0"

// released finds the provider's own binary: the one that ECGRID_TERRAFORM_PROVIDER names,
// or one in a directory where Terraform looks for providers.
func released() (s source, found bool) {
	paths := []string{os.Getenv("ECGRID_TERRAFORM_PROVIDER")}
	for _, dir := range providerDirs() {
		binaries, _ := filepath.Glob(filepath.Join(dir, "*", "hashicorp", "vault", "*", runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-vault*"))
		paths = append(paths, binaries...)
	}
	for _, path := range paths {
		version := regexp.MustCompile(`(?:vault_v|/vault/)(\d+)\.(\d+)\.(\d+)`).FindStringSubmatch(filepath.ToSlash(path))
		if version == nil || !atLeast(version[1], version[2], 5, 11) {
			continue // older than the examples allow
		}
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return source{path, strings.Join(version[1:], ".")}, true
		}
	}
	return s, false
}

var configuredDir = regexp.MustCompile(`(?m)^[^#/]*\b(?:path|plugin_cache_dir)\s*=\s*"([^"]+)"`)

func providerDirs() []string {
	home, _ := os.UserHomeDir()
	settings, _ := os.ReadFile(cmp.Or(os.Getenv("TF_CLI_CONFIG_FILE"), filepath.Join(home, ".terraformrc")))
	dirs := []string{
		os.Getenv("TF_PLUGIN_CACHE_DIR"), filepath.Join(home, ".terraform.d", "plugins"),
		filepath.Join(home, ".terraform.d", "plugin-cache"), "/usr/local/share/terraform/plugins",
	}
	for _, match := range configuredDir.FindAllSubmatch(settings, -1) {
		dirs = append(dirs, strings.Replace(string(match[1]), "$HOME", home, 1))
	}
	return dirs
}

// workspace runs a program in a directory, with one provider and the environment of a user.
type workspace struct {
	program
	dir string
	env []string
	// hidden is what no state, plan or output may contain.
	hidden []string
}

// newWorkspace copies examples into a directory of its own. Its programs find only the
// given provider, and never ask a registry.
func newWorkspace(t *testing.T, p program, s source) *workspace {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "examples"), os.DirFS(filepath.Join(consumertest.Root(), "examples"))); err != nil {
		t.Fatal(err)
	}
	place := filepath.Join(root, "providers", p.registry, "hashicorp", "vault", s.version, runtime.GOOS+"_"+runtime.GOARCH)
	settings := filepath.Join(root, "settings.tfrc")
	mirror := "provider_installation {\n  filesystem_mirror {\n    path = \"" + filepath.ToSlash(filepath.Join(root, "providers")) + "\"\n  }\n}\n"
	binary, err := os.ReadFile(s.bin)
	err = errors.Join(err, os.MkdirAll(place, 0o755),
		os.WriteFile(filepath.Join(place, "terraform-provider-vault_v"+s.version), binary, 0o755),
		os.WriteFile(settings, []byte(mirror), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	return &workspace{program: p, dir: filepath.Join(root, "examples", "terraform"), env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + root, "TMPDIR=" + root, "TF_CLI_CONFIG_FILE=" + settings,
		"CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "GORACE=atexit_sleep_ms=0", // of the stand-in
	}}
}

// run runs the program and returns its output and its exit status. It searches the output
// for secrets.
func (w *workspace) run(t *testing.T, args ...string) (output string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.bin, append(args, "-no-color")...)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = w.dir, w.env, &out, &out
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for _, secret := range w.hidden {
		if bytes.Contains(out.Bytes(), []byte(secret)) {
			t.Fatalf("%s %s prints a secret of %d bytes", w.name, args[0], len(secret))
		}
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// ok runs a command that must succeed.
func (w *workspace) ok(t *testing.T, args ...string) {
	t.Helper()
	w.status(t, 0, args...)
}

// status runs a command that must end with the given status, and returns its output.
func (w *workspace) status(t *testing.T, want int, args ...string) string {
	t.Helper()
	output, status := w.run(t, args...)
	if status != want {
		t.Fatalf("%s %s ended with %d, want %d:\n%s", w.name, strings.Join(args, " "), status, want, output)
	}
	return output
}

// With -detailed-exitcode, plan ends with 0 if nothing would change, and with 2 otherwise.
const changes = 2

func (w *workspace) plan(t *testing.T, want int, args ...string) string {
	t.Helper()
	return w.status(t, want, append([]string{"plan", "-input=false", "-detailed-exitcode"}, args...)...)
}

func (w *workspace) apply(t *testing.T, args ...string) {
	t.Helper()
	w.ok(t, append([]string{"apply", "-input=false", "-auto-approve"}, args...)...)
}

// replace changes a file of the copy.
func (w *workspace) replace(t *testing.T, file, old, new string) {
	t.Helper()
	path := filepath.Join(w.dir, file)
	raw, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(raw, []byte(old)) {
		t.Fatalf("%s does not have %q: %v", file, old, err)
	}
	if err := os.WriteFile(path, bytes.Replace(raw, []byte(old), []byte(new), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}
