// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/vaulttest"
	"vault-plugin-ecgrid/internal/testcert"
)

// composeProject is what docker compose makes of a file.
type composeProject struct {
	Services map[string]composeService
	Secrets  map[string]struct{ Environment string }
}

type composeService struct {
	Image               string
	Entrypoint, Command []string
	Environment         map[string]string
	Secrets             []struct{ Source, Target string }
	Volumes             []struct{ Type, Source, Target string }
	Ports               []struct {
		HostIP string `json:"host_ip"`
		Target int
	}
	Healthcheck struct{ Test []string }
	DependsOn   map[string]struct{ Condition string } `json:"depends_on"`
}

// composed runs the services of examples/compose as processes on 127.0.0.1.
type composed struct {
	composeProject
	dir      string
	env      []string // of the user
	places   map[string]string
	addr     map[string]string // host:port of a service in its network, to the one here
	programs map[string]string // of images: the first word of a command, to the file
}

const composePassword = "Composed-passw0rd"

// TestReleaseCompose loads examples/compose with the library of docker compose, and runs
// the commands of its services, in their order, with the programs of a release.
func TestReleaseCompose(t *testing.T) {
	r := needReleases(t).first
	c := newComposed(t, r)
	c.checkDockerCompose(t)

	simulator := c.start(t, "simulator")
	vault := c.start(t, "vault")
	eventually(t, 20*time.Second, "vault is healthy", func() bool {
		healthy := c.command(t, "vault", c.Services["vault"].Healthcheck.Test[1:])
		return vault.Running() && healthy.Run() == nil
	})
	for range 2 { // docker compose up may run it again
		if out, err := c.command(t, "setup", c.Services["setup"].arguments()).CombinedOutput(); err != nil {
			t.Fatalf("setup: %v\n%s\n%s", err, out, tail(c.logPath("simulator")))
		}
	}

	key, err := c.command(t, "setup", []string{"vault", "read", "-field=api_key", "ecgrid/keys/5001"}).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, key)
	}
	if status := c.callECGrid(t, string(key)); status != http.StatusOK {
		t.Errorf("with the key that Vault has, ECGrid answers HTTP %d", status)
	}
	if !simulator.Running() || !strings.Contains(string(readAll(c.logPath("simulator"))), "op=UserGetAPIKey user=1001 status=200 outcome=ok") {
		t.Errorf("the simulator has ended, or logs no requests: %s", tail(c.logPath("simulator")))
	}
}

func newComposed(t *testing.T, r release) *composed {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := filepath.EvalSymlinks(r.unpack(t)) // Vault refuses links
	if err != nil {
		t.Fatal(err)
	}
	c := &composed{dir: dir, programs: map[string]string{
		"vault":             suite.vaultBin,
		"/" + simulatorName: filepath.Join(r.unpackProgram(t, simulatorName), simulatorName),
	}}
	c.env = []string{"VAULT_TOKEN=composed-token", "ECGRID_PASSWORD=" + composePassword, "ECGRID_PLUGIN_DIR=" + plugin}
	out, err := composeTool(c.env)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &c.composeProject); err != nil {
		t.Fatal(err)
	}
	c.addr = map[string]string{}
	one, two, err := vaulttest.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	c.publish(t, "simulator", one)
	c.publish(t, "vault", two)
	c.mountAll(t)
	return c
}

// composeTool prints examples/compose/compose.yaml as docker compose reads it.
func composeTool(env []string) ([]byte, error) {
	cmd := exec.Command("go", "-C", "tools/compose", "run", ".", filepath.Join(repoRoot(), "examples", "compose", "compose.yaml"))
	cmd.Dir, cmd.Env = repoRoot(), append(os.Environ(), env...)
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("tools/compose: %w: %s", err, exit.Stderr)
	}
	return out, err
}

// publish maps the port of a service to a free one. Both are open to this machine only.
func (c *composed) publish(t *testing.T, service, address string) {
	t.Helper()
	ports := c.Services[service].Ports
	if len(ports) != 1 || ports[0].HostIP != "127.0.0.1" {
		t.Fatalf("%s publishes %+v", service, ports)
	}
	for _, host := range []string{service, "0.0.0.0", "127.0.0.1"} {
		c.addr[fmt.Sprintf("%s:%d", host, ports[0].Target)] = address
	}
}

// mountAll makes the volumes and secrets. A file that is mounted is copied, since it names
// places of a container.
func (c *composed) mountAll(t *testing.T) {
	t.Helper()
	c.places = map[string]string{}
	var files []string
	for _, s := range c.Services {
		for _, secret := range s.Secrets {
			c.places[secret.Target] = writeFile(t, c.dir, secret.Source, c.variable(c.Secrets[secret.Source].Environment))
		}
		for _, v := range s.Volumes {
			local := v.Source
			if v.Type == "volume" {
				local = filepath.Join(c.dir, "volume-"+v.Source)
				if err := os.MkdirAll(local, 0o755); err != nil {
					t.Fatal(err)
				}
			} else if info, err := os.Stat(v.Source); err != nil {
				t.Fatal(err)
			} else if !info.IsDir() {
				local = filepath.Join(c.dir, filepath.Base(v.Target))
				files = append(files, v.Source, local)
			}
			c.places[v.Target] = local
		}
	}
	for i := 0; i < len(files); i += 2 {
		writeFile(t, c.dir, filepath.Base(files[i+1]), c.here(string(readAll(files[i]))))
	}
}

func (c *composed) variable(name string) string {
	for _, v := range c.env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// here replaces places and addresses of containers by those of this machine.
func (c *composed) here(text string) string {
	var pairs []string
	for _, table := range []map[string]string{c.addr, c.places} {
		for from, to := range table {
			pairs = append(pairs, from, to)
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// arguments is the command line that a container runs. The images have the entrypoints
// that release_contents_test.go checks, and that of Vault runs its command as it is.
func (s composeService) arguments() []string {
	entrypoint := s.Entrypoint
	if entrypoint == nil && strings.HasPrefix(s.Image, simulatorName+":") {
		entrypoint = programNamed(simulatorName).config.Entrypoint
	}
	return append(append([]string{}, entrypoint...), s.Command...)
}

// command is a program as in the container of a service, with its variables.
func (c *composed) command(t *testing.T, service string, args []string) *exec.Cmd {
	t.Helper()
	name := args[0]
	if program, ok := c.programs[name]; ok {
		name = program
	}
	var rest []string
	for _, a := range args[1:] {
		rest = append(rest, c.here(a))
	}
	cmd := exec.Command(name, rest...)
	cmd.Dir = c.dir
	bin := filepath.Join(c.dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.programs["vault"], filepath.Join(bin, "vault")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	cmd.Env = append(vaulttest.Environment(c.dir), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for k, v := range c.Services[service].Environment {
		cmd.Env = append(cmd.Env, k+"="+c.here(v))
	}
	return cmd
}

func (c *composed) logPath(service string) string { return filepath.Join(c.dir, service+".log") }

func (c *composed) start(t *testing.T, service string) *vaulttest.Process {
	t.Helper()
	p, err := vaulttest.Start(c.command(t, service, c.Services[service].arguments()), c.logPath(service))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// callECGrid calls the simulator under the name that its container has.
func (c *composed) callECGrid(t *testing.T, key string) int {
	t.Helper()
	config := testcert.ClientConfig(readAll(filepath.Join(c.places["/data"], "ca.pem")))
	config.ServerName = "simulator"
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "https://"+c.addr["simulator:8080"]+"/v2/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", strings.TrimSpace(key))
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// checkDockerCompose lets docker compose itself read the file, if it is installed.
func (c *composed) checkDockerCompose(t *testing.T) {
	t.Helper()
	if err := exec.Command("docker", "compose", "version").Run(); err != nil {
		fmt.Fprintln(os.Stderr, "acceptance: docker compose config: not run: no docker compose")
		return
	}
	file := filepath.Join(repoRoot(), "examples", "compose", "compose.yaml")
	if _, err := command(c.dir, c.env, "docker", "compose", "-f", file, "config", "--quiet"); err != nil {
		t.Error(err)
	}
}

// TestReleaseComposeRefuses checks that nothing starts without a token.
func TestReleaseComposeRefuses(t *testing.T) {
	if _, err := composeTool([]string{"VAULT_TOKEN="}); err == nil || !strings.Contains(err.Error(), "VAULT_TOKEN") {
		t.Errorf("got %v", err)
	}
}
