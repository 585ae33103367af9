// SPDX-License-Identifier: MPL-2.0

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

// TestNoSecretIsWritten sends every request, successful and failing ones, with trace logs
// and an audit device on. Then it searches all that was written. (After the last test,
// tearDown searches every other test's Vault too.)
func TestNoSecretIsWritten(t *testing.T) {
	t.Parallel()
	needVaultItself(t, "its audit devices come from its configuration only")
	v := ownVault(t, inmem)
	rawAudit := v.enableRawAudit(t)
	m := newMount(t, v)
	m.tryWrongConfigs(t)

	m.configure(t, fields{"request_timeout": "1s", "session_idle_timeout": "1s"})
	leases := m.sendEveryRequest(t)
	m.sendWithEveryFault(t)

	// The password is wrong.
	m.KillSessions(0)
	m.SetPassword(simulator.AdminUserID, m.newSecret("Replaced-behind-our-b4ck&<>\"'"))
	m.sendEveryRequest(t)
	m.configure(t, nil)
	m.ReplaceKey(simulator.UserID5001)
	for _, leaseID := range leases {
		v.cli("lease", "renew", leaseID)
		v.cli("lease", "revoke", "-sync", leaseID)
	}

	// The login is an API key, first a valid one and then a dead one.
	key := m.key(simulator.AdminUserID)
	m.ok(t, http.MethodPost, m.at("config"), fields{"api_key": key})
	m.sendEveryRequest(t)
	m.sendWithEveryFault(t)
	m.ReplaceKey(simulator.AdminUserID)
	m.sendEveryRequest(t)

	// The process ends, Vault is sealed, the mount is disabled.
	m.configure(t, nil)
	m.awaitRead(t)
	v.run(t, "plugin", "reload", "-plugin="+pluginName)
	m.awaitRead(t)
	v.run(t, "operator", "seal")
	if err := v.unseal(); err != nil {
		t.Fatal(err)
	}
	m.awaitRead(t)
	m.disable(t)
	v.stop()

	secrets := m.secrets()
	for _, leak := range v.leaks(secrets) {
		t.Error("a secret is in", leak)
	}
	checkSearchWorks(t, v, m, rawAudit, secrets)
}

// tryWrongConfigs writes configs that are refused for different reasons.
func (m *mount) tryWrongConfigs(t *testing.T) {
	t.Helper()
	wrong := m.newSecret("Wrong-P4ssword-nobody-has")
	wrongKey := m.newSecret("wrong-key-00000000-nobody-has")
	for _, config := range []fields{
		m.loginConfigWith("password", wrong),
		m.loginConfigWith("passwort", wrong),
		m.loginConfigWith("ca_cert", wrong),
		m.loginConfigWith("api_key", wrongKey),
		{"transport": transport(), "url": m.endpoint(), "api_key": wrongKey, "ca_cert": string(m.CACert)},
		m.loginConfigWith("url", "https://user:"+wrong+"@127.0.0.1:1/x.asmx?password="+wrong),
		m.loginConfigWith("url", "https://127.0.0.1:1/"),
	} {
		m.tryWrite(t, "config", config)
	}
	m.cli("write", m.at("config"), "transport="+transport(), "url="+m.endpoint(), "username=x", "password="+wrong)
	m.cli("write", m.at("config"), "password="+wrong, "api_key="+wrongKey)
}

// checkSearchWorks is the positive control: there is text to search, and the search finds
// a secret that was written.
func checkSearchWorks(t *testing.T, v *vault, m *mount, rawAudit string, secrets []string) {
	t.Helper()
	log, audit := readAll(v.logPath()), readAll(v.auditPath())
	for what, found := range map[string]bool{
		"trace lines in the log":        bytes.Contains(log, []byte("[TRACE]")),
		"the plugin's lines in the log": bytes.Contains(log, []byte(pluginName)),
		"requests in the audit log":     bytes.Contains(audit, []byte(m.at("keys/5001"))),
		"refusals in the audit log":     bytes.Contains(audit, []byte(`"error"`)),
		"answers of failed requests":    v.failures.Len() > 1000,
		"secrets in the raw audit log":  search(readAll(rawAudit), secrets) != "",
		"several kinds of secrets":      len(secrets) > 10,
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

// enableRawAudit adds an audit device that writes secrets in clear text.
func (v *vault) enableRawAudit(t *testing.T) string {
	t.Helper()
	file := filepath.Join(v.dir, "raw.log")
	v.ok(t, http.MethodPut, "sys/audit/raw", fields{"type": "file", "options": fields{"file_path": file, "log_raw": "true"}})
	return file
}

func (m *mount) loginConfigWith(name string, value any) fields {
	config := m.loginConfig()
	config[name] = value
	return config
}

// tryWrite ignores a refusal.
func (m *mount) tryWrite(t *testing.T, at string, body any) {
	t.Helper()
	if _, err := m.do(http.MethodPost, m.at(at), body); err != nil {
		t.Fatal(err)
	}
}

// sendEveryRequest sends one request of each kind, and ignores refusals. It returns the
// lease IDs.
func (m *mount) sendEveryRequest(t *testing.T) (leases []string) {
	t.Helper()
	requests := []struct{ method, path string }{
		{http.MethodGet, "config"}, {"LIST", "keys"}, {http.MethodGet, "status"}, {http.MethodGet, "info"}, {http.MethodGet, "metrics"},
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
		t.Errorf("a key of an unknown user was read: %s", strings.Fields(out)[0])
	}
	m.cli("read", m.at("keys/5002"))
	return leases
}

// sendWithEveryFault makes ECGrid answer each operation in every bad way. Faults and pages
// repeat the request with its credential.
func (m *mount) sendWithEveryFault(t *testing.T) {
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
	faults = append(faults, simulator.Fault{Answer: simulator.AnswerRedirect, URL: m.endpoint() + "?password=" + credential})
	for _, f := range faults {
		clear := m.Inject(f)
		m.KillSessions(0) // the next request needs a Login
		for _, r := range []struct{ method, path string }{{http.MethodGet, "keys/5001"}, {"LIST", "keys"}, {http.MethodGet, "status"}} {
			if _, err := m.do(r.method, m.at(r.path), nil); err != nil {
				t.Fatal(fmt.Errorf("%s %s: %w", r.method, r.path, err))
			}
		}
		clear()
		// A write ends the pause after a refused Login.
		m.tryWrite(t, "config", fields{"verify_connection": false, "request_timeout": "1s"})
	}
}
