// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
)

const (
	viaFile = "file"
	viaAPI  = "api"
)

// vaultPath is what the programs read by default.
const vaultPath = "ecgrid/static-creds/" + consumertest.Role

// fleet is all programs in both modes, with one Vault and one ECGrid.
type fleet struct {
	world   *consumertest.World
	front   *front
	clients []*running
}

// runnable are the programs that can run on this machine.
func runnable(t *testing.T) (all []program) {
	t.Helper()
	for _, p := range programs() {
		if p.missing() != "" {
			continue
		}
		consumertest.Must(t, p.err)
		all = append(all, p)
	}
	return all
}

// startFleet starts what can be run here, and each language once from a file and once with
// Vault's API.
func startFleet(t *testing.T) *fleet {
	t.Helper()
	go programs() // while Vault starts
	f := &fleet{world: consumertest.Start(t, time.Minute), front: newFront(t)}
	rest := forwardTo(t, f.world.Grid.REST, f.world.Grid.CACert)
	for _, p := range runnable(t) {
		for _, mode := range []string{viaFile, viaAPI} {
			id := p.dir + "-" + mode
			f.front.handle(id, rest)
			f.clients = append(f.clients, f.start(t, p, mode, id))
		}
	}
	return f
}

func (f *fleet) start(t *testing.T, p program, mode, id string) *running {
	t.Helper()
	file := filepath.Join(t.TempDir(), mode)
	env := []string{"ECGRID_URL=" + f.front.urlOf(p, id)}
	if mode == viaFile {
		replace(t, file, f.world.Key()+"\n")
		r := p.start(t, id, f.caFile(t, p), append(env, "ECGRID_API_KEY_FILE="+file)...)
		r.keyFile = file
		return r
	}
	token := f.world.Write(t, "auth/token/create", map[string]any{
		"policies": []string{consumertest.Policy}, "period": "1h", "display_name": id,
	}).Auth.ClientToken
	replace(t, file, token+"\n")
	vault := f.world.Addr
	if p.byName { // Vault's certificate has an address only
		ca, err := os.ReadFile(f.world.CAFile())
		consumertest.Must(t, err)
		f.front.handle(id+"-vault", forwardTo(t, vault, ca))
		vault = f.front.urlOf(p, id+"-vault")
	}
	return p.start(t, id, f.caFile(t, p), append(env,
		"VAULT_ADDR="+vault, "VAULT_CACERT="+f.world.CAFile(), "VAULT_TOKEN_FILE="+file)...)
}

// caFile is what a program has to trust besides VAULT_CACERT.
func (f *fleet) caFile(t *testing.T, p program) string {
	t.Helper()
	if !p.noVaultCA {
		return f.front.caFile
	}
	file := filepath.Join(t.TempDir(), "both.pem")
	ecgrid, err := os.ReadFile(f.front.caFile)
	consumertest.Must(t, err)
	vault, err := os.ReadFile(f.world.CAFile())
	consumertest.Must(t, err)
	consumertest.Must(t, os.WriteFile(file, append(ecgrid, vault...), 0o600))
	return file
}

// renewFiles does what Vault Agent does after a rotation.
func (f *fleet) renewFiles(t *testing.T) {
	t.Helper()
	for _, r := range f.clients {
		if r.keyFile != "" {
			replace(t, r.keyFile, f.world.Key()+"\n")
		}
	}
}

// mark is how much each program has done so far.
type mark struct {
	lines, calls, reads map[string]int
	at                  time.Time
}

func (f *fleet) mark(t *testing.T) mark {
	t.Helper()
	m := mark{map[string]int{}, map[string]int{}, f.reads(t), time.Now()}
	for _, r := range f.clients {
		m.lines[r.id], m.calls[r.id] = len(r.lines(t, 0)), len(f.front.callsOf(r.id, 0))
	}
	return m
}

// await waits until what each program has printed since the mark satisfies a condition.
func (f *fleet) await(t *testing.T, m mark, what string, enough func(*running, []string) bool) {
	t.Helper()
	for _, r := range f.clients {
		r.await(t, what, m.lines[r.id], func(lines []string) bool { return enough(r, lines) })
	}
}

// all is a condition of await that is the same for all programs.
func all(enough func([]string) bool) func(*running, []string) bool {
	return func(_ *running, lines []string) bool { return enough(lines) }
}

// refusals counts the calls since the mark that ECGrid has refused.
func (f *fleet) refusals(r *running, m mark) (n int) {
	for _, c := range f.front.callsOf(r.id, m.calls[r.id]) {
		if c.status == 401 {
			n++
		}
	}
	return n
}

// reads counts in Vault's audit log how often each program has read the key.
func (f *fleet) reads(t *testing.T) map[string]int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(f.world.Dir, "audit.log"))
	consumertest.Must(t, err)
	n := map[string]int{}
	for line := range bytes.Lines(raw) {
		var entry struct {
			Type string
			Auth struct {
				DisplayName string `json:"display_name"`
			}
			Request struct{ Path string }
		}
		if json.Unmarshal(line, &entry) == nil && entry.Type == "request" && entry.Request.Path == vaultPath {
			n[strings.TrimPrefix(entry.Auth.DisplayName, "token-")]++
		}
	}
	return n
}

// wantReads checks how often each program has read the key from Vault since the mark.
func (f *fleet) wantReads(t *testing.T, m mark, want int) {
	t.Helper()
	now := f.reads(t)
	for _, r := range f.clients {
		expected := want
		if r.keyFile != "" {
			expected = 0
		}
		if n := now[r.id] - m.reads[r.id]; n != expected {
			t.Errorf("%s has read the key %d times from Vault, and not %d times", r.id, n, expected)
		}
	}
}

// wantNoFailure checks that no call has failed since the mark.
func (f *fleet) wantNoFailure(t *testing.T, m mark, which func(*running) bool) {
	t.Helper()
	for _, r := range f.clients {
		if lines := r.lines(t, m.lines[r.id]); which(r) && count(lines, succeeded) != len(lines) {
			t.Errorf("%s: a call has failed:\n%s", r.id, lines)
		}
	}
}

func everyone(*running) bool   { return true }
func byAPI(r *running) bool    { return r.keyFile == "" }
func fromFile(r *running) bool { return r.keyFile != "" }

// first returns how long after the mark a program had its first accepted call that
// satisfies a condition.
func (f *fleet) first(t *testing.T, r *running, m mark, matches func(call) bool) time.Duration {
	t.Helper()
	for _, c := range f.front.callsOf(r.id, m.calls[r.id]) {
		if c.status == 200 && c.at.After(m.at) && matches(c) {
			return c.at.Sub(m.at)
		}
	}
	t.Errorf("%s has no accepted call", r.id)
	return 0
}
