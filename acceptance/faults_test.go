// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const keyOp = "UserGetAPIKey"

// TestFaults reads a key during each fault and checks the status code. Then it reads
// without the fault.
func TestFaults(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	fault := func(f simulator.Fault) func(*mount) {
		return func(m *mount) { m.Inject(f) }
	}
	for name, c := range map[string]struct {
		happens func(*mount)
		status  int
	}{
		"denied":             {fault(simulator.Fault{Op: keyOp, Cause: simulator.AccessDenied}), 403},
		"not found":          {fault(simulator.Fault{Op: keyOp, Cause: simulator.NotFound}), 404},
		"empty result":       {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerEmptyResult}), 404},
		"absent result":      {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerAbsentResult}), 404},
		"system error":       {fault(simulator.Fault{Op: keyOp, Cause: simulator.SystemError}), 502},
		"web page":           {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHTML}), 502},
		"web page, HTTP 500": {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHTML, Status: 500}), 502},
		"HTTP 404":           {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerStatus, Status: 404}), byTransport(502, 404)}, // REST has an error of that status
		"redirect": {func(m *mount) {
			m.Inject(simulator.Fault{Op: keyOp, Answer: simulator.AnswerRedirect, URL: m.endpoint()})
		}, 502},
		"empty body":             {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerEmpty}), 502},
		"50 MB":                  {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHuge}), 502},
		"billion laughs":         {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerEntities}), 502},
		"half an answer":         {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHalf}), 502},
		"another's answer":       {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerWrongOp}), 502},
		"another namespace":      {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerWrongNamespace}), 502},
		"UTF-16":                 {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerUTF16}), 502},
		"HTTP 503":               {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerStatus}), 503},
		"connection cut":         {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerReset}), 503},
		"answer lost":            {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerResetAfter}), 503},
		"slow":                   {fault(simulator.Fault{Op: keyOp, Delay: time.Minute}), 504},
		"dripping":               {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerDrip}), 504},
		"login: system error":    {fault(simulator.Fault{Op: "Login", Cause: simulator.SystemError}), 502},
		"login: web page":        {fault(simulator.Fault{Op: "Login", Answer: simulator.AnswerHTML}), 502},
		"login: empty SessionID": {fault(simulator.Fault{Op: "Login", Answer: simulator.AnswerEmptyResult}), 502},
		"login: connection cut":  {fault(simulator.Fault{Op: "Login", Answer: simulator.AnswerReset}), 503},
		"login: slow":            {fault(simulator.Fault{Op: "Login", Delay: time.Minute}), 504},
		"login: refused":         {fault(simulator.Fault{Op: "Login", Cause: simulator.LoginRefused}), 400},
		"login: table is full":   {func(m *mount) { m.FillSessions(simulator.AdminUserID) }, 400},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configuredMount(t, v, fields{"request_timeout": "1s", "verify_connection": false})
			c.happens(m)
			start := time.Now()
			m.wantStatus(t, c.status, http.MethodGet, m.at("keys/5001"), nil)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			m.ClearFaults()
			m.KillSessions(0)
			m.awaitRead(t)
		})
	}
}

// TestUnreadableUsers are refused by the simulated ECGrid itself, without a fault.
func TestUnreadableUsers(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	m.wantStatus(t, http.StatusNotFound, http.MethodGet, m.at("keys/5999"), nil)
	m.wantStatus(t, http.StatusNotFound, http.MethodGet, m.at("keys", simulator.KeylessUserID), nil)
	m.wantStatus(t, byTransport(http.StatusForbidden, http.StatusNotFound), http.MethodGet, m.at("keys", simulator.ForeignUserID), nil)
	for _, id := range []string{"0", "-1", "2147483648", "x", "05001", "5001%20"} {
		m.wantStatus(t, http.StatusBadRequest, http.MethodGet, m.at("keys", id), nil)
	}
	m.readKey(t, simulator.UserID5001)
}

func TestNotConfigured(t *testing.T) {
	t.Parallel()
	m := newMount(t, sharedVault(t))
	for _, p := range []string{"keys/5001", "status"} {
		m.wantStatus(t, http.StatusBadRequest, http.MethodGet, m.at(p), nil)
	}
	m.wantStatus(t, http.StatusBadRequest, "LIST", m.at("keys"), nil)
}

// A server with a certificate of another CA is not called.
func TestUntrustedECGrid(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m, other := newMount(t, v), newECGrid(t)
	m.configure(t, fields{"ca_cert": string(other.CACert), "verify_connection": false})
	m.wantStatus(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5001"), nil)
	if n := m.Count(""); n != 0 {
		t.Errorf("%d calls went to it", n)
	}
	m.wantStatus(t, http.StatusBadRequest, http.MethodPost, m.at("config"), fields{"ca_cert": string(m.CACert)}) // ca_cert changes only with a credential
	m.configure(t, nil)
	m.awaitRead(t)
}

// After a refused Login there is a pause, since ECGrid locks accounts. The right password
// is used at once.
func TestRefusedPassword(t *testing.T) {
	t.Parallel()
	m := newMount(t, sharedVault(t))
	m.configure(t, fields{"password": m.newSecret("not-The-Passw0rd"), "verify_connection": false})
	m.wantStatus(t, http.StatusBadRequest, http.MethodGet, m.at("keys/5001"), nil)
	const pause = time.Second // after the first refusal
	for start := time.Now(); time.Since(start) < pause/2; {
		m.wantStatus(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5002"), nil)
	}
	if n := m.Count("Login"); n != 1 {
		t.Errorf("%d Logins, want 1", n)
	}
	m.configure(t, nil)
	m.readKey(t, simulator.UserID5001)
}

// TestECGridStops closes the ECGrid server.
func TestECGridStops(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	if err := m.ecgrid.Close(); err != nil {
		t.Fatal(err)
	}
	m.wantStatus(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5001"), nil)
	m.read(t, m.at("config"))
	m.read(t, m.at("info"))
	m.read(t, m.at("metrics"))
}
