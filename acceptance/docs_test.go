package acceptance

import (
	"bytes"
	"encoding/json"
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

// The pages' commands are run as they stand, each page on a Vault and an ECGrid of
// its own. What a page may hold:
//
//	sh       run, in one shell for the page, which ends at the first failure; a
//	         command with "# refused" behind it has to fail
//	text     behind sh: what it prints. Each line has to be there, in this order;
//	         … stands for anything
//	json     behind sh: its answer, of the same shape. Under "Sample payload":
//	         payload.json
//	console  not run, and the paragraph before says so and why
//
// and hcl, yaml and mermaid, which are shown only. A block with curl is left out
// where there is no curl.
type page struct {
	name   string
	bare   bool   // the reader registers, enables and configures the plugin
	before string // what each section begins with
}

const (
	docsLogin    = "vault-ecgrid"
	docsPassword = "Correct-Horse-5" // the sample payload's
)

// sampleState makes each endpoint's section stand alone, whatever was deleted in
// the one before. It is for a page of curl blocks, and quicker than the vault CLI.
const sampleState = `
there() { curl -H "X-Vault-Token: $VAULT_TOKEN" "$VAULT_ADDR/v1/ecgrid/$1" >/dev/null 2>&1; }
there config || printf '%s' "$ECGRID_PASSWORD" | vault write ecgrid/config username="$ECGRID_LOGIN" password=-
there roles/orders || vault write ecgrid/roles/orders user_id=5001
`

func pages(t *testing.T) []page {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(repoRoot(), "docs", "*.md"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	all := []page{{name: "README.md", bare: true}}
	for _, f := range found {
		p := page{name: "docs/" + filepath.Base(f)}
		switch p.name {
		case "docs/release.md":
			continue // its steps are those of release_test.go, which has archives to do them with
		case "docs/install.md":
			p.bare = true
		case "docs/api.md":
			p.before = sampleState
		}
		all = append(all, p)
	}
	return all
}

// TestDocs runs every command of README.md and docs/.
func TestDocs(t *testing.T) {
	t.Parallel()
	needVault(t)
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

// block is a fenced block.
type block struct {
	line    int // of its first line
	kind    string
	text    string
	section string // the last "## " before it
	heading string // the last heading before it
	behind  int    // the sh block that it shows the output of; -1 for none
}

var fence = regexp.MustCompile("^( *)```(\\w*)$")

func readBlocks(text string) ([]block, error) {
	var (
		blocks           []block
		open             *block
		indent           string
		section, heading string
		paragraph, last  string
		errs             []error
		blank            = true
		lastSh           = -1
	)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimRight(line, "\n")
		m := fence.FindStringSubmatch(line)
		switch {
		case open != nil && m != nil && m[2] == "":
			blocks = append(blocks, *open)
			lastSh = -1
			if open.kind == "sh" {
				lastSh = len(blocks) - 1
			}
			open = nil
			blank = true
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			indent = m[1]
			open = &block{line: number + 1, kind: m[2], section: section, heading: heading, behind: lastSh}
			if paragraph != "" {
				last = paragraph
			}
			paragraph = ""
			switch m[2] {
			case "sh", "text", "json", "hcl", "yaml", "mermaid":
			case "console":
				if !strings.Contains(last, "ot run by `make test-docs`") {
					errs = append(errs, fmt.Errorf("%d: a console block has to have \"not run by `make test-docs`\" and the reason in the paragraph before it", number))
				}
			default:
				errs = append(errs, fmt.Errorf("%d: a block of kind %q", number, m[2]))
			}
		default:
			if strings.HasPrefix(line, "    ") && blank {
				errs = append(errs, fmt.Errorf("%d: an indented block: put a fence around it", number))
			}
			if strings.HasPrefix(line, "#") {
				heading, lastSh = strings.TrimLeft(line, "# "), -1
				if strings.HasPrefix(line, "## ") {
					section = heading
				}
				if heading == "Sample response" && len(blocks) > 0 {
					lastSh = len(blocks) - 1
				}
			}
			if blank = line == ""; blank && paragraph != "" {
				last, paragraph = paragraph, ""
			}
			paragraph += line + " "
			paragraph = strings.TrimLeft(paragraph, " ")
		}
	}
	if open != nil {
		errs = append(errs, fmt.Errorf("%d: the block is not closed", open.line))
	}
	return blocks, errors.Join(errs...)
}

func (p page) run(t *testing.T, blocks []block) {
	hasCurl := true
	if _, err := exec.LookPath("curl"); err != nil {
		hasCurl = false
	}
	work := p.workDir(t)
	script, ran := p.script(t, work, blocks, hasCurl)
	if len(ran) == 0 {
		t.Log("no commands to run")
		return
	}
	v, g := p.start(t)
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir, cmd.Env = filepath.Join(work, "repo"), p.environment(t, work, v, g)
	out, err := cmd.CombinedOutput() // of the script itself: each block's is in a file
	if err != nil {
		at, _ := strconv.Atoi(strings.TrimSpace(string(readAll(filepath.Join(work, "current")))))
		said := readAll(outputOf(work, at))
		t.Fatalf("%s:%d: the block ended with %v\n%s%s", p.name, blocks[at].line, err, out, said)
	}
	compared := 0
	for _, b := range blocks {
		if b.behind < 0 || !ran[b.behind] || b.kind == "sh" {
			continue
		}
		if err := compare(b, string(readAll(outputOf(work, b.behind)))); err != nil {
			t.Errorf("%s:%d: %v", p.name, b.line, err)
		}
		compared++
	}
	t.Logf("%d blocks run, the output of %d compared", len(ran), compared)
}

func outputOf(work string, i int) string { return filepath.Join(work, fmt.Sprintf("%d.out", i)) }

// workDir looks like a clone of the repository, where a page may make files.
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

// script is all blocks one after the other, and which of them it runs.
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
			fmt.Fprintf(os.Stderr, "acceptance: %s:%d: not run, there is no curl\n", p.name, b.line)
			continue
		}
		fmt.Fprintf(&s, "echo %d >%s/current\nexec >%s 2>&1\n", i, work, outputOf(work, i))
		if b.section != section {
			section = b.section
			if p.before != "" {
				fmt.Fprintf(&s, "{ %s } >/dev/null\n", p.before)
			}
		}
		s.WriteString(refusedCommand.ReplaceAllString(b.text, `if $1; then echo "this was meant to be refused"; exit 1; fi`))
		ran[i] = true
	}
	return "payload() { cp \"$1\" payload.json; }\n" + s.String(), ran
}

// start gives the page its Vault, with a plugin directory of its own, and its ECGrid.
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
	if err := errors.Join(os.Mkdir(v.dir, 0o700), v.configure(inmem)); err != nil {
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
	if err := errors.Join(v.launch(), v.initialize(), v.unseal(), v.enableAudit()); err != nil {
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

// environment is what a reader has set, and the caches that make build needs.
func (p page) environment(t *testing.T, work string, v *vault, g *ecgrid) []string {
	t.Helper()
	dir := suite.pluginDir
	if p.bare {
		dir = filepath.Join(v.dir, "plugins")
	}
	// curl of itself does not fail on a refusal.
	writeFile(t, filepath.Join(work, "home"), ".curlrc", "fail\nsilent\nshow-error\n")
	env := []string{
		"HOME=" + filepath.Join(work, "home"),
		"PATH=" + filepath.Join(work, "bin") + string(filepath.ListSeparator) + os.Getenv("PATH"),
		"VAULT_ADDR=" + v.addr, "VAULT_CACERT=" + v.caPath(), "VAULT_TOKEN=" + v.token,
		"CURL_CA_BUNDLE=" + v.caPath(),
		"PLUGIN_DIRECTORY=" + dir, "ECGRID_LOGIN=" + docsLogin, "ECGRID_PASSWORD=" + docsPassword,
		"TEST_DOCS_VAULT=" + suite.vaultBin, "TEST_DOCS_URL=" + g.SOAP,
		"TEST_DOCS_CA=" + writeFile(t, work, "ecgrid-ca.pem", string(g.CACert)),
	}
	// The sample payload of config names no url either.
	payloads, err := filepath.Glob(filepath.Join(work, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range payloads {
		var payload map[string]any
		if err := json.Unmarshal(readAll(file), &payload); err != nil {
			t.Fatalf("%s: a sample payload: %v", p.name, err)
		}
		if _, ok := payload["password"]; ok {
			payload["url"], payload["ca_cert"] = g.SOAP, string(g.CACert)
			raw, err := json.Marshal(payload)
			if err != nil {
				t.Fatal(err)
			}
			writeFile(t, work, filepath.Base(file), string(raw))
		}
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

// compare holds what a page shows against what was printed.
func compare(shown block, printed string) error {
	if shown.kind == "json" {
		var want, got any
		if err := json.Unmarshal([]byte(shown.text), &want); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(printed), &got); err != nil {
			return fmt.Errorf("the answer is no JSON: %s", printed)
		}
		return sameShape("", want, got)
	}
	left := strings.Split(printed, "\n")
	for line := range strings.Lines(shown.text) {
		pattern := lineP(line)
		found := false
		for len(left) > 0 && !found {
			found = pattern.MatchString(squeeze(left[0]))
			left = left[1:]
		}
		if !found {
			return fmt.Errorf("not printed, or not in this place: %q in\n%s", strings.TrimSpace(line), printed)
		}
	}
	return nil
}

func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }

func lineP(line string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(squeeze(line))
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, "…", ".*") + "$")
}

// sameShape: the fields that are shown are there, with values of the same kind,
// and data has no others.
func sameShape(at string, want, got any) error {
	object, ok := want.(map[string]any)
	if !ok || strings.HasSuffix(at, ".key_info") {
		if want != nil && got != nil && fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			return fmt.Errorf("%s is a %T, shown is a %T", at, got, want)
		}
		return nil
	}
	answer, ok := got.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is a %T, shown is an object", at, got)
	}
	for name, value := range object {
		other, ok := answer[name]
		if !ok {
			return fmt.Errorf("%s.%s is shown and not answered", at, name)
		}
		if err := sameShape(at+"."+name, value, other); err != nil {
			return err
		}
	}
	if at == ".data" && len(answer) != len(object) {
		return fmt.Errorf("data has %d fields, shown are %d", len(answer), len(object))
	}
	return nil
}

// TestDocsRules: what must not be found right is not.
func TestDocsRules(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an indented block":        "Do:\n\n    vault status\n",
		"no kind":                  "```\nvault status\n```\n",
		"another kind":             "```bash\nvault status\n```\n",
		"not run and not said why": "Do:\n\n```console\n$ vault status\n```\n",
		"not closed":               "```sh\nvault status\n",
	} {
		if _, err := readBlocks(text); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	blocks, err := readBlocks("## A\n\n1. Do:\n\n   ```sh\n   a\n   ```\n\nIt says:\n\n```text\nx …\n```\n\nIt is not run by `make test-docs`, since:\n\n```console\n$ b\n```\n")
	if err != nil || len(blocks) != 3 || blocks[0].text != "a\n" || blocks[1].behind != 0 || blocks[2].behind != -1 || blocks[2].section != "A" {
		t.Errorf("read as %+v, %v", blocks, err)
	}
	for name, c := range map[string]struct {
		kind, shown, printed string
		same                 bool
	}{
		"text":             {"text", "a  1\nc …\n", "a 1\nb\nc   anything\n", true},
		"another value":    {"text", "a 1\n", "a 2\n", false},
		"another order":    {"text", "b\na\n", "a\nb\n", false},
		"only a part":      {"text", "a\n", "ab\n", false},
		"json":             {"json", `{"data":{"a":"x","b":null}}`, `{"data":{"a":"y","b":1},"more":1}`, true},
		"a field too many": {"json", `{"data":{"a":"x"}}`, `{"data":{"a":"y","b":1}}`, false},
		"a field too few":  {"json", `{"data":{"a":"x","b":1}}`, `{"data":{"a":"y"}}`, false},
		"another type":     {"json", `{"data":{"a":"1"}}`, `{"data":{"a":1}}`, false},
		"no json":          {"json", `{"data":{}}`, `404`, false},
	} {
		if err := compare(block{kind: c.kind, text: c.shown}, c.printed); (err == nil) != c.same {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, _ := page{}.script(t, t.TempDir(), []block{{kind: "sh", text: "vault read x # refused: why\n"}}, true)
	if !strings.Contains(s, "if vault read x; then") {
		t.Errorf("a command that has to be refused: %s", s)
	}
}
