// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// ok fails the test unless the answer is 2xx.
func (c *client) ok(t *testing.T, method, path string, body any) answer {
	t.Helper()
	a, err := c.do(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if !a.OK() {
		t.Fatalf("%s %s: HTTP %d: %s", method, path, a.Status, a.Body)
	}
	return a
}

// wantStatus fails the test unless the answer has this status and, from 400 on, a
// reason. It sends the request once, unlike Vault's own client.
func (c *client) wantStatus(t *testing.T, status int, method, path string, body any) answer {
	t.Helper()
	a, err := c.do(method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if a.Status != status {
		t.Errorf("%s %s: HTTP %d, want %d: %s", method, path, a.Status, status, a.Body)
	}
	if a.Status >= 400 && (len(a.Errors) == 0 || a.Errors[0] == "") {
		t.Errorf("%s %s: HTTP %d without a reason: %s", method, path, a.Status, a.Body)
	}
	return a
}

func (c *client) read(t *testing.T, path string) answer {
	t.Helper()
	return c.ok(t, http.MethodGet, path, nil)
}

// run fails the test unless the vault command succeeds.
func (c *client) run(t *testing.T, args ...string) string {
	t.Helper()
	out, code := c.cli(args...)
	if code != 0 {
		t.Fatalf("vault %q: exit %d\n%s", args, code, out)
	}
	return out
}

// runJSON is run, and decodes the output.
func (c *client) runJSON(t *testing.T, into any, args ...string) {
	t.Helper()
	out := c.run(t, args...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("vault %q: %v", args, err)
	}
}

// eventually polls for an event in another process.
func eventually(t *testing.T, within time.Duration, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", within, what)
		}
		time.Sleep(max(20*time.Millisecond, within/1000)) // each poll is in the audit log
	}
}

func writeFile(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func path(parts ...any) string {
	s := fmt.Sprint(parts[0])
	for _, p := range parts[1:] {
		s += "/" + fmt.Sprint(p)
	}
	return s
}
