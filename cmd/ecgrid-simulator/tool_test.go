// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
	"vault-plugin-ecgrid/internal/testcert"
)

func writeNamed(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Passwords of flags and files are in force, and are in the ready file.
func TestPasswords(t *testing.T) {
	t.Parallel()
	file := writeNamed(t, "password", "from a file\n")
	mixed := write(t, `[{"user_id": 9, "login_name": "second"}, {"user_id": 8, "login_name": "admin", "auth_level": "NetworkAdmin"},
		{"user_id": 7, "login_name": "first", "password": "replaced"}]`)
	for name, c := range map[string]struct {
		args       []string
		admin, low string
	}{
		"flags":      {[]string{"--admin-password", "a", "--low-password", "l"}, "a", "l"},
		"files":      {[]string{"--admin-password-file", file, "--low-password-file", file}, "from a file", "from a file"},
		"users file": {[]string{"--users", mixed, "--admin-password", "a", "--low-password", "l"}, "a", "l"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := launch(t, c.args...)
			if r.ready.Password != c.admin || r.ready.LowPassword != c.low {
				t.Error("the ready file has other passwords")
			}
			for login, password := range map[string]string{r.ready.Login: c.admin, r.ready.LowLogin: c.low} {
				body := fmt.Sprintf(`{"login":%q,"password":%q}`, login, password)
				if status, _ := call(t, http.MethodPost, r.ready.REST+"/auth/login", "", body); status != http.StatusOK {
					t.Errorf("%s: HTTP %d", login, status)
				}
			}
		})
	}
}

func TestShowCredentials(t *testing.T) {
	t.Parallel()
	users := write(t, `[{"user_id": 1, "login_name": "admin", "password": "pass word", "auth_level": "NetworkAdmin", "api_key": "key-1"},
		{"user_id": 22, "login_name": "low", "password": "p", "no_api_key": true}]`)
	quiet, shown := launch(t, "--users", users), launch(t, "--users", users, "--show-credentials")
	if out := quiet.out.String(); strings.Contains(out, "pass word") || strings.Contains(out, "key-1") {
		t.Error("credentials are shown without the flag")
	}
	want := `LoginName  UserID  AuthLevel     Password   API key
admin      1       NetworkAdmin  pass word  key-1
low        22      MailboxUser   p          -
`
	if out := shown.out.String(); !strings.HasPrefix(out, want) {
		t.Errorf("shown:\n%s\nwant:\n%s", out, want)
	}
}

// get fetches the WSDL under a host name of the certificate.
func get(t *testing.T, r running, ca []byte, name string) error {
	t.Helper()
	if !strings.HasPrefix(r.ready.WSDL, "https://") {
		t.Errorf("wsdl is %s", r.ready.WSDL)
	}
	config := testcert.ClientConfig(ca)
	config.ServerName = name
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	resp, err := client.Get(r.ready.WSDL)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func TestHosts(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	r := launch(t, "--tls", "--ca-file", file, "--host", "simulator", "--host", "ecgrid.test")
	ca, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"simulator", "ecgrid.test", "127.0.0.1"} {
		if err := get(t, r, ca, name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if get(t, r, ca, "elsewhere.test") == nil {
		t.Error("the certificate is for every name")
	}
}

func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	authority, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := authority.Issue("own.test")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := testcert.EncodePEM(issued)
	if err != nil {
		t.Fatal(err)
	}
	r := launch(t, "--tls-cert", writeNamed(t, "cert.pem", string(cert)), "--tls-key", writeNamed(t, "key.pem", string(key)))
	if err := get(t, r, authority.PEM, "own.test"); err != nil {
		t.Error(err)
	}
}

// The log has a line for each request and no secret, in a file or on standard output.
func TestLogFlag(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	line := regexp.MustCompile(`(?m)^time=\S+Z transport=rest op=Login user=1001 status=200 outcome=ok ms=\d+\.\d$`)
	for _, to := range []string{file, "-"} {
		r := launch(t, "--log", to)
		login := strings.NewReplacer("&", `\u0026`, "<", `\u003c`).Replace(r.ready.Password)
		if status, _ := call(t, http.MethodPost, r.ready.REST+"/auth/login", "", `{"login":"sim-admin","password":"`+login+`"}`); status != http.StatusOK {
			t.Fatalf("HTTP %d", status)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		text := r.out.String()
		if to == file {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text = string(raw)
		}
		if !line.MatchString(text) {
			t.Errorf("--log %s: %q", to, text)
		}
		if strings.Contains(text, r.ready.Password) {
			t.Errorf("--log %s has a password", to)
		}
	}
}

func TestFaultAndLatencyFlags(t *testing.T) {
	t.Parallel()
	r := launch(t, "--fault", "Version=status,status=502,count=1", "--fault", `{"op":"WhoAmI","cause":"system-error"}`, "--latency", "20ms-30ms")
	for i, c := range []struct {
		path string
		want int
	}{{"/auth/version", http.StatusBadGateway}, {"/auth/version", http.StatusOK}, {"/users/me", http.StatusInternalServerError}} {
		started := time.Now()
		resp, err := http.Get(r.ready.REST + c.path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want || time.Since(started) < 20*time.Millisecond {
			t.Errorf("call %d: HTTP %d after %v, want %d", i+1, resp.StatusCode, time.Since(started), c.want)
		}
	}
}

// A file of an earlier run is gone before this one listens.
func TestOldReadyFile(t *testing.T) {
	t.Parallel()
	old := writeNamed(t, "ready", "old")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, []string{"--ready-file", old, "--listen", "no-port"}, &output{}); err == nil {
		t.Error("started")
	}
	if _, err := os.Stat(old); err == nil {
		t.Error("the old ready file is still there")
	}
}

func TestMoreRefusals(t *testing.T) {
	t.Parallel()
	missing, empty := filepath.Join(t.TempDir(), "missing", "file"), writeNamed(t, "empty", "\n")
	for name, c := range map[string]struct {
		args  []string
		wrong string
	}{
		"certificate alone":   {[]string{"--tls-cert", "f"}, "--tls-cert and --tls-key go together"},
		"key alone":           {[]string{"--tls-key", "f"}, "--tls-cert and --tls-key go together"},
		"two certificates":    {[]string{"--tls-cert", "f", "--tls-key", "f", "--tls", "--ca-file", "f"}, "--tls-cert replaces"},
		"a CA of another":     {[]string{"--tls-cert", "f", "--tls-key", "f", "--ca-file", "f"}, "--tls-cert replaces"},
		"no certificate":      {[]string{"--tls-cert", missing, "--tls-key", missing}, "--tls-cert, --tls-key: open"},
		"host without TLS":    {[]string{"--host", "a"}, "--host needs --tls"},
		"two passwords":       {[]string{"--admin-password", "a", "--admin-password-file", "f"}, "exclude each other"},
		"two low passwords":   {[]string{"--low-password", "a", "--low-password-file", "f"}, "exclude each other"},
		"no password file":    {[]string{"--admin-password-file", missing}, "--admin-password-file"},
		"empty password file": {[]string{"--low-password-file", empty}, "is empty"},
		"no such admin":       {[]string{"--admin-password", "a", "--users", write(t, `[{"user_id": 1, "login_name": "a"}]`)}, "--admin-password: there is no NetworkAdmin"},
		"latency":             {[]string{"--latency", "50"}, "--latency: \"50\" is not a latency"},
		"log":                 {[]string{"--log", missing}, "--log: open"},
		"fault":               {[]string{"--fault", "Login=explode"}, `--fault Login=explode: unknown answer "explode" (see --help)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := run(ctx, c.args, &output{}); err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

// The memory of the command is bounded: 20,000 requests over both transports leave nothing.
func TestMemoryIsBounded(t *testing.T) {
	const requests = 20_000
	c := settings{clientIP: "request", sessionCap: 5, idle: time.Hour, tokenLife: time.Hour, rateLimit: 1_000_000}
	options, err := c.options()
	if err != nil {
		t.Fatal(err)
	}
	options.Log = func(simulator.LogEntry) {}
	s, err := simulator.New(options)
	if err != nil {
		t.Fatal(err)
	}
	admin, _ := s.User(simulator.AdminUserID)
	before := heap()
	for i := range requests / 5 {
		fresh := fmt.Sprintf("New-pass-%d", i)
		send(s, http.MethodPut, "/auth/password", admin.APIKey, toJSON(t, map[string]string{"currentPassword": admin.Password, "newPassword": fresh}))
		admin.Password = fresh
		send(s, http.MethodPost, "/auth/login", "", toJSON(t, map[string]string{"login": admin.LoginName, "password": fresh})) // refused once the table is full
		send(s, http.MethodPost, "/users/key-generate/5001", admin.APIKey, "")
		sendSOAP(s, "UserInfo", fmt.Sprintf("<SessionID>unknown %d</SessionID><UserID>5001</UserID>", i))
		send(s, http.MethodPost, "/auth/login", "", "{")
	}
	kept := s.Kept()
	if kept.Calls > 2 || kept.Exchanges != 0 || kept.Secrets > 2 || kept.Sessions > 5*len(s.Users()) || kept.Faults != 0 || kept.Late != 0 {
		t.Errorf("kept after %d requests: %+v", requests, kept)
	}
	if state := s.State(); state.BadRequests != requests/5 || state.Calls["UserInfo"] != requests/5 || state.OpenTokens != 5 {
		t.Errorf("%d bad requests, calls %v: not what was sent", state.BadRequests, state.Calls)
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func send(s *simulator.Simulator, method, path, key, body string) {
	r := httptest.NewRequest(method, simulator.RESTPath+path, strings.NewReader(body))
	r.Header.Set("X-API-Key", key)
	r.Header.Set("Content-Type", "application/json")
	s.ServeHTTP(httptest.NewRecorder(), r)
}

func sendSOAP(s *simulator.Simulator, op, args string) {
	r := httptest.NewRequest(http.MethodPost, simulator.SOAPPath, strings.NewReader(
		`<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><`+op+` xmlns="https://os.ecgrid.io/">`+args+`</`+op+`></e:Body></e:Envelope>`))
	r.Header.Set("Content-Type", "text/xml")
	r.Header.Set("SOAPAction", `"https://os.ecgrid.io/`+op+`"`)
	s.ServeHTTP(httptest.NewRecorder(), r)
}
