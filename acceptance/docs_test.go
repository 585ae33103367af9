// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// page is a page of the documentation. TestDocs runs its commands on a Vault and an
// ECGrid of its own. CONTRIBUTING.md, "Change the documentation", lists the kinds of
// blocks and what happens to each. A block with curl is skipped if there is no curl.
type page struct {
	name   string
	bare   bool   // the page itself registers, enables and configures the plugin
	before string // commands that run before each section
	store  storage
}

const (
	docsLogin    = "vault-ecgrid"
	docsPassword = "Correct-Horse-5" // the one in the sample payload
)

// sampleState creates what the endpoints of docs/api.md need, because an earlier
// section may have deleted it. It uses curl to look, which is faster than the vault CLI.
const sampleState = `
there() { curl -H "X-Vault-Token: $VAULT_TOKEN" "$VAULT_ADDR/v1/ecgrid/$1" >/dev/null 2>&1; }
there config || printf '%s' "$ECGRID_PASSWORD" | vault write ecgrid/config username="$ECGRID_LOGIN" password=-
there roles/orders || vault write ecgrid/roles/orders user_id=5001
`

// freshMount gives each section of docs/operations.md a mount whose login works. The
// sections break it.
const freshMount = `
curl -X DELETE --cacert "$ECGRID_CA" "$ECGRID_SIMULATOR/fault"
curl --data "$ECGRID_PASSWORD" --cacert "$ECGRID_CA" "$ECGRID_SIMULATOR/password/1001"
mounts="$VAULT_ADDR/v1/sys/mounts/ecgrid"
curl -X DELETE -H "X-Vault-Token: $VAULT_TOKEN" "$mounts"
curl -H "X-Vault-Token: $VAULT_TOKEN" --data '{"type": "vault-plugin-ecgrid"}' "$mounts"
printf '%s' "$ECGRID_PASSWORD" | vault write ecgrid/config username="$ECGRID_LOGIN" password=-
`

func pages(t *testing.T) []page {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(repoRoot(), "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	all := []page{{name: "README.md", bare: true, store: inmem}, {name: "CONTRIBUTING.md", store: inmem}}
	for _, f := range found {
		p := page{name: "docs/" + filepath.Base(f), store: inmem}
		switch p.name {
		case "docs/release.md":
			continue // release_test.go runs its steps, because it has the archives
		case "docs/install.md":
			p.bare = true
		case "docs/api.md":
			p.before = sampleState
		case "docs/operations.md":
			p.before, p.store = freshMount, raft // snapshots need raft
		}
		all = append(all, p)
	}
	return all
}

// TestDocs runs every command of README.md and docs/.
func TestDocs(t *testing.T) {
	t.Parallel()
	needVaultItself(t, "the pages use commands that bao does not have")
	for _, p := range pages(t) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(filepath.Join(repoRoot(), p.name))
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := readBlocks(string(raw))
			if err != nil {
				t.Fatalf("%s:%v", p.name, err)
			}
			p.run(t, blocks)
		})
	}
}

func (p page) run(t *testing.T, blocks []block) {
	_, noCurl := exec.LookPath("curl")
	work := p.workDir(t)
	script, ran := p.script(t, work, blocks, noCurl == nil)
	if len(ran) == 0 {
		t.Log("no commands to run")
		return
	}
	v, g := p.start(t)
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = filepath.Join(work, "repo"), p.environment(t, work, v, g)
	out, err := cmd.CombinedOutput() // of the script; the output of each block is in a file
	if err != nil {
		at, _ := strconv.Atoi(strings.TrimSpace(string(readAll(filepath.Join(work, "current")))))
		said := readAll(outputOf(work, at))
		t.Fatalf("%s:%d: the block ended with %v\n%s%s", p.name, blocks[at].line, err, out, said)
	}
	compared := 0
	for _, b := range blocks {
		if b.source < 0 || !ran[b.source] || b.kind == "sh" {
			continue
		}
		if err := compare(b, string(readAll(outputOf(work, b.source)))); err != nil {
			t.Errorf("%s:%d: %v", p.name, b.line, err)
		}
		compared++
	}
	t.Logf("%d blocks run, the output of %d compared", len(ran), compared)
}

func outputOf(work string, i int) string { return filepath.Join(work, fmt.Sprintf("%d.out", i)) }

// workDir creates a directory that looks like a clone of the repository. The page may
// create files in it.
func (p page) workDir(t *testing.T) string {
	t.Helper()
	work, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"repo", "bin", "plugins", "home"} {
		if err := os.Mkdir(filepath.Join(work, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(repoRoot())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "bin", "dist", ".git":
			continue
		}
		if err := os.Symlink(filepath.Join(repoRoot(), e.Name()), filepath.Join(work, "repo", e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(repoRoot(), "scripts", "test-docs-vault.sh"), filepath.Join(work, "bin", "vault")); err != nil {
		t.Fatal(err)
	}
	return work
}

var refusedCommand = regexp.MustCompile(`(?m)^(.*\S) +# refused\b.*$`)

// script joins the sh blocks of the page. It also returns which blocks it runs.
func (p page) script(t *testing.T, work string, blocks []block, hasCurl bool) (script string, ran map[int]bool) {
	t.Helper()
	var s strings.Builder
	s.WriteString("set -eu\n")
	ran = map[int]bool{}
	section := "-"
	for i, b := range blocks {
		if b.kind == "json" && b.heading == "Sample payload" {
			file := filepath.Join(work, fmt.Sprintf("%d.json", i))
			fmt.Fprintf(&s, "payload %s\n", file)
			writeFile(t, work, filepath.Base(file), b.text)
		}
		if b.kind != "sh" {
			continue
		}
		if strings.Contains(b.text, "curl") && !hasCurl {
			fmt.Fprintf(os.Stderr, "acceptance: %s:%d: not run: there is no curl\n", p.name, b.line)
			continue
		}
		fmt.Fprintf(&s, "echo %d >%s/current\nexec >%s 2>&1\n", i, work, outputOf(work, i))
		if p.before != "" && b.section != section {
			section = b.section
			fmt.Fprintf(&s, "{ %s } >/dev/null\n", p.before)
		}
		s.WriteString(refusedCommand.ReplaceAllString(b.text, `if $1; then echo "this command was expected to fail"; exit 1; fi`))
		ran[i] = true
	}
	return "payload() { cp \"$1\" payload.json; }\n" + s.String(), ran
}

// start starts the Vault and the ECGrid of the page.
func (p page) start(t *testing.T) (*vault, *ecgrid) {
	t.Helper()
	server, err := simulator.Start(simulator.Options{Users: []simulator.User{
		{UserID: simulator.AdminUserID, LoginName: docsLogin, Password: docsPassword, NetworkID: 100, AuthLevel: "NetworkAdmin"},
		{UserID: 5001, LoginName: "orders", NetworkID: 100, MailboxID: 501},
		{UserID: 5002, LoginName: "billing", NetworkID: 100, MailboxID: 502},
		{UserID: 5003, LoginName: "new-app", NetworkID: 100, MailboxID: 503, NoAPIKey: true},
	}}, simulator.ServerOptions{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	g := &ecgrid{Server: server}
	v := &vault{dir: filepath.Join(suite.dir, fmt.Sprintf("vault%d", vaultCount.Add(1)))}
	suite.mu.Lock()
	suite.grids = append(suite.grids, g)
	suite.vaults = append(suite.vaults, v)
	suite.mu.Unlock()
	if err := errors.Join(os.Mkdir(v.dir, 0o700), v.configure(p.store)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.stop)
	if p.bare {
		dir := filepath.Join(v.dir, "plugins")
		config := bytes.ReplaceAll(readAll(filepath.Join(v.dir, "vault.hcl")), []byte(suite.pluginDir), []byte(dir))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		writeFile(t, v.dir, "vault.hcl", string(config))
	}
	if err := errors.Join(v.setUp(), v.enableAudit()); err != nil {
		t.Fatalf("%v\n%s", err, tail(v.logPath()))
	}
	if p.bare {
		return v, g
	}
	if err := v.registerPlugin(); err != nil {
		t.Fatal(err)
	}
	v.run(t, "secrets", "enable", "-path=ecgrid", pluginName)
	m := &mount{vault: v, ecgrid: g, path: "ecgrid"}
	v.ok(t, "POST", m.at("config"), fields{"url": g.SOAP, "ca_cert": string(g.CACert), "username": docsLogin, "password": docsPassword})
	return v, g
}

// environment returns the variables that a reader has set, and the caches for make build.
func (p page) environment(t *testing.T, work string, v *vault, g *ecgrid) []string {
	t.Helper()
	dir := suite.pluginDir
	if p.bare {
		dir = filepath.Join(v.dir, "plugins")
	}
	// Without this, curl succeeds even if Vault answers with an error.
	writeFile(t, filepath.Join(work, "home"), ".curlrc", "fail\nsilent\nshow-error\n")
	env := []string{
		"HOME=" + filepath.Join(work, "home"),
		"PATH=" + filepath.Join(work, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"VAULT_ADDR=" + v.node.Addr, "VAULT_CACERT=" + v.caPath(), "VAULT_TOKEN=" + v.token,
		"CURL_CA_BUNDLE=" + v.caPath(),
		"PLUGIN_DIRECTORY=" + dir, "ECGRID_LOGIN=" + docsLogin, "ECGRID_PASSWORD=" + docsPassword,
		"ECGRID_SIMULATOR=" + strings.TrimSuffix(g.REST, "/v2") + simulator.AdminPath,
		"TEST_DOCS_VAULT=" + suite.vaultBin, "TEST_DOCS_URL=" + g.SOAP,
	}
	ca := writeFile(t, work, "ecgrid-ca.pem", string(g.CACert))
	env = append(env, "TEST_DOCS_CA="+ca, "ECGRID_CA="+ca)
	// Like the commands, the sample payload of config has no url: add the one of the simulator.
	payloads, err := filepath.Glob(filepath.Join(work, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range payloads {
		raw := strings.Replace(string(readAll(file)), `"password":`, fmt.Sprintf(`"url": %q, "ca_cert": %q, "password":`, g.SOAP, g.CACert), 1)
		writeFile(t, work, filepath.Base(file), raw)
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOFLAGS", "GOTOOLCHAIN", "GOSUMDB"} {
		out, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, name+"="+strings.TrimSpace(string(out)))
	}
	return env
}
