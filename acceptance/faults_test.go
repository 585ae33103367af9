package acceptance

import (
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

const keyOp = "UserGetAPIKey"

// TestFaults goes through the status codes of the API: one read each while
// something is wrong, and one after.
func TestFaults(t *testing.T) {
	t.Parallel()
	v := shared(t)
	fault := func(f simulator.Fault) func(*mount) {
		return func(m *mount) { m.Inject(f) }
	}
	for name, c := range map[string]struct {
		happens func(*mount)
		status  int
	}{
		"denied":                 {fault(simulator.Fault{Op: keyOp, Cause: simulator.AccessDenied}), 403},
		"not found":              {fault(simulator.Fault{Op: keyOp, Cause: simulator.NotFound}), 404},
		"empty result":           {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerEmptyResult}), 404},
		"absent result":          {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerAbsentResult}), 404},
		"system error":           {fault(simulator.Fault{Op: keyOp, Cause: simulator.SystemError}), 502},
		"web page":               {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHTML}), 502},
		"web page, HTTP 500":     {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerHTML, Status: 500}), 502},
		"HTTP 404":               {fault(simulator.Fault{Op: keyOp, Answer: simulator.AnswerStatus, Status: 404}), 502},
		"redirect":               {func(m *mount) { m.Inject(simulator.Fault{Op: keyOp, Answer: simulator.AnswerRedirect, URL: m.SOAP}) }, 502},
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
			m := configured(t, v, fields{"request_timeout": "1s", "verify_connection": false})
			c.happens(m)
			start := time.Now()
			m.refused(t, c.status, http.MethodGet, m.at("keys/5001"), nil)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			m.ClearFaults()
			m.KillSessions(0)
			m.works(t)
		})
	}
}

// TestUsersThatCannotBeRead are ECGrid's own refusals, not injected ones.
func TestUsersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), nil)
	m.refused(t, http.StatusNotFound, http.MethodGet, m.at("keys/5999"), nil)
	m.refused(t, http.StatusNotFound, http.MethodGet, m.at("keys", simulator.KeylessUserID), nil)
	m.refused(t, http.StatusForbidden, http.MethodGet, m.at("keys", simulator.ForeignUserID), nil)
	for _, id := range []string{"0", "-1", "2147483648", "x", "05001", "5001%20"} {
		m.refused(t, http.StatusBadRequest, http.MethodGet, m.at("keys", id), nil)
	}
	m.readKey(t, simulator.UserID5001)
}

func TestNotConfigured(t *testing.T) {
	t.Parallel()
	m := mounted(t, shared(t))
	for _, p := range []string{"keys/5001", "status"} {
		m.refused(t, http.StatusBadRequest, http.MethodGet, m.at(p), nil)
	}
	m.refused(t, http.StatusBadRequest, "LIST", m.at("keys"), nil)
}

// TestUntrustedECGrid: a certificate of another CA is no ECGrid.
func TestUntrustedECGrid(t *testing.T) {
	t.Parallel()
	v := shared(t)
	m, other := mounted(t, v), newECGrid(t)
	m.configure(t, fields{"ca_cert": string(other.CACert), "verify_connection": false})
	m.refused(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5001"), nil)
	if n := m.Count(""); n != 0 {
		t.Errorf("%d calls went to it", n)
	}
	m.refused(t, http.StatusBadRequest, http.MethodPost, m.at("config"), fields{"ca_cert": string(m.CACert)}) // whom to trust goes with the credential
	m.configure(t, nil)
	m.works(t)
}

// TestRefusedPassword asks ECGrid once, then leaves it in peace for a while: it
// locks accounts. The right password is used at once.
func TestRefusedPassword(t *testing.T) {
	t.Parallel()
	m := mounted(t, shared(t))
	m.configure(t, fields{"password": m.invent("not-The-Passw0rd"), "verify_connection": false})
	m.refused(t, http.StatusBadRequest, http.MethodGet, m.at("keys/5001"), nil)
	const pause = time.Second // the first one
	for start := time.Now(); time.Since(start) < pause/2; {
		m.refused(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5002"), nil)
	}
	if n := m.Count("Login"); n != 1 {
		t.Errorf("%d Logins, want 1", n)
	}
	m.configure(t, nil)
	m.readKey(t, simulator.UserID5001)
}

// TestECGridGoesAway stops the server itself.
func TestECGridGoesAway(t *testing.T) {
	t.Parallel()
	m := configured(t, shared(t), nil)
	if err := m.ecgrid.Close(); err != nil {
		t.Fatal(err)
	}
	m.refused(t, http.StatusServiceUnavailable, http.MethodGet, m.at("keys/5001"), nil)
	m.read(t, m.at("config"))
	m.read(t, m.at("info"))
}
