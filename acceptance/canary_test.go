package acceptance

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestNoSecretIsWritten does everything an engine can do, well and badly, with
// trace logs and an audit device on, and then searches all that was written.
// (Every other test's Vault is searched too, when the last test is through.)
func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	v := own(t, inmem)
	rawAudit := v.auditRaw(t)
	m := mounted(t, v)
	wrong := m.invent("Wrong-P4ssword-nobody-has")
	wrongKey := m.invent("wrong-key-00000000-nobody-has")

	// Refused on the way in.
	m.attempt(t, "config", m.withLogin("password", wrong))
	m.attempt(t, "config", m.withLogin("passwort", wrong))
	m.attempt(t, "config", m.withLogin("ca_cert", wrong))
	m.attempt(t, "config", m.withLogin("api_key", wrongKey))
	m.attempt(t, "config", fields{"url": m.SOAP, "api_key": wrongKey, "ca_cert": string(m.CACert)})
	m.attempt(t, "config", m.withLogin("url", "https://user:"+wrong+"@127.0.0.1:1/x.asmx?password="+wrong))
	m.attempt(t, "config", m.withLogin("url", "https://127.0.0.1:1/"))
	v.cli("write", m.at("config"), "url="+m.SOAP, "username=x", "password="+wrong)
	v.cli("write", m.at("config"), "password="+wrong, "api_key="+wrongKey)

	m.configure(t, fields{"request_timeout": "1s", "session_idle_timeout": "1s"})
	held := m.everyRequest(t)
	m.sufferEverything(t)

	// With the login itself in trouble.
	m.KillSessions(0)
	m.SetPassword(simulator.AdminUserID, m.invent("Replaced-behind-our-b4ck&<>\"'"))
	m.everyRequest(t)
	m.configure(t, nil)
	m.ReplaceKey(simulator.UserID5001)
	for _, leaseID := range held {
		v.cli("lease", "renew", leaseID)
		v.cli("lease", "revoke", "-sync", leaseID)
	}

	// With an API key in the login's place, good and then dead.
	key := m.key(simulator.AdminUserID)
	m.ok(t, http.MethodPost, m.at("config"), fields{"api_key": key})
	m.everyRequest(t)
	m.sufferEverything(t)
	m.ReplaceKey(simulator.AdminUserID)
	m.everyRequest(t)

	// The ends: process, seal, mount.
	m.configure(t, nil)
	m.works(t)
	v.run(t, "plugin", "reload", "-plugin="+pluginName)
	m.works(t)
	v.run(t, "operator", "seal")
	if err := v.unseal(); err != nil {
		t.Fatal(err)
	}
	m.works(t)
	m.disable(t)
	v.stop()

	secrets := m.secrets()
	for _, leak := range v.leaks(secrets) {
		t.Error("a secret is in", leak)
	}
	searchesForReal(t, v, m, rawAudit, secrets)
}

// searchesForReal is the positive control: there is something to search in, and
// a secret that is there is found.
func searchesForReal(t *testing.T, v *vault, m *mount, rawAudit string, secrets []string) {
	t.Helper()
	log, audit := readAll(v.logPath()), readAll(v.auditPath())
	for what, found := range map[string]bool{
		"trace lines in the log":           bytes.Contains(log, []byte("[TRACE]")),
		"the plugin's lines in the log":    bytes.Contains(log, []byte(pluginName)),
		"requests in the audit log":        bytes.Contains(audit, []byte(m.at("keys/5001"))),
		"refusals in the audit log":        bytes.Contains(audit, []byte(`"error"`)),
		"answers of failed requests":       v.failures.Len() > 1000,
		"secrets in an audit log left raw": search(readAll(rawAudit), secrets) != "",
		"several kinds of secrets":         len(secrets) > 10,
	} {
		if !found {
			t.Errorf("the search proves nothing: there are no %s", what)
		}
	}
	raw := readAll(rawAudit)
	for kind, secret := range map[string]string{"key": m.key(simulator.UserID5002), "password": jsonText(m.password(simulator.AdminUserID))} {
		if !bytes.Contains(raw, []byte(secret)) {
			t.Errorf("the raw audit log lacks the %s that went through Vault", kind)
		}
	}
}

// auditRaw adds an audit device that writes everything as it is.
func (v *vault) auditRaw(t *testing.T) string {
	t.Helper()
	file := filepath.Join(v.dir, "raw.log")
	v.ok(t, http.MethodPut, "sys/audit/raw", fields{"type": "file", "options": fields{"file_path": file, "log_raw": "true"}})
	return file
}

func (m *mount) withLogin(name string, value any) fields {
	config := m.login()
	config[name] = value
	return config
}

// attempt writes something that may well be refused.
func (m *mount) attempt(t *testing.T, at string, body any) {
	t.Helper()
	if _, err := m.do(http.MethodPost, m.at(at), body); err != nil {
		t.Fatal(err)
	}
}

// everyRequest is one of each kind, whether it works or not; it gives the leases.
func (m *mount) everyRequest(t *testing.T) (leases []string) {
	t.Helper()
	requests := []struct{ method, path string }{
		{http.MethodGet, "config"}, {"LIST", "keys"}, {http.MethodGet, "status"}, {http.MethodGet, "info"},
		{http.MethodGet, "keys/5001"}, {http.MethodGet, "keys/5002"}, {http.MethodGet, "keys/5003"},
		{http.MethodGet, "keys/5999"}, {http.MethodGet, "keys/6001"}, {http.MethodGet, "keys/05001"},
		{http.MethodGet, "nothing"}, {http.MethodDelete, "keys/5001"},
	}
	for _, r := range requests {
		a, err := m.do(r.method, m.at(r.path), nil)
		if err != nil {
			t.Fatalf("%s %s: %v", r.method, r.path, err)
		}
		if a.LeaseID != "" {
			leases = append(leases, a.LeaseID)
		}
	}
	for _, id := range leases {
		if _, err := m.do(http.MethodPost, "sys/leases/renew", fields{"lease_id": id}); err != nil {
			t.Fatal(err)
		}
	}
	if out, code := m.cli("read", m.at("keys/5999")); code == 0 {
		t.Errorf("a user that is not there was read: %s", strings.Fields(out)[0])
	}
	m.cli("read", m.at("keys/5002"))
	return leases
}

// sufferEverything has ECGrid answer each operation in every bad way, with the
// request, credential and all, repeated wherever there is room for text.
func (m *mount) sufferEverything(t *testing.T) {
	t.Helper()
	var faults []simulator.Fault
	for _, op := range []string{"Login", "UserGetAPIKey", "WhoAmI", "UserList", "Version", "Logout"} {
		for _, cause := range simulator.FaultCauses {
			faults = append(faults, simulator.Fault{Op: op, Cause: cause, Shape: simulator.FaultShapes[len(faults)%len(simulator.FaultShapes)], Echo: true})
		}
		for _, answer := range []simulator.Answer{
			simulator.AnswerHTML, simulator.AnswerHalf, simulator.AnswerWrongNamespace, simulator.AnswerWrongOp,
			simulator.AnswerUTF16, simulator.AnswerReset, simulator.AnswerEmptyResult,
		} {
			faults = append(faults, simulator.Fault{Op: op, Answer: answer, Echo: true})
		}
		faults = append(faults, simulator.Fault{Op: op, Answer: simulator.AnswerHTML, Status: 500, Echo: true})
	}
	credential := m.password(simulator.AdminUserID)
	faults = append(faults, simulator.Fault{Answer: simulator.AnswerRedirect, URL: m.SOAP + "?password=" + credential})
	for _, f := range faults {
		clear := m.Inject(f)
		m.KillSessions(0) // so that a Login is part of it
		for _, r := range []struct{ method, path string }{{http.MethodGet, "keys/5001"}, {"LIST", "keys"}, {http.MethodGet, "status"}} {
			if _, err := m.do(r.method, m.at(r.path), nil); err != nil {
				t.Fatal(fmt.Errorf("%s %s: %w", r.method, r.path, err))
			}
		}
		clear()
		// A write ends the pause that a refused Login has begun.
		m.attempt(t, "config", fields{"verify_connection": false, "request_timeout": "1s"})
	}
}
