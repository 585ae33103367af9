// SPDX-License-Identifier: MPL-2.0

// Package agent runs Vault Agent and Vault Proxy with the files of examples/, through
// rotations and outages.
package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

const (
	// ttl is the role's. Consumers without a lease read again after it.
	ttl = 3 * time.Second
	// leaseTTL is the ttl for consumers with a lease. A renewal may take two seconds.
	leaseTTL = 6 * time.Second
	// patience is how long a test waits for what is not measured.
	patience = 30 * time.Second

	staticPath = "ecgrid/static-creds/" + consumertest.Role
	leasedPath = "ecgrid/creds/" + consumertest.Role
)

// program is a vault agent or vault proxy.
type program struct {
	*testing.T
	w       *consumertest.World
	dir     string
	config  string
	process *vaulttest.Process
}

// newProgram takes the configuration from a file of examples/ and gives it an AppRole.
func newProgram(t *testing.T, w *consumertest.World, file string) *program {
	t.Helper()
	p := newConfig(t, w, file)
	roleID, secretID := w.AppRole(t)
	p.write("role_id", roleID)
	p.write("secret_id", secretID)
	return p
}

// newProgramOfREADME logs in as examples/agent/README.md sets it up.
func newProgramOfREADME(t *testing.T, w *consumertest.World, file string) *program {
	t.Helper()
	p := newConfig(t, w, file)
	policies := filepath.Join(consumertest.Root(), "examples", "policies")
	runREADME(t, w, "agent/README.md", p.dir, "../policies", policies, "ttl=5m", fmt.Sprint("ttl=", ttl))
	return p
}

// newConfig has the login in its own directory.
func newConfig(t *testing.T, w *consumertest.World, file string) *program {
	t.Helper()
	p := &program{T: t, w: w, dir: newDir(t), config: example(t, file)}
	consumertest.Must(p, os.Mkdir(filepath.Join(p.dir, "bin"), 0o700))
	p.replace("https://vault.example.com:8200", w.Addr)
	p.replace("/etc/vault-agent/role_id", filepath.Join(p.dir, "role_id"))
	p.replace("/etc/vault-agent/secret_id", filepath.Join(p.dir, "secret_id"))
	return p
}

func example(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(consumertest.Root(), "examples", filepath.FromSlash(file)))
	consumertest.Must(t, err)
	return string(raw)
}

// newDir is removed by polling: commands that a program ran may outlive it by a moment.
func newDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ecgrid-agent")
	consumertest.Must(t, err)
	t.Cleanup(func() {
		consumertest.Eventually(t, patience, "the program's directory is removed", func() bool { return os.RemoveAll(dir) == nil })
	})
	return dir
}

func (p *program) write(name, content string) (path string) {
	p.Helper()
	path = filepath.Join(p.dir, name)
	consumertest.Must(p, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// replace ends the test unless the example has the text.
func (p *program) replace(old, with string) {
	p.Helper()
	if !strings.Contains(p.config, old) {
		p.Fatalf("the example has no %q", old)
	}
	p.config = strings.ReplaceAll(p.config, old, with)
}

// command puts a script on the program's PATH. Each run appends a line to a file. The
// function returns that file's lines.
func (p *program) command(name, writes string, then ...string) func() []string {
	p.Helper()
	written := filepath.Join(p.dir, name+".out")
	script := "#!/bin/sh\n" + writes + " >>'" + written + "'\n" + strings.Join(then, "\n") + "\n"
	consumertest.Must(p, os.WriteFile(filepath.Join(p.dir, "bin", name), []byte(script), 0o700))
	return func() []string { return strings.Split(strings.TrimSuffix(content(written), "\n"), "\n") }
}

func (p *program) log() string { return filepath.Join(p.dir, "program.log") }

// start runs vault with the subcommand agent or proxy.
func (p *program) start(subcommand string) {
	p.Helper()
	cmd := exec.Command(p.w.VaultBin, subcommand, "-config="+p.write("config.hcl", p.config), "-log-level=debug")
	cmd.Dir = p.dir
	cmd.Env = append(vaulttest.Environment(p.dir), "VAULT_CACERT="+p.w.CAFile(),
		"PATH="+filepath.Join(p.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	var err error
	p.process, err = vaulttest.Start(cmd, p.log())
	consumertest.Must(p, err)
	p.Cleanup(p.stop)
}

func (p *program) stop() {
	if !p.process.Running() {
		p.Error("the program has ended by itself")
	}
	p.process.Stop()
	consumertest.CheckLog(p, p.log(), p.w.Grid.Secrets()...)
	if log := content(p.log()); p.Failed() {
		p.Logf("the program's log ends:\n%s", log[max(0, len(log)-4000):])
	}
}

// version is what vault prints, such as "1.21.0".
func version(t *testing.T, w *consumertest.World) string {
	t.Helper()
	out, err := exec.Command(w.VaultBin, "version").Output()
	found := regexp.MustCompile(`v(\d+\.\d+\.\d+[0-9A-Za-z.+-]*)`).FindSubmatch(out)
	if err != nil || found == nil {
		t.Fatalf("vault version: %v %s", err, out)
	}
	return string(found[1])
}

func content(file string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return string(raw)
}
