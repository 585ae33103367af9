// SPDX-License-Identifier: MPL-2.0

package scripts

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVuln runs vuln.sh with a fake go in place of govulncheck.
func TestVuln(t *testing.T) {
	t.Parallel()
	tools := t.TempDir()
	program(t, filepath.Join(tools, "go"), "#!/bin/sh\nprintf '%s\\n' \"$SAYS\" \"$*\"\nexit \"$STATUS\"\n")
	program(t, filepath.Join(tools, "curl"), "#!/bin/sh\nexit \"$CURL\"\n")
	empty, flat, filled := t.TempDir(), t.TempDir(), t.TempDir()
	program(t, filepath.Join(flat, "GO-2099-0001.json"), `{"affected":[]}`)
	program(t, filepath.Join(filled, "index", "modules.json"), `[{"path":"stdlib"}]`)
	noEntries := t.TempDir()
	program(t, filepath.Join(noEntries, "index", "modules.json"), `[]`)
	const unreachable = "govulncheck: fetching vulnerabilities: Get \"https://vuln.go.dev/\": dial tcp: no such host"
	const unknownFormat = "creating client: unrecognized vulndb format; see https://go.dev/security/vuln/database#api for accepted schema"
	for _, c := range []struct {
		name, says, status string
		env                []string
		args               []string
		code               int
		prints             string
	}{
		{name: "nothing is found", says: "No vulnerabilities found.", status: "0", prints: "No vulnerabilities found.\n"},
		{name: "one is found", says: "Vulnerability #1: GO-2099-0001", status: "3", code: 3, prints: "GO-2099-0001"},
		{name: "no database", says: unreachable, status: "1", prints: "not run: its database cannot be reached"},
		{name: "no database, but required", says: unreachable, status: "1", args: []string{"-required"}, code: 1, prints: "not run"},
		{name: "a mirror that does not answer", says: unknownFormat, status: "1", env: []string{"GOVULNDB=https://127.0.0.1:1"}, prints: "not run: its database cannot be reached"},
		{name: "a mirror that does not answer, but required", says: unknownFormat, status: "1", env: []string{"GOVULNDB=https://127.0.0.1:1"}, args: []string{"-required"}, code: 1, prints: "not run"},
		{name: "no connection", status: "0", env: []string{"CURL=7"}, prints: "not run: its database cannot be reached ("},
		{name: "no answer in time, but required", status: "0", env: []string{"CURL=28"}, args: []string{"-required"}, code: 1, prints: "not run"},
		{name: "curl fails in another way", status: "0", env: []string{"CURL=60"}, prints: "-db https://vuln.go.dev ./cmd/..."},
		{name: "an empty directory", status: "0", env: []string{"GOVULNDB=file://" + empty}, prints: "not run: its database cannot be reached: it has no entries"},
		{name: "an empty directory, but required", status: "0", env: []string{"GOVULNDB=file://" + empty}, args: []string{"-required"}, code: 1, prints: "not run"},
		{name: "an empty index", status: "0", env: []string{"GOVULNDB=file://" + noEntries}, args: []string{"-required"}, code: 1, prints: "not run"},
		{name: "a directory", status: "0", env: []string{"GOVULNDB=file://" + filled}, args: []string{"-required"}, prints: "-db file://" + filled},
		{name: "a directory of entries", status: "0", env: []string{"GOVULNDB=file://" + flat}, args: []string{"-required"}, prints: "-db file://" + flat},
		{name: "a directory of something else", says: unknownFormat, status: "1", env: []string{"GOVULNDB=file://" + flat}, code: 1, prints: "unrecognized vulndb format"},
		{name: "it does not build", says: "go: no such tool", status: "1", code: 1, prints: "no such tool"},
		{name: "the default database", status: "0", prints: "-db https://vuln.go.dev ./cmd/..."},
		{name: "a mirror", status: "0", env: []string{"GOVULNDB=file:///mirror"}, prints: "-db file:///mirror ./cmd/..."},
		{name: "an unknown option", status: "0", args: []string{"-x"}, code: 2, prints: "usage: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", append([]string{"vuln.sh"}, c.args...)...)
			cmd.Env = append(os.Environ(), "PATH="+tools+string(filepath.ListSeparator)+os.Getenv("PATH"), "SAYS="+c.says, "STATUS="+c.status, "GOVULNDB=", "CURL=0")
			cmd.Env = append(cmd.Env, c.env...)
			out, err := cmd.CombinedOutput()
			code := 0
			if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code || !strings.Contains(string(out), c.prints) {
				t.Errorf("exit status %d, want %d, and %q in\n%s", code, c.code, c.prints, out)
			}
		})
	}
}
