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
	const unreachable = "govulncheck: fetching vulnerabilities: Get \"https://vuln.go.dev/\": dial tcp: no such host"
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
		{name: "it does not build", says: "go: no such tool", status: "1", code: 1, prints: "no such tool"},
		{name: "the default database", status: "0", prints: "-db https://vuln.go.dev ./cmd/..."},
		{name: "a mirror", status: "0", env: []string{"GOVULNDB=file:///mirror"}, prints: "-db file:///mirror ./cmd/..."},
		{name: "an unknown option", status: "0", args: []string{"-x"}, code: 2, prints: "usage: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("sh", append([]string{"vuln.sh"}, c.args...)...)
			cmd.Env = append(os.Environ(), "PATH="+tools+string(filepath.ListSeparator)+os.Getenv("PATH"), "SAYS="+c.says, "STATUS="+c.status, "GOVULNDB=")
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
