// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

// rotationFaults are failures of the call that rotates, with the status of the rotation.
// An unconfirmed change is 409 and never a 5xx, because Vault's clients repeat a 5xx. For
// a key, the plugin can ask ECGrid if it was replaced. For a password it cannot: a
// successful login does not prove that the change will not happen later.
var rotationFaults = map[string]struct {
	fault     simulator.Fault
	key, root int
}{
	"answer lost":                 {simulator.Fault{Answer: simulator.AnswerResetAfter}, http.StatusOK, http.StatusConflict},
	"half an answer":              {simulator.Fault{Answer: simulator.AnswerHalf}, http.StatusOK, http.StatusConflict},
	"empty result":                {simulator.Fault{Answer: simulator.AnswerEmptyResult}, http.StatusOK, http.StatusConflict},
	"absent result":               {simulator.Fault{Answer: simulator.AnswerAbsentResult}, http.StatusOK, http.StatusConflict},
	"wrong namespace":             {simulator.Fault{Answer: simulator.AnswerWrongNamespace}, http.StatusOK, http.StatusConflict},
	"wrong operation":             {simulator.Fault{Answer: simulator.AnswerWrongOp}, http.StatusOK, http.StatusConflict},
	"UTF-16":                      {simulator.Fault{Answer: simulator.AnswerUTF16}, http.StatusOK, http.StatusConflict},
	"HTML, applied":               {simulator.Fault{Answer: simulator.AnswerHTML, Apply: true, Echo: true}, http.StatusOK, http.StatusConflict},
	"too slow":                    {simulator.Fault{Answer: simulator.AnswerDrip}, http.StatusOK, http.StatusConflict},
	"answer lost, then down":      {simulator.Fault{Answer: simulator.AnswerResetAfter, After: cutConnections}, http.StatusConflict, http.StatusConflict},
	"cut, then down":              {simulator.Fault{Answer: simulator.AnswerReset, After: cutConnections}, http.StatusConflict, http.StatusConflict},
	"cut before":                  {simulator.Fault{Answer: simulator.AnswerReset}, http.StatusConflict, http.StatusConflict},
	"no answer":                   {simulator.Fault{Answer: simulator.AnswerSilent}, http.StatusConflict, http.StatusConflict},
	"applied late":                {simulator.Fault{Answer: simulator.AnswerReset, ApplyLate: 3 * time.Second}, http.StatusConflict, http.StatusConflict},
	"applied late, checked early": {simulator.Fault{Answer: simulator.AnswerReset, ApplyLate: 3 * time.Second, CheckEarly: true}, http.StatusConflict, http.StatusConflict},
	"HTML":                        {simulator.Fault{Answer: simulator.AnswerHTML, Echo: true}, http.StatusConflict, http.StatusConflict},
	"empty body":                  {simulator.Fault{Answer: simulator.AnswerEmpty}, http.StatusConflict, http.StatusConflict},
	"50 MB":                       {simulator.Fault{Answer: simulator.AnswerHuge}, http.StatusConflict, http.StatusConflict},
	"entities":                    {simulator.Fault{Answer: simulator.AnswerEntities}, http.StatusConflict, http.StatusConflict},
	"redirect":                    {simulator.Fault{Answer: simulator.AnswerRedirect, URL: "http://127.0.0.1:1/"}, http.StatusConflict, http.StatusConflict},
	"503":                         {simulator.Fault{Answer: simulator.AnswerStatus}, http.StatusConflict, http.StatusConflict},
	"429":                         {simulator.Fault{Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests}, http.StatusConflict, http.StatusConflict},
	"server fault":                {simulator.Fault{Cause: simulator.SystemError, Echo: true}, http.StatusConflict, http.StatusConflict},
	"unknown fault":               {simulator.Fault{Cause: simulator.InvalidParameter, Echo: true}, http.StatusConflict, http.StatusConflict},
	"session died":                {simulator.Fault{Cause: simulator.SessionDead, Echo: true}, http.StatusConflict, http.StatusConflict},
	"denied":                      {simulator.Fault{Cause: simulator.AccessDenied, Echo: true}, http.StatusForbidden, http.StatusForbidden},
	"gone":                        {simulator.Fault{Cause: simulator.NotFound, Echo: true}, http.StatusNotFound, http.StatusConflict},
}

// successOverREST are faults that are none over REST: a ChangePassword has no result there,
// and an answer does not name its operation.
var successOverREST = map[string]struct{ key, root bool }{
	"empty result": {root: true}, "absent result": {root: true}, "wrong operation": {key: true},
}

// newFaultyMount makes a mount on which the next call of op fails.
func newFaultyMount(t *testing.T, op string, f simulator.Fault) *testMount {
	t.Helper()
	m := newTestMount(t)
	m.configure(fields{"request_timeout": "1s", "key_cache_ttl": "1h"})
	m.role("team", nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	f.Op, f.Times = op, 1
	m.sim.Inject(f)
	return m
}

// GenerateAPIKey is called once, and the plugin finds out what it did.
func TestRotateKeyUnconfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range rotationFaults {
		for _, path := range []string{"rotate-key/5001", "rotate-role/team"} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				m := newFaultyMount(t, "GenerateAPIKey", tt.fault)
				old := m.user(5001).APIKey
				resp, err := m.do(logical.UpdateOperation, path, nil)
				if got := statusOf(resp, err); got != tt.key {
					t.Errorf("got %d (%v), want %d", got, err, tt.key)
				}
				warnings := 1
				if successOverREST[name].key {
					warnings = byTransport(1, 0)
				}
				if resp != nil && (len(resp.Warnings) != warnings || m.user(5001).APIKey == old) {
					t.Errorf("succeeded with warnings %q", resp.Warnings)
				}
				m.sim.ClearFaults()
				if err := m.sim.AwaitState(t.Context(), func(s simulator.State) bool { return s.Landing == 0 }); err != nil {
					t.Fatal(err)
				}
				if key := m.must(logical.ReadOperation, "keys/5001", nil).Data["api_key"]; key != m.user(5001).APIKey {
					t.Error("a read does not return the valid key")
				}
				if n := m.sim.Count("GenerateAPIKey"); n != 1 {
					t.Errorf("%d calls", n)
				}
			})
		}
	}
}

// An unconfirmed change is resolved in the background, even if a Login would have shown
// it at once. A refused change needs no resolution.
func TestRotateRootUnconfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range rotationFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newFaultyMount(t, "ChangePassword", tt.fault)
			if successOverREST[name].root && transport() == simulator.TransportREST {
				m.must(logical.UpdateOperation, "rotate-root", nil)
				m.expectResolved()
				return
			}
			old := m.user(simulator.AdminUserID).Password
			m.refused(tt.root, logical.UpdateOperation, "rotate-root", nil)
			unresolved := isUnresolved(m.stored())
			reason, _ := m.must(logical.ReadOperation, "config", nil).Data["last_root_rotation_error"].(string)
			if resolved := unresolved && !isUnresolved(m.stored()); reason == "" && !resolved {
				t.Error("config does not tell why the rotation failed")
			}
			m.sim.ClearFaults()
			m.awaitResolved()
			if err := m.sim.AwaitState(t.Context(), func(s simulator.State) bool { return s.Landing == 0 }); err != nil {
				t.Fatal(err)
			}
			if changed := m.user(simulator.AdminUserID).Password != old; changed != unresolved {
				t.Errorf("unresolved %v, changed %v", unresolved, changed)
			}
			if unresolved {
				m.expect("config", fields{"last_root_rotation_error": ""})
			}
			m.expectResolved()
			if n := m.sim.State().RefusedLogins; n > 1 {
				t.Errorf("%d refused logins", n)
			}
			m.must(logical.UpdateOperation, "rotate-root", nil)
			m.expect("config", fields{"last_root_rotation_error": ""})
			m.expectResolved()
		})
	}
}

// newUnresolvedMount makes a mount whose rotate-root stays unresolved until the faults
// are cleared.
func newUnresolvedMount(t *testing.T, f simulator.Fault) *testMount {
	t.Helper()
	m := newTestMount(t)
	m.configure(fields{"request_timeout": "1s"})
	f.Op = "ChangePassword"
	m.sim.Inject(f)
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
	if !isUnresolved(m.stored()) {
		t.Fatal("the rotate-root is resolved")
	}
	return m
}

// While it is unknown which password ECGrid has, no request may drop one of the two.
func TestUnresolvedRotateRoot(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]simulator.Fault{
		"not applied":  {Answer: simulator.AnswerReset},
		"applied late": {Answer: simulator.AnswerReset, ApplyLate: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newUnresolvedMount(t, f)
			m.refused(http.StatusConflict, logical.DeleteOperation, "config", nil)
			for _, data := range []fields{
				{"username": "someone-else"},
				{"password": "An0ther-password!", "verify_connection": false},
				{"api_key": "any", "verify_connection": false},
			} {
				m.refused(http.StatusConflict, logical.UpdateOperation, "config", data)
				m.refused(http.StatusConflict, logical.PatchOperation, "config", data)
			}
			m.must(logical.UpdateOperation, "config", fields{"ttl": "1h"}) // drops no password
			m.sim.ClearFaults()
			m.awaitResolved()
			m.expect("config", fields{"ttl": 3600.0, "last_root_rotation_error": ""})
			m.must(logical.DeleteOperation, "config", nil)
		})
	}
}

// A new process resolves the rotate-root of a killed one, whatever it is called for first.
func TestUnresolvedRotateRootRestarted(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(m *testMount){
		"initialize":  func(m *testMount) { m.initialize() },
		"a tick":      func(m *testMount) { m.tick() },
		"a read":      func(m *testMount) { m.must(logical.ReadOperation, "keys/5001", nil) },
		"rotate-root": func(m *testMount) { m.must(logical.UpdateOperation, "rotate-root", nil) },
	} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				m.killDuringRotateRoot(applied)
				call(m)
				m.awaitResolved()
				if n := m.sim.State().RefusedLogins; n > 1 {
					t.Errorf("%d refused logins", n)
				}
				m.restart()
				m.expectResolved()
				m.backend.Cleanup(t.Context())
				if n := m.sim.OpenSessions(); n != 0 {
					t.Errorf("%d sessions left open by three processes", n)
				}
			})
		}
	}
}
