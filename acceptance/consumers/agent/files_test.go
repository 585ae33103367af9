// SPDX-License-Identifier: MPL-2.0

package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

// fileAgent is an Agent that writes a file.
type fileAgent struct {
	*program
	file    string
	reloads func() []string
	written map[time.Time]bool // times of change that were seen
}

func newFileAgent(t *testing.T, w *consumertest.World, exampleFile, destination string) *fileAgent {
	t.Helper()
	f := &fileAgent{program: newProgram(t, w, exampleFile), written: map[time.Time]bool{}}
	f.file = filepath.Join(f.dir, filepath.Base(destination))
	f.replace(destination, f.file)
	return f
}

// newKeyFile is examples/agent/file.hcl with another path. Its reload command is a script.
func newKeyFile(t *testing.T, w *consumertest.World, path string) *fileAgent {
	t.Helper()
	f := newFileAgent(t, w, "agent/file.hcl", "/run/edi-gateway/ecgrid.key")
	f.replace("ecgrid/keys/5001", path)
	f.reloads = f.command("systemctl", `printf '%s\n' "$*"`)
	return f
}

// read returns the file's content and records when it was written.
func (f *fileAgent) read() string {
	if info, err := os.Stat(f.file); err == nil {
		f.written[info.ModTime()] = true
	}
	return content(f.file)
}

// checkChanges compares the number of changes with that of keys, and the file's mode.
func (f *fileAgent) checkChanges(keys int) {
	f.Helper()
	if len(f.written) != keys {
		f.Errorf("the file was written %d times for %d keys", len(f.written), keys)
	}
	if info, err := os.Stat(f.file); err != nil || info.Mode() != 0o600 {
		f.Errorf("the file's mode is %v (%v), want 0600", info.Mode(), err)
	}
	if f.reloads == nil {
		return
	}
	consumertest.Eventually(f, patience, "the last reload", func() bool { return len(f.reloads()) >= keys })
	if lines := f.reloads(); len(lines) != keys {
		f.Errorf("%d reloads for %d keys: %q", len(lines), keys, lines)
	}
}

// measuredKeys is the number of keys that Measure brings: at the start, by a rotation, and
// in two outages.
const measuredKeys = 4

func TestCreds(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, leaseTTL)
	f := newKeyFile(t, w, leasedPath)
	f.start("agent")
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Agent, `creds`", Version: version(t, w), Arrives: "a file, and a reload command",
		Key: f.read, Within: leaseTTL,
		Note: "`ttl` 6 s. Renews after about two thirds of it. One reload for each key",
	})
	f.checkChanges(measuredKeys)
}

func TestStaticCreds(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, ttl)
	f := newKeyFile(t, w, staticPath)
	f.start("agent")
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Agent, `static-creds`", Version: version(t, w), Arrives: "a file, and a reload command",
		Key: f.read, Within: ttl + time.Second,
		Note: "`ttl` 3 s. Reads again a second after it. One reload for each key",
	})
	f.checkChanges(measuredKeys)
}

// TestScheduledRotation waits for a rotation of the plugin itself. The role has no ttl that
// would make Agent read earlier.
func TestScheduledRotation(t *testing.T) {
	w := consumertest.Start(t, time.Hour) // before the others: Vault takes a minute for its first round
	t.Parallel()
	w.Write(t, "ecgrid/roles/"+consumertest.Role, map[string]any{"rotation_schedule": "* * * * *"})
	f := newFileAgent(t, w, "agent/appsettings.hcl", "/run/edi-gateway/appsettings.ecgrid.json")
	f.replace(`static_secret_render_interval = "1m"`, `static_secret_render_interval = "2s"`)
	f.start("agent")
	first := w.Key()
	consumertest.Eventually(t, patience, "the key is in the file", func() bool { return f.apiKey() == first })
	for end := time.Now().Add(2 * time.Minute); w.Key() == first; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the schedule has not replaced the key within 2 minutes")
		}
	}
	took := consumertest.Eventually(t, 2*time.Second+consumertest.Slack, "the new key is in the file", func() bool { return f.apiKey() == w.Key() })
	t.Logf("the file has the new key %s after a scheduled rotation", consumertest.Rounded(took))
	f.checkChanges(2)
}

// settings is what .NET reads from both files. The later file wins.
func (f *fileAgent) settings() (s struct {
	ECGrid struct{ BaseURL, APIKey string }
}) {
	for _, raw := range []string{example(f.T, "agent/appsettings.json"), f.read()} {
		if json.Unmarshal([]byte(raw), &s) != nil {
			s.ECGrid.APIKey = ""
		}
	}
	return s
}

func (f *fileAgent) apiKey() string { return f.settings().ECGrid.APIKey }

func TestAppSettings(t *testing.T) {
	t.Parallel()
	w := consumertest.Start(t, ttl)
	f := newFileAgent(t, w, "agent/appsettings.hcl", "/run/edi-gateway/appsettings.ecgrid.json")
	hard := f.addHardKey()
	f.start("agent")
	w.Measure(t, consumertest.Consumer{
		Name: "Vault Agent, `appsettings.json`", Version: version(t, w), Arrives: "a JSON file, `ECGrid:ApiKey`; .NET itself was not run",
		Key: f.apiKey, Within: ttl + time.Second,
		Note: "`ttl` 3 s. The file is replaced by a rename, once for each key",
	})
	f.checkChanges(measuredKeys)
	if f.settings().ECGrid.BaseURL == "" {
		t.Error("the settings of appsettings.json are lost")
	}
	var s struct{ ECGrid struct{ ApiKey string } }
	if err := json.Unmarshal([]byte(content(hard)), &s); err != nil || s.ECGrid.ApiKey != hardKey {
		t.Errorf("the key %q is rendered as %q: %v", hardKey, content(hard), err)
	}
}

// hardKey has all that JSON or a template could spoil.
const hardKey = "\"quoted\" \\n </script> {{ .Data }} \u2028 ü\t\n"

// addHardKey renders the example's template with hardKey, too.
func (f *fileAgent) addHardKey() (file string) {
	f.Helper()
	f.w.Write(f, "sys/mounts/hard", map[string]any{"type": "kv"})
	f.w.Write(f, "hard/key", map[string]any{"api_key": hardKey})
	f.w.Write(f, "sys/policies/acl/"+consumertest.Policy, map[string]any{
		"policy": `path "` + staticPath + `" { capabilities = ["read"] }
path "hard/key" { capabilities = ["read"] }`,
	})
	file = filepath.Join(f.dir, "hard.json")
	_, template, _ := strings.Cut(f.config, "\ntemplate {")
	f.config += "\ntemplate {" + strings.NewReplacer(f.file, file, staticPath, "hard/key").Replace(template)
	return file
}
