// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestMainJob types the commands of the README.
func TestMainJob(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := newMount(t, v)
	password := m.password(simulator.AdminUserID)
	passwordFile := writeFile(t, v.dir, m.path+".password", password)
	caFile := writeFile(t, v.dir, m.path+".pem", string(m.CACert))

	v.run(t, "write", m.at("config"), "transport="+transport(), "url="+m.endpoint(), "username="+simulator.AdminLogin, "password=@"+passwordFile, "ca_cert=@"+caFile)
	t.Run("config shows no secret", m.testConfigShowsNoSecret)
	t.Run("a leased key", m.testLeasedKey)
	t.Run("list", m.testList)
	t.Run("status and info", m.testStatusAndInfo)
	t.Run("the key opens ECGrid", func(t *testing.T) {
		key := v.run(t, "read", "-field=api_key", m.at("keys/5002"))
		if !restAccepts(t, m.ecgrid, key) {
			t.Error("ECGrid's REST API refuses the leased key")
		}
	})
	t.Run("help", func(t *testing.T) {
		for _, of := range []string{"", "config", "keys", "keys/5001", "info", "metrics", "status"} {
			p := strings.TrimSuffix(m.at(of), "/")
			if help := v.run(t, "path-help", p); len(help) < 150 {
				t.Errorf("path-help %s is too short:\n%s", p, help)
			}
		}
	})
	t.Run("the version that runs is the registered one", func(t *testing.T) {
		a := v.read(t, path("sys/mounts", m.path))
		if a.Data["running_plugin_version"] != suite.pluginVersion || a.Data["running_sha256"] != suite.pluginSum {
			t.Errorf("running %v (%v)", a.Data["running_plugin_version"], a.Data["running_sha256"])
		}
	})
}

func (m *mount) testConfigShowsNoSecret(t *testing.T) {
	password := m.password(simulator.AdminUserID)
	config := m.run(t, "read", "-format=json", m.at("config"))
	if strings.Contains(config, password) || strings.Contains(config, jsonText(password)) {
		t.Error("the password can be read")
	}
	var read answer
	m.runJSON(t, &read, "read", "-format=json", m.at("config"))
	for _, secret := range []string{"password", "api_key"} {
		if _, shown := read.Data[secret]; shown {
			t.Errorf("config has a field %q", secret)
		}
	}
	for name, want := range (fields{"transport": transport(), "url": m.endpoint(), "username": simulator.AdminLogin, "auth_method": "password"}) {
		if read.Data[name] != want {
			t.Errorf("%s = %v, want %v", name, read.Data[name], want)
		}
	}
}

func (m *mount) testLeasedKey(t *testing.T) {
	var read answer
	m.runJSON(t, &read, "read", "-format=json", m.at("keys/5001"))
	if read.Data["api_key"] != m.key(simulator.UserID5001) {
		t.Error("this is not the user's key")
	}
	if read.Data["user_id"] != float64(simulator.UserID5001) || len(read.Data) != 2 {
		t.Errorf("data has user_id %v and %d fields, want 5001 and 2", read.Data["user_id"], len(read.Data))
	}
	if !strings.HasPrefix(read.LeaseID, m.at("keys/5001/")) || !read.Renewable || read.LeaseDuration <= 0 {
		t.Errorf("lease %q, renewable %v, for %d s", read.LeaseID, read.Renewable, read.LeaseDuration)
	}
	m.run(t, "lease", "renew", read.LeaseID)
	m.run(t, "lease", "revoke", "-sync", read.LeaseID)
	if _, code := m.cli("lease", "renew", read.LeaseID); code == 0 {
		t.Error("a revoked lease was renewed")
	}
}

func (m *mount) testList(t *testing.T) {
	var ids []string
	m.runJSON(t, &ids, "list", "-format=json", m.at("keys"))
	for _, id := range []string{"1001", "5001", "5002"} {
		if !slices.Contains(ids, id) {
			t.Errorf("%s is not listed in %v", id, ids)
		}
	}
	a := m.ok(t, "LIST", m.at("keys"), nil)
	info, _ := a.Data["key_info"].(map[string]any)
	user, _ := info["5001"].(map[string]any)
	for name, want := range (fields{"login_name": "sim-5001", "network_id": 100., "mailbox_id": 501., "auth_level": "MailboxUser", "status": "Active"}) {
		if user[name] != want {
			t.Errorf("%s of 5001 = %v, want %v", name, user[name], want)
		}
	}
	if detailed := m.run(t, "list", "-detailed", m.at("keys")); !strings.Contains(detailed, "sim-5001") {
		t.Errorf("-detailed shows no login name:\n%s", detailed)
	}
}

func (m *mount) testStatusAndInfo(t *testing.T) {
	m.run(t, "read", m.at("status"))
	before := m.Count("")
	if info := m.run(t, "read", m.at("info")); !strings.Contains(info, suite.pluginVersion) {
		t.Errorf("info does not show the version:\n%s", info)
	}
	if m.Count("") != before {
		t.Error("info has called ECGrid")
	}
}

// Standard input keeps a password off the command line, as a file does.
func TestConfigFromStdin(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := newMount(t, v)
	config, err := json.Marshal(m.loginConfig())
	if err != nil {
		t.Fatal(err)
	}
	if out, code := v.cliInput(string(config), "write", m.at("config"), "-"); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	m.awaitRead(t)
}

// A patch keeps the fields that it omits.
func TestConfigPatch(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, fields{"ttl": "10m"})
	v.run(t, "patch", m.at("config"), "session_idle_timeout=2s")
	a := v.read(t, m.at("config"))
	if a.Data["ttl"] != 600. || a.Data["session_idle_timeout"] != 2. || a.Data["username"] != simulator.AdminLogin {
		t.Errorf("after a patch: %v", a.Data)
	}
	m.awaitRead(t)
}

// An API key in the login's place needs no session.
func TestConfigAPIKey(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := newMount(t, v)
	v.ok(t, http.MethodPost, m.at("config"), fields{"transport": transport(), "url": m.endpoint(), "api_key": m.key(simulator.AdminUserID), "ca_cert": string(m.CACert)})
	m.readKey(t, simulator.UserID5001)
	if n := m.State().SessionsOpened; n != 0 {
		t.Errorf("%d sessions were opened", n)
	}
	if a := v.read(t, m.at("config")); a.Data["auth_method"] != "api_key" {
		t.Errorf("auth_method = %v", a.Data["auth_method"])
	}
}

// A refused write changes nothing.
func TestRefusedConfig(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, nil)
	before := v.read(t, m.at("config")).Data
	elsewhere := newECGrid(t)
	for name, change := range map[string]fields{
		"unknown field":                 {"passwort": "x"},
		"wrong password":                {"password": m.newSecret("wrong-P4ssword-of-a-typo")},
		"empty password":                {"password": ""},
		"empty key":                     {"api_key": ""},
		"both credentials":              {"password": m.password(simulator.AdminUserID), "api_key": m.key(simulator.AdminUserID)},
		"ttl above max_ttl":             {"ttl": "2h", "max_ttl": "1h"},
		"plain http to elsewhere":       {"url": "http://192.0.2.1/x.asmx", "password": m.password(simulator.AdminUserID)},
		"another host, no credential":   {"url": elsewhere.endpoint(), "ca_cert": string(elsewhere.CACert)},
		"another host, empty password":  {"url": elsewhere.endpoint(), "ca_cert": string(elsewhere.CACert), "password": ""},
		"another scheme, no credential": {"url": strings.Replace(m.endpoint(), "https:", "http:", 1)},
		"no certificate":                {"ca_cert": "not a certificate"},
		"request_timeout":               {"request_timeout": "1h"},
	} {
		v.wantStatus(t, http.StatusBadRequest, http.MethodPost, m.at("config"), change)
		after := v.read(t, m.at("config")).Data
		for field, value := range before {
			if !sameJSON(after[field], value) {
				t.Errorf("%s: %s is now %v, was %v", name, field, after[field], value)
			}
		}
	}
	if n := elsewhere.Count(""); n != 0 {
		t.Errorf("%d calls went to a host that was refused", n)
	}
	m.awaitRead(t)
}

func sameJSON(a, b any) bool { return jsonText(a) == jsonText(b) }

func jsonText(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return strings.Trim(string(raw), `"`)
}

// restAccepts reports whether ECGrid's REST API accepts a key.
func restAccepts(t *testing.T, g *ecgrid, key string) bool {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, g.REST+"/users/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-API-Key", strings.TrimSpace(key))
	resp, err := g.httpClient().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
