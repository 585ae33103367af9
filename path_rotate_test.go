package ecgrid

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/simulator"
)

// stored is the config as it lies in storage, with its passwords.
func (m *testMount) stored() backend.Config {
	m.t.Helper()
	entry, err := m.storage.Get(m.t.Context(), configPath)
	if err != nil || entry == nil {
		m.t.Fatalf("no config in storage: %v", err)
	}
	var c backend.Config
	if err := entry.DecodeJSON(&c); err != nil {
		m.t.Fatal(err)
	}
	return c
}

// isUnsettled tells that it is not known yet which password ECGrid has.
func isUnsettled(c backend.Config) bool {
	return slices.ContainsFunc(c.Pending, func(p backend.Pending) bool { return p.KeepUntil.IsZero() })
}

// awaitSettled waits until a rotate-root came to its end by itself.
func (m *testMount) awaitSettled() {
	m.t.Helper()
	m.awaitStored("settled", func(c backend.Config) bool { return !isUnsettled(c) })
}

// awaitStored waits until the stored config is as wanted.
func (m *testMount) awaitStored(what string, wanted func(backend.Config) bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	for {
		next := m.process.nextWrite()
		if wanted(m.stored()) {
			return
		}
		select {
		case <-next:
		case <-ctx.Done():
			m.t.Fatalf("it does not come to be %s", what)
		}
	}
}

// settled checks a mount at rest: the stored password is ECGrid's, nothing is left
// in doubt, reads work, and no secret was written anywhere.
func (m *testMount) settled() {
	m.t.Helper()
	c := m.stored()
	if c.Password != m.user(simulator.AdminUserID).Password {
		m.t.Error("the stored password is not ECGrid's")
	}
	if isUnsettled(c) {
		m.t.Error("a rotate-root is not settled")
	}
	if key := m.must(logical.ReadOperation, "keys/5001", nil).Data[fieldAPIKey]; key != m.user(5001).APIKey {
		m.t.Error("a read does not give the user's key")
	}
	if m.holdsSecret(m.log.String()) {
		m.t.Error("the log holds a secret")
	}
}

// silence is an ECGrid that cuts every connection from now on.
func silence(s *simulator.Simulator) { s.Inject(simulator.Fault{Answer: simulator.AnswerReset}) }

// rotatedAnswer checks the answer of a rotation: when, perhaps whose, nothing else.
func (m *testMount) rotatedAnswer(path string, resp *logical.Response, fields int) {
	m.t.Helper()
	m.validated(logical.UpdateOperation, path, resp)
	m.noSecrets(resp, nil)
	at, _ := resp.Data[fieldRotatedAt].(string)
	if _, err := time.Parse(time.RFC3339, at); err != nil || len(resp.Data) != fields || resp.Secret != nil {
		m.t.Errorf("%s: answered %v", path, resp.Data)
	}
	for _, value := range resp.Data {
		if text, ok := value.(string); ok && m.holdsSecret(text) {
			m.t.Errorf("%s: the answer holds a secret", path)
		}
	}
}

func TestRotateKey(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"rotate-key/5001", "rotate-role/team"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			m := newTestMount(t)
			m.configure(map[string]any{fieldKeyCacheTTL: "1h"})
			m.role("team", map[string]any{fieldRotationPeriod: "1h"})
			old := m.user(5001).APIKey
			of := map[string]*logical.Secret{}
			for _, from := range []string{"keys/5001", "creds/team"} {
				of[from] = m.must(logical.ReadOperation, from, nil).Secret
			}

			resp := m.must(logical.UpdateOperation, path, nil)
			m.rotatedAnswer(path, resp, 2)
			if resp.Data[fieldUserID] != 5001.0 || len(resp.Warnings) != 0 {
				t.Errorf("answered %v, %q", resp.Data, resp.Warnings)
			}
			if m.user(5001).APIKey == old || m.sim.Count("GenerateAPIKey") != 1 {
				t.Error("the key was not replaced once")
			}
			for from, lease := range of {
				if resp, err := m.renew(lease); err == nil && !resp.IsError() {
					t.Errorf("%s: a lease of the old key was renewed", from)
				}
				resp := m.must(logical.ReadOperation, from, nil)
				if resp.Data[fieldAPIKey] != m.user(5001).APIKey {
					t.Errorf("%s: not the new key", from)
				}
				if resp, err := m.renew(resp.Secret); err != nil || resp.IsError() {
					t.Errorf("%s: a lease of the new key was not renewed: %v", from, err)
				}
			}
			if m.holdsSecret(m.log.String()) {
				t.Error("the log holds a secret")
			}
		})
	}
}

func TestRotateRoleCounts(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(nil)
	m.role("team", map[string]any{fieldRotationPeriod: "24h"})
	clock.advance(time.Hour)
	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.expectRole("team", map[string]any{fieldLastRotation: nil, fieldNextRotation: "2030-01-03T03:04:00Z"})
	resp := m.must(logical.UpdateOperation, "rotate-role/team", nil)
	if at := resp.Data[fieldRotatedAt]; at != "2030-01-02T04:04:00Z" {
		t.Errorf("rotated at %v", at)
	}
	m.expectRole("team", map[string]any{fieldLastRotation: "2030-01-02T04:04:00Z", fieldNextRotation: "2030-01-03T04:04:00Z", fieldLastError: ""})
}

// A user without a key gets the first one.
func TestRotateKeyOfAUserWithoutOne(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.refused(http.StatusNotFound, logical.ReadOperation, "keys/5003", nil)
	m.must(logical.UpdateOperation, "rotate-key/5003", nil)
	if key := m.must(logical.ReadOperation, "keys/5003", nil).Data[fieldAPIKey]; key != m.user(5003).APIKey {
		t.Error("not the new key")
	}
}

func TestRotateKeyRefusals(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.role("foreign", map[string]any{fieldUserID: 6001})
	m.role("gone", map[string]any{fieldUserID: 4999})
	m.role("team", nil)
	for _, path := range []string{"rotate-key/5001", "rotate-role/team", "rotate-root"} {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, nil) // not configured
	}
	m.configure(nil)
	for path, status := range map[string]int{
		"rotate-key/05001":      http.StatusBadRequest,
		"rotate-key/+5001":      http.StatusBadRequest,
		"rotate-key/0x1389":     http.StatusBadRequest,
		"rotate-key/5001/":      http.StatusBadRequest,
		"rotate-key/0":          http.StatusBadRequest,
		"rotate-key/2147483648": http.StatusBadRequest,
		"rotate-key/4999":       http.StatusNotFound,
		"rotate-key/6001":       http.StatusForbidden,
		"rotate-role/none":      http.StatusNotFound,
		"rotate-role/gone":      http.StatusNotFound,
		"rotate-role/foreign":   http.StatusForbidden,
	} {
		m.refused(status, logical.UpdateOperation, path, nil)
	}
	for _, path := range []string{"rotate-key/5001", "rotate-role/team", "rotate-root"} {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, map[string]any{"force": true})
	}
	for _, path := range []string{"rotate-key/5001", "rotate-role/team", "rotate-root"} {
		m.refused(http.StatusMethodNotAllowed, logical.ReadOperation, path, nil)
	}
	if n := m.sim.Count("GenerateAPIKey") + m.sim.Count("ChangePassword"); n != 0 {
		t.Errorf("%d changes were asked for", n)
	}
	_ = m.sim.Close()
	for _, path := range []string{"rotate-key/5001", "rotate-role/team", "rotate-root"} {
		m.refused(http.StatusServiceUnavailable, logical.UpdateOperation, path, nil)
	}
	m.expectRole("team", map[string]any{fieldLastRotation: nil})
}

// With an api_key the config has no password, and its user's key is its own.
func TestRotateWithAPIKey(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.must(logical.CreateOperation, "config", map[string]any{
		fieldURL: m.sim.SOAP, fieldAPIKey: m.user(simulator.AdminUserID).APIKey, fieldRotationPeriod: "1h",
	})
	m.expect(map[string]any{fieldRotationPeriod: 3600.0, fieldNextRootRotation: nil})
	m.role("own", map[string]any{fieldUserID: simulator.AdminUserID})
	for _, path := range []string{"rotate-root", "rotate-key/1001", "rotate-role/own"} {
		m.refused(http.StatusBadRequest, logical.UpdateOperation, path, nil)
	}
	if n := m.sim.Count("GenerateAPIKey") + m.sim.Count("ChangePassword"); n != 0 {
		t.Errorf("%d changes were asked for", n)
	}
	m.must(logical.UpdateOperation, "rotate-key/5001", nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
}

// upsets are the ways in which the call of a rotation goes wrong, and what the
// rotation answers then: what was sent and not confirmed is 409, and never a 5xx, which
// Vault's clients repeat. Of a key it can be asked whether it was replaced; a login that
// works proves nothing of a change of its password.
var upsets = map[string]struct {
	fault     simulator.Fault
	key, root int
}{
	"answer lost":             {simulator.Fault{Answer: simulator.AnswerResetAfter}, http.StatusOK, http.StatusConflict},
	"half an answer":          {simulator.Fault{Answer: simulator.AnswerHalf}, http.StatusOK, http.StatusConflict},
	"empty result":            {simulator.Fault{Answer: simulator.AnswerEmptyResult}, http.StatusOK, http.StatusConflict},
	"absent result":           {simulator.Fault{Answer: simulator.AnswerAbsentResult}, http.StatusOK, http.StatusConflict},
	"wrong namespace":         {simulator.Fault{Answer: simulator.AnswerWrongNamespace}, http.StatusOK, http.StatusConflict},
	"wrong operation":         {simulator.Fault{Answer: simulator.AnswerWrongOp}, http.StatusOK, http.StatusConflict},
	"UTF-16":                  {simulator.Fault{Answer: simulator.AnswerUTF16}, http.StatusOK, http.StatusConflict},
	"HTML, carried out":       {simulator.Fault{Answer: simulator.AnswerHTML, Apply: true, Echo: true}, http.StatusOK, http.StatusConflict},
	"too slow":                {simulator.Fault{Answer: simulator.AnswerDrip}, http.StatusOK, http.StatusConflict},
	"lost, and then silence":  {simulator.Fault{Answer: simulator.AnswerResetAfter, After: silence}, http.StatusConflict, http.StatusConflict},
	"cut, and then silence":   {simulator.Fault{Answer: simulator.AnswerReset, After: silence}, http.StatusConflict, http.StatusConflict},
	"cut before":              {simulator.Fault{Answer: simulator.AnswerReset}, http.StatusConflict, http.StatusConflict},
	"no answer":               {simulator.Fault{Answer: simulator.AnswerSilent}, http.StatusConflict, http.StatusConflict},
	"made late":               {simulator.Fault{Answer: simulator.AnswerReset, ApplyLate: 3 * time.Second}, http.StatusConflict, http.StatusConflict},
	"made late, judged early": {simulator.Fault{Answer: simulator.AnswerReset, ApplyLate: 3 * time.Second, JudgeEarly: true}, http.StatusConflict, http.StatusConflict},
	"HTML":                    {simulator.Fault{Answer: simulator.AnswerHTML, Echo: true}, http.StatusConflict, http.StatusConflict},
	"empty body":              {simulator.Fault{Answer: simulator.AnswerEmpty}, http.StatusConflict, http.StatusConflict},
	"50 MB":                   {simulator.Fault{Answer: simulator.AnswerHuge}, http.StatusConflict, http.StatusConflict},
	"entities":                {simulator.Fault{Answer: simulator.AnswerEntities}, http.StatusConflict, http.StatusConflict},
	"redirect":                {simulator.Fault{Answer: simulator.AnswerRedirect, URL: "http://127.0.0.1:1/"}, http.StatusConflict, http.StatusConflict},
	"503":                     {simulator.Fault{Answer: simulator.AnswerStatus}, http.StatusConflict, http.StatusConflict},
	"429":                     {simulator.Fault{Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests}, http.StatusConflict, http.StatusConflict},
	"server fault":            {simulator.Fault{Cause: simulator.SystemError, Echo: true}, http.StatusConflict, http.StatusConflict},
	"unknown fault":           {simulator.Fault{Cause: simulator.InvalidParameter, Echo: true}, http.StatusConflict, http.StatusConflict},
	"session died":            {simulator.Fault{Cause: simulator.SessionDead, Echo: true}, http.StatusConflict, http.StatusConflict},
	"denied":                  {simulator.Fault{Cause: simulator.AccessDenied, Echo: true}, http.StatusForbidden, http.StatusForbidden},
	"gone":                    {simulator.Fault{Cause: simulator.NotFound, Echo: true}, http.StatusNotFound, http.StatusConflict},
}

// upsetAt gives a mount where this one call goes wrong.
func upsetAt(t *testing.T, op string, f simulator.Fault) *testMount {
	t.Helper()
	m := newTestMount(t)
	m.configure(map[string]any{fieldRequestTimeout: "1s", fieldKeyCacheTTL: "1h"})
	m.role("team", nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	f.Op, f.Times = op, 1
	m.sim.Inject(f)
	return m
}

// Whatever becomes of the answer, GenerateAPIKey is called once and it is found out
// what it did.
func TestRotateKeyUnconfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range upsets {
		for _, path := range []string{"rotate-key/5001", "rotate-role/team"} {
			t.Run(path+" "+name, func(t *testing.T) {
				t.Parallel()
				m := upsetAt(t, "GenerateAPIKey", tt.fault)
				old := m.user(5001).APIKey
				resp, err := m.do(logical.UpdateOperation, path, nil)
				m.noSecrets(resp, err)
				if got := statusOf(resp, err); got != tt.key {
					t.Errorf("got %d (%v), want %d", got, err, tt.key)
				}
				if resp != nil && (len(resp.Warnings) != 1 || m.user(5001).APIKey == old) {
					t.Errorf("said to be done, with %q", resp.Warnings)
				}
				m.sim.ClearFaults()
				if err := m.sim.AwaitState(t.Context(), func(s simulator.State) bool { return s.Landing == 0 }); err != nil {
					t.Fatal(err)
				}
				if key := m.must(logical.ReadOperation, "keys/5001", nil).Data[fieldAPIKey]; key != m.user(5001).APIKey {
					t.Error("a read does not give the key that holds")
				}
				if n := m.sim.Count("GenerateAPIKey"); n != 1 {
					t.Errorf("%d calls", n)
				}
				if m.holdsSecret(m.log.String()) {
					t.Error("the log holds a secret")
				}
			})
		}
	}
}

// What cannot be noted before is not sent; what cannot be noted after was done.
func TestRotateRoleNotStored(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", nil)
	m.must(logical.ReadOperation, "creds/team", nil) // the mount's salt is stored
	m.storage.FailPut(true)
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "rotate-role/team", nil)
	if m.sim.Count("GenerateAPIKey") != 0 {
		t.Error("it was sent all the same")
	}
	m.storage.FailPut(false)
	m.sim.Inject(simulator.Fault{Op: "GenerateAPIKey", After: func(*simulator.Simulator) { m.storage.FailPut(true) }})
	resp := m.must(logical.UpdateOperation, "rotate-role/team", nil)
	if len(resp.Warnings) != 1 || m.sim.Count("GenerateAPIKey") != 1 {
		t.Errorf("warnings %q", resp.Warnings)
	}
}

func TestRotateRoot(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(map[string]any{fieldRotationPeriod: "24h"})
	m.expect(map[string]any{fieldLastRootRotation: nil, fieldNextRootRotation: "2030-01-03T03:04:00Z", fieldLastRootError: ""})
	m.must(logical.ReadOperation, "keys/5001", nil)
	clock.advance(time.Hour)
	old := m.user(simulator.AdminUserID).Password
	for i := range 3 {
		resp := m.must(logical.UpdateOperation, "rotate-root", nil)
		m.rotatedAnswer("rotate-root", resp, 1)
		if resp.Data[fieldRotatedAt] != "2030-01-02T04:04:00Z" || m.sim.Count("ChangePassword") != i+1 {
			t.Errorf("answered %v", resp.Data)
		}
		m.settled()
	}
	now := m.user(simulator.AdminUserID).Password
	if now == old || !simulator.PasswordAllowed(now) || len(now) < 24 {
		t.Error("no new password")
	}
	m.expect(map[string]any{fieldLastRootRotation: "2030-01-02T04:04:00Z", fieldNextRootRotation: "2030-01-03T04:04:00Z", fieldLastRootError: ""})
	m.restart()
	m.settled()
	if state := m.sim.State(); state.RefusedLogins != 0 {
		t.Errorf("%d refused logins", state.RefusedLogins)
	}
	m.backend.Cleanup(t.Context())
	if n := m.sim.OpenSessions(); n != 0 { // nor that of the process that was killed
		t.Errorf("%d sessions left open", n)
	}
}

// A session that has died since its last use is no reason to fail.
func TestRotateRootOnADeadSession(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.sim.KillSessions(0)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.settled()
}

// A client that hangs up in the midst of it changes nothing.
func TestRotateRootAbandoned(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	old := m.user(simulator.AdminUserID).Password
	ctx, hangUp := context.WithCancel(t.Context())
	left := make(chan struct{})
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, After: func(*simulator.Simulator) {
		hangUp()
		<-left
	}})
	_, err := m.backend.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: "rotate-root", Storage: m.storage})
	close(left)
	if err == nil {
		t.Error("answered to nobody")
	}
	m.must(logical.UpdateOperation, "config", map[string]any{fieldTTL: "1h"}) // waits for it
	if n := m.sim.Count("Login"); n != 1 || m.user(simulator.AdminUserID).Password == old {
		t.Errorf("it was not carried through: %d logins", n)
	}
	m.settled()
}

func TestRotateRootPolicy(t *testing.T) {
	t.Parallel()
	const good = "From-the-policy-1"
	m := newTestMount(t)
	for name, password := range map[string]string{"good": good, "weak": "weakweakweak", "short": "aB1-", "unprintable": "aB1-\x01aB1-aB1-"} {
		m.vault.SetPasswordPolicy(name, func() (string, error) { return password, nil })
	}
	m.vault.SetPasswordPolicy("broken", func() (string, error) { return "", errors.New("no entropy") })
	m.configure(nil)
	for _, policy := range []string{"weak", "short", "unprintable", "broken", "none"} {
		m.must(logical.UpdateOperation, "config", map[string]any{fieldPasswordPolicy: policy})
		m.refused(http.StatusBadRequest, logical.UpdateOperation, "rotate-root", nil)
		if m.expect(map[string]any{fieldLastRootRotation: nil}); m.stored().Root.LastError == "" {
			t.Errorf("%s: the failure is not noted", policy)
		}
	}
	if m.sim.Count("ChangePassword") != 0 {
		t.Error("a password was changed")
	}
	m.must(logical.UpdateOperation, "config", map[string]any{fieldPasswordPolicy: "good"})
	m.must(logical.UpdateOperation, "rotate-root", nil)
	m.expect(map[string]any{fieldLastRootError: ""})
	if m.user(simulator.AdminUserID).Password != good {
		t.Error("not the policy's password")
	}
	m.settled()
}

// What was sent and not confirmed settles by itself, also where a look would have found
// it at once; what ECGrid refused is over.
func TestRotateRootUnconfirmed(t *testing.T) {
	t.Parallel()
	for name, tt := range upsets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := upsetAt(t, "ChangePassword", tt.fault)
			old := m.user(simulator.AdminUserID).Password
			m.refused(tt.root, logical.UpdateOperation, "rotate-root", nil)
			unsettled := isUnsettled(m.stored())
			noted, _ := m.must(logical.ReadOperation, "config", nil).Data[fieldLastRootError].(string)
			if m.noSecrets(logical.ErrorResponse("%s", noted), nil); noted == "" {
				t.Error("config does not tell what became of it")
			}
			m.sim.ClearFaults()
			m.awaitSettled()
			if err := m.sim.AwaitState(t.Context(), func(s simulator.State) bool { return s.Landing == 0 }); err != nil {
				t.Fatal(err)
			}
			if changed := m.user(simulator.AdminUserID).Password != old; changed != unsettled {
				t.Errorf("unsettled %v, changed %v", unsettled, changed)
			}
			if unsettled {
				m.expect(map[string]any{fieldLastRootError: ""})
			}
			m.settled()
			if n := m.sim.State().RefusedLogins; n > 1 {
				t.Errorf("%d refused logins", n)
			}
			m.must(logical.UpdateOperation, "rotate-root", nil)
			m.expect(map[string]any{fieldLastRootError: ""})
			m.settled()
		})
	}
}

// unsettled gives a mount whose rotate-root goes on being unanswered until the faults
// are cleared.
func unsettled(t *testing.T, f simulator.Fault) *testMount {
	t.Helper()
	m := newTestMount(t)
	m.configure(map[string]any{fieldRequestTimeout: "1s"})
	f.Op = "ChangePassword"
	m.sim.Inject(f)
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
	if !isUnsettled(m.stored()) {
		t.Fatal("the rotate-root is settled")
	}
	return m
}

// Until it is known which password ECGrid has, nothing drops one of the two.
func TestUnsettledRotateRoot(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]simulator.Fault{
		"never made": {Answer: simulator.AnswerReset},
		"made late":  {Answer: simulator.AnswerReset, ApplyLate: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := unsettled(t, f)
			m.refused(http.StatusConflict, logical.DeleteOperation, "config", nil)
			for _, data := range []map[string]any{
				{fieldUsername: "someone-else"},
				{fieldPassword: "An0ther-password!", fieldVerifyConnection: false},
				{fieldAPIKey: "any", fieldVerifyConnection: false},
			} {
				m.refused(http.StatusConflict, logical.UpdateOperation, "config", data)
				m.refused(http.StatusConflict, logical.PatchOperation, "config", data)
			}
			m.must(logical.UpdateOperation, "config", map[string]any{fieldTTL: "1h"}) // drops none
			m.sim.ClearFaults()
			m.awaitSettled()
			m.expect(map[string]any{fieldTTL: 3600.0, fieldLastRootError: ""})
			m.settled()
			m.must(logical.DeleteOperation, "config", nil)
		})
	}
}

// What one process has begun, the next one ends, whatever the first of its life is.
func TestUnsettledRotateRootRestarted(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(m *testMount){
		"initialize": func(m *testMount) { m.initialize() },
		"a tick":     func(m *testMount) { m.tick() },
		"a read":     func(m *testMount) { m.must(logical.ReadOperation, "keys/5001", nil) },
		"another rotate-root": func(m *testMount) {
			m.must(logical.UpdateOperation, "rotate-root", nil)
		},
	} {
		for _, applied := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, applied %v", name, applied), func(t *testing.T) {
				t.Parallel()
				m := newTestMount(t)
				m.killInRotateRoot(applied)
				begin(m)
				m.awaitSettled()
				m.settled()
				if n := m.sim.State().RefusedLogins; n > 1 {
					t.Errorf("%d refused logins", n)
				}
				m.restart()
				m.settled()
				m.backend.Cleanup(t.Context())
				if n := m.sim.OpenSessions(); n != 0 {
					t.Errorf("%d sessions left open by three processes", n)
				}
			})
		}
	}
}

// killInRotateRoot leaves the mount as a process leaves it that dies with
// ChangePassword under way.
func (m *testMount) killInRotateRoot(applied bool) {
	m.t.Helper()
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	f := simulator.Fault{Op: "ChangePassword", After: func(*simulator.Simulator) { m.process.kill() }}
	if !applied {
		f.Answer = simulator.AnswerReset
	}
	m.sim.Inject(f)
	if _, err := m.do(logical.UpdateOperation, "rotate-root", nil); err == nil {
		m.t.Error("a dead process has answered")
	}
	m.sim.ClearFaults()
	if !isUnsettled(m.stored()) {
		m.t.Fatal("the new password is not in storage")
	}
	m.restart()
}

// Declarative tools send the password again that they once were given.
func TestSupersededPassword(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.freeze()
	again := m.login(nil)
	m.must(logical.CreateOperation, "config", again)
	m.must(logical.UpdateOperation, "config", again)
	m.must(logical.UpdateOperation, "rotate-root", nil)
	for _, since := range []func(){
		func() {}, m.restart, func() { m.must(logical.UpdateOperation, "rotate-root", nil) }, m.restart,
	} {
		since()
		calls, before := m.sim.Count(""), m.stored()
		again[fieldTTL] = "1h"
		for _, verify := range []any{nil, true, false} {
			again[fieldVerifyConnection] = verify
			m.refused(http.StatusBadRequest, logical.UpdateOperation, "config", again)
			m.refused(http.StatusBadRequest, logical.PatchOperation, "config", map[string]any{fieldPassword: again[fieldPassword], fieldVerifyConnection: verify})
		}
		if m.sim.Count("") != calls || !reflect.DeepEqual(m.stored(), before) {
			t.Error("a superseded password was tried, or changed something")
		}
	}
	// What they are told to do.
	delete(again, fieldPassword)
	delete(again, fieldVerifyConnection)
	m.must(logical.UpdateOperation, "config", again)
	m.expect(map[string]any{fieldTTL: 3600.0, fieldLastRootRotation: begin.Format(time.RFC3339)})
	m.must(logical.UpdateOperation, "config", m.login(nil)) // the one that is valid now
	m.settled()
	if n := m.sim.State().RefusedLogins; n != 0 {
		t.Errorf("%d refused logins", n)
	}
}

// A password that storage has not: only a write helps, and until then the account is
// not worn out.
func TestRotateRootBothRefused(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	clock := m.freeze()
	m.configure(nil)
	m.sim.Inject(simulator.Fault{Op: "ChangePassword", Times: 1, Answer: simulator.AnswerResetAfter, After: func(s *simulator.Simulator) {
		s.SetPassword(simulator.AdminUserID, "An0ther-password!")
	}})
	m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
	told := m.stored().Root.LastError
	m.awaitStored("looked for", func(c backend.Config) bool { return c.Root.LastError != told })
	for range 5 {
		m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
		m.refused(http.StatusConflict, logical.UpdateOperation, "rotate-root", nil)
		m.must(logical.UpdateOperation, "config", map[string]any{fieldTTL: "1h"})
		m.restart()
	}
	if n := m.sim.State().RefusedLogins; n != 2 { // each of both passwords once
		t.Errorf("%d refused logins", n)
	}
	if c := m.stored(); !isUnsettled(c) || c.Root.LastError == "" {
		t.Error("the doubt is not kept, or not told")
	}
	clock.advance(time.Minute + time.Second)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	clock.advance(time.Minute)
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "keys/5001", nil)
	if n := m.sim.State().RefusedLogins; n != 3 {
		t.Errorf("%d refused logins", n)
	}
	m.must(logical.UpdateOperation, "config", m.login(nil))
	m.settled()
}

// Everything at once. At rest the stored password is ECGrid's.
func TestRotateConcurrently(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.role("team", map[string]any{fieldRotateOnRevoke: true})
	m.role("plain", map[string]any{fieldRotationPeriod: "1h"})
	allowed := []int{http.StatusOK, http.StatusServiceUnavailable} // a config that was replaced twice under one read
	var wg sync.WaitGroup
	repeat := func(workers, times int, work func(worker, i int)) {
		for worker := range workers {
			wg.Go(func() {
				for i := range times {
					work(worker, i)
				}
			})
		}
	}
	one := func(op logical.Operation, path string, data map[string]any) *logical.Response {
		resp, err := m.do(op, path, data)
		if status := statusOf(resp, err); !slices.Contains(allowed, status) {
			t.Errorf("%s %s: %d %v", op, path, status, err)
		}
		m.noSecrets(resp, err)
		return resp
	}
	repeat(1, 8, func(_, i int) { one(logical.UpdateOperation, "config", map[string]any{fieldTTL: i + 60}) })
	repeat(1, 4, func(_, i int) {
		one(logical.PatchOperation, "config", map[string]any{fieldKeyCacheTTL: i, fieldVerifyConnection: true})
	})
	repeat(2, 5, func(int, int) { one(logical.UpdateOperation, "rotate-root", nil) })
	repeat(2, 5, func(int, int) { one(logical.UpdateOperation, "rotate-key/5001", nil) })
	repeat(1, 5, func(int, int) { one(logical.UpdateOperation, "rotate-role/plain", nil) })
	repeat(3, 10, func(int, int) { one(logical.ReadOperation, "keys/5002", nil) })
	repeat(3, 6, func(int, int) {
		if resp := one(logical.ReadOperation, "creds/team", nil); resp != nil && resp.Secret != nil {
			_, _ = m.renew(resp.Secret)
			m.revoke(resp.Secret)
		}
	})
	wg.Wait()
	m.settled()
	state := m.sim.State()
	if state.RefusedLogins != 0 || state.MaxOpenSessions > simulator.DefaultSessionCap {
		t.Errorf("%d refused logins, %d sessions at once", state.RefusedLogins, state.MaxOpenSessions)
	}
	if left, err := logical.CollectKeys(t.Context(), logical.NewStorageView(m.storage, "lease/")); err != nil || len(left) != 0 {
		t.Errorf("leases are still counted: %v, %v", left, err)
	}
}
