// SPDX-License-Identifier: MPL-2.0

// Package scripts tests the scripts with fake go and vault commands. It builds nothing and
// takes seconds.
package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fakeGo records its arguments, and fails if GO_FAILS is its subcommand. For -o FILE it
// writes a program that prints "ran".
const fakeGo = `#!/bin/sh
printf '%s | %s\n' "${GOFLAGS-}" "$*" >>"$GO_CALLS"
[ "${GO_FAILS-}" != "$1" ] || exit 1
while [ $# -gt 0 ]; do
	if [ "$1" = -o ]; then
		printf '#!/bin/sh\necho ran\n' >"$2"
		chmod +x "$2"
	fi
	shift
done
`

const fakeVault = `#!/bin/sh
echo 'Vault v1.21.0 (of a test)'
`

// prepareDemo runs the setup of demo.sh and dev.sh, and its results.
const prepareDemo = `root=$PWD; . scripts/lib.sh; prepare; ./demokit port; vault version; printf '%s\n' "$work"`

// shell is a clone of the work tree with the fake commands.
type shell struct {
	dir   string // the clone
	away  string // a directory beside it with a vault called "its vault"
	calls string // the record of fakeGo
	env   []string
}

// newShell passes options to git clone.
func newShell(t *testing.T, options ...string) shell {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("there is no git")
	}
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := shell{dir: filepath.Join(tmp, "clone"), away: filepath.Join(tmp, "away"), calls: filepath.Join(tmp, "calls")}
	tools := filepath.Join(tmp, "tools")
	program(t, filepath.Join(tools, "go"), fakeGo)
	program(t, filepath.Join(tools, "vault"), strings.Replace(fakeVault, "1.21", "1.2", 1)) // too old to be used
	program(t, filepath.Join(s.away, "its vault"), fakeVault)
	for _, v := range os.Environ() {
		switch name, _, _ := strings.Cut(v, "="); {
		case strings.HasPrefix(name, "MAKE"), name == "MFLAGS", strings.HasPrefix(name, "GIT_"), strings.HasPrefix(name, "VAULT_"):
		case strings.HasPrefix(name, "GO"), name == "TMPDIR", name == "XDG_CACHE_HOME", name == "HOME":
		default:
			s.env = append(s.env, v)
		}
	}
	s.env = append(s.env, "PATH="+tools+string(filepath.ListSeparator)+os.Getenv("PATH"), "GO_CALLS="+s.calls, "HOME="+tmp, "TMPDIR="+tmp,
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t")
	origin := filepath.Join(tmp, "origin.git")
	for _, args := range [][]string{
		{"init", "-q", "--bare", origin},
		{"--git-dir=" + origin, "--work-tree=..", "add", "--all", ".."},
		{"--git-dir=" + origin, "--work-tree=..", "commit", "-q", "-m", "what is tested"},
		append(append([]string{"clone", "-q"}, options...), origin, s.dir),
	} {
		if out, err := s.run(".", nil, "git", args...); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	return s
}

func program(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (s shell) run(dir string, more []string, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(append([]string{}, s.env...), more...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Scripts change directory, but relative paths start in the user's.
func TestVaultBinIsMadeAbsolute(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for name, c := range map[string]struct {
		dir, bin string
		command  []string
		want     string
	}{
		"vault.sh":                {s.dir, "../away/its vault", []string{"sh", "scripts/vault.sh"}, filepath.Join(s.away, "its vault") + "\n"},
		"vault.sh from elsewhere": {s.away, "./its vault", []string{"sh", "../clone/scripts/vault.sh"}, filepath.Join(s.away, "its vault") + "\n"},
		"a command on PATH":       {s.away, "its vault", []string{"sh", "-c", `PATH=.:$PATH sh ../clone/scripts/vault.sh`}, filepath.Join(s.away, "its vault") + "\n"},
		"vault on PATH":           {s.away, "", []string{"sh", "-c", `mkdir v && cp "its vault" v/vault && PATH=v:$PATH sh ../clone/scripts/vault.sh`}, filepath.Join(s.away, "v", "vault") + "\n"},
		"demo and dev":            {s.dir, "../away/its vault", []string{"sh", "-c", prepareDemo}, "ran\nVault v1.21.0 (of a test)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := s.run(c.dir, []string{"VAULT_BIN=" + c.bin}, c.command[0], c.command[1:]...)
			if err != nil || !strings.HasPrefix(out, c.want) {
				t.Errorf("%v, got\n%swant\n%s", err, out, c.want)
			}
		})
	}
	if out, err := s.run(s.away, []string{"VAULT_BIN=./none"}, "sh", "../clone/scripts/vault.sh"); err == nil {
		t.Errorf("a missing VAULT_BIN was accepted: %s", out)
	}
}

// VAULT_BIN may be a Vault or an OpenBao that is not too old.
func TestVersionsOfVaultBin(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for version, refusal := range map[string]string{
		"Vault v1.16.0 (of a test)":                             "",
		"Vault v1.15.9 (of a test)":                             "is 1.15.9, older than 1.16",
		"Vault v1.21.0+ent (of a test)":                         "is Enterprise 1.21.0+ent",
		"OpenBao v2.5.5 (of a test), built 2026-01-01T00:00:00": "",
		"OpenBao v2.6.0-beta1":                                  "",
		"OpenBao v3.0.0":                                        "",
		"OpenBao v2.4.9 (of a test)":                            "is OpenBao 2.4.9, older than 2.5",
		"Bao v2.5.5":                                            "does not print a version as Vault does",
	} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			bin := filepath.Join(t.TempDir(), "program")
			program(t, bin, "#!/bin/sh\necho '"+version+"'\n")
			out, err := s.run(s.dir, []string{"VAULT_BIN=" + bin}, "sh", "scripts/vault.sh")
			switch {
			case refusal == "" && (err != nil || out != bin+"\n"):
				t.Errorf("not accepted: %v, %s", err, out)
			case refusal != "" && (err == nil || !strings.Contains(out, refusal)):
				t.Errorf("got %v, %s", err, out)
			}
		})
	}
}

// If programs cannot run from TMPDIR, another directory is used, and left clean.
func TestNoexecTmpdir(t *testing.T) {
	t.Parallel()
	mount := []string{"unshare", "--user", "--map-root-user", "--mount", "sh", "-c", `mount -t tmpfs -o noexec none "$TMPDIR" && eval "$1"`, "sh"}
	for name, c := range map[string]struct {
		tmpdir string
		within []string
	}{
		"noexec":    {"../away", mount},
		"not there": {"none", []string{"sh", "-c", `eval "$1"`, "sh"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShell(t)
			env := []string{"TMPDIR=" + filepath.Join(s.dir, c.tmpdir), "VAULT_BIN=" + filepath.Join(t.TempDir(), "vault")}
			program(t, strings.TrimPrefix(env[1], "VAULT_BIN="), fakeVault)
			if out, err := s.run(s.dir, env, c.within[0], append(c.within[1:], "true")...); err != nil {
				t.Skipf("mounting is not allowed here: %v, %s", err, out)
			}
			out, err := s.run(s.dir, env, c.within[0], append(c.within[1:], prepareDemo)...)
			if err != nil || !strings.HasPrefix(out, "ran\nVault ") {
				t.Fatalf("%v\n%s", err, out)
			}
			lines := strings.Split(strings.TrimSpace(out), "\n")
			work := lines[len(lines)-1]
			if left, err := os.ReadDir(filepath.Dir(work)); err != nil || len(left) != 0 {
				t.Errorf("%d files are left in %s, %v", len(left), filepath.Dir(work), err)
			}
		})
	}
}

// No script or make target calls go with the user's own flags.
func TestUsersGoflagsChangeNothing(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for name, command := range map[string]string{
		"make build":   "make build",
		"make bench":   "make bench",
		"lint.sh":      "sh scripts/lint.sh",
		"test.sh":      "sh scripts/test.sh",
		"test-docs.sh": "sh scripts/test-docs.sh",
		"release.sh":   "VERSION=v0.0.1 FORCE=1 sh scripts/release.sh",
		"vault.sh":     "VAULT_BIN= sh scripts/vault.sh",
		"demo and dev": prepareDemo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := filepath.Join(t.TempDir(), "calls")
			// The result does not matter: fakeGo builds nothing.
			out, _ := s.run(s.dir, []string{"VAULT_BIN=../away/its vault", "GO_CALLS=" + calls, "GOFLAGS=-mod=vendor -tags=users", "GOWORK=/users/go.work"}, "sh", "-c", command)
			noted, err := os.ReadFile(calls)
			if err != nil {
				t.Fatalf("go was not called: %v\n%s", err, out)
			}
			for call := range strings.Lines(string(noted)) {
				if flags, _, _ := strings.Cut(call, " | "); strings.Contains(flags, "users") || !strings.Contains(flags, "-buildvcs=false") {
					t.Errorf("called with GOFLAGS %s", call)
				}
			}
		})
	}
}

// If a module of tools/release is not what go.sum says, it is not run.
func TestReleaseVerifiesItsModules(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for fails, runs := range map[string]bool{"nothing": true, "mod": false} {
		calls := filepath.Join(t.TempDir(), "calls")
		// fakeGo builds nothing, so the release fails in the end.
		out, _ := s.run(s.dir, []string{"VERSION=v0.0.1", "PLATFORMS=linux/amd64", "GO_FAILS=" + fails, "GO_CALLS=" + calls}, "sh", "scripts/release.sh")
		noted, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(noted), "| mod verify\n") || strings.Contains(string(noted), "| -C tools/release run .") != runs || strings.Contains(out, "is not what go.sum says") == runs {
			t.Errorf("go %s fails:\n%s%s", fails, noted, out)
		}
	}
}

func TestFailingGoListFailsTheRun(t *testing.T) {
	t.Parallel()
	s := newShell(t)
	for fails, wantError := range map[string]bool{"nothing": false, "list": true, "test": true} {
		out, err := s.run(s.dir, []string{"VAULT_BIN=../away/its vault", "GO_FAILS=" + fails}, "sh", "scripts/test.sh")
		if (err != nil) != wantError {
			t.Errorf("go %s fails, but the run ended with %v\n%s", fails, err, out)
		}
	}
}

// Git with core.autocrlf, which is the default on Windows, converts LF to CRLF unless
// .gitattributes forbids it.
func TestCheckoutKeepsLF(t *testing.T) {
	t.Parallel()
	s := newShell(t, "-c", "core.autocrlf=true")
	out, err := s.run(s.dir, nil, "git", "ls-files", "--eol")
	if err != nil || out == "" {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "w/crlf") || strings.Contains(line, "w/mixed") {
			t.Errorf("not LF: %s", line)
		}
	}
	if out, err := s.run(s.dir, []string{"VAULT_BIN=../away/its vault"}, "sh", "-c", prepareDemo); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := s.run(s.dir, nil, "make", "-n", "build"); err != nil {
		t.Errorf("make: %v\n%s", err, out)
	}
}

// Each of the commands may be the only one on a system.
func TestSHA256(t *testing.T) {
	t.Parallel()
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"
	for _, command := range []string{"sha256sum", "shasum", "openssl"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			found, err := exec.LookPath(command)
			if err != nil {
				t.Skip("there is no " + command)
			}
			tmp := t.TempDir()
			if err := os.Symlink(found, filepath.Join(tmp, command)); err != nil {
				t.Fatal(err)
			}
			// openssl and sha256sum print this name differently.
			file := filepath.Join(tmp, `a\b c`)
			if err := os.WriteFile(file, []byte("abc"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("/bin/sh", "sha256.sh", file)
			cmd.Env = []string{"PATH=" + tmp}
			if out, err := cmd.CombinedOutput(); err != nil || string(out) != abc {
				t.Errorf("%v, %s", err, out)
			}
		})
	}
}

// The pages must work on macOS, which has no sha256sum.
func TestPagesNeedNoSHA256Sum(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```") {
			if i%2 == 1 && strings.HasPrefix(block, "sh\n") && strings.Contains(block, "sha256sum") {
				t.Errorf("%s: a block needs sha256sum", filepath.Base(page))
			}
		}
	}
}
