// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/testcert"
)

// output collects what the command prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// running is the command in a goroutine.
type running struct {
	ready ready
	line  []byte
	out   *output
	stop  func() error
}

func launch(t *testing.T, args ...string) running {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ready")
	ctx, cancel := context.WithCancel(t.Context())
	r := running{out: &output{}}
	done := make(chan error, 1)
	go func() { done <- run(ctx, append(args, "--ready-file", file), r.out) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = r.stop() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		line, err := os.ReadFile(file)
		if err == nil {
			r.line = line
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no ready file; the command prints: %s", r.out)
		}
		select {
		case err := <-done:
			t.Fatalf("ended: %v", err)
		default:
		}
	}
	if err := json.Unmarshal(r.line, &r.ready); err != nil {
		t.Fatalf("the ready file is not JSON: %v", err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the ready file has mode %v, %v", info.Mode(), err)
	}
	return r
}

func TestReadyFile(t *testing.T) {
	t.Parallel()
	r := launch(t)
	if bytes.Count(r.line, []byte("\n")) != 1 || !bytes.HasSuffix(r.line, []byte("}\n")) {
		t.Error("not exactly one line")
	}
	var keys map[string]any
	if err := json.Unmarshal(r.line, &keys); err != nil || len(keys) != 8 {
		t.Errorf("%d keys, %v", len(keys), err)
	}
	if !bytes.Contains(r.line, []byte(`"password":"&<`)) {
		t.Error("the password is escaped: a shell script would read something else")
	}
	got := r.ready
	if got.Login != "sim-admin" || got.LowLogin != "sim-mailbox-user" || got.UserID != 5001 || got.LowPassword == "" {
		t.Errorf("login %q, low_login %q, user_id %d", got.Login, got.LowLogin, got.UserID)
	}
	if !strings.HasPrefix(got.SOAP, "http://127.0.0.1:") || got.WSDL != got.SOAP+"?WSDL" || !strings.HasSuffix(got.REST, "/v2") {
		t.Errorf("URLs %s, %s, %s", got.SOAP, got.WSDL, got.REST)
	}
	resp, err := http.Get(got.WSDL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("WSDL: HTTP %d", resp.StatusCode)
	}
	if err := r.stop(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if out := r.out.String(); strings.Contains(out, got.Password) || strings.Contains(out, got.LowPassword) || !strings.Contains(out, got.SOAP) {
		t.Error("the output has a password, or does not have the URL")
	}
	if _, err := http.Get(got.WSDL); err == nil {
		t.Error("still listening")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	r := launch(t, "--tls", "--ca-file", file)
	ca, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: testcert.ClientConfig(ca), DisableKeepAlives: true}}
	resp, err := client.Get(r.ready.WSDL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if !strings.HasPrefix(r.ready.SOAP, "https://") {
		t.Errorf("soap is %s", r.ready.SOAP)
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestUsersFile(t *testing.T) {
	t.Parallel()
	r := launch(t, "--users", write(t, `[
		{"user_id": 7, "login_name": "low", "password": "low password"},
		{"user_id": 8, "login_name": "admin", "auth_level": "NetworkAdmin"},
		{"user_id": 9, "login_name": "keyless", "no_api_key": true},
		{"user_id": 10, "login_name": "app"}]`))
	if got := r.ready; got.Login != "admin" || got.LowLogin != "low" || got.LowPassword != "low password" || got.UserID != 10 || got.Password == "" {
		t.Errorf("login %q, low_login %q, user_id %d, or a password is wrong", got.Login, got.LowLogin, got.UserID)
	}
}

// soap calls an operation. It returns 0 if there is no answer.
func soap(t *testing.T, client *http.Client, url, op, args string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(
		`<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><`+op+` xmlns="https://os.ecgrid.io/">`+args+`</`+op+`></e:Body></e:Envelope>`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "text/xml")
	r.Header.Set("SOAPAction", `"https://os.ecgrid.io/`+op+`"`)
	resp, err := client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b.String()
}

func TestClientIP(t *testing.T) {
	t.Parallel()
	for value, want := range map[string][2]int{"real": {200, 200}, "connection": {200, 500}, "request": {500, 500}} {
		t.Run(value, func(t *testing.T) {
			t.Parallel()
			r := launch(t, "--client-ip", value, "--users", write(t, `[{"user_id": 1, "login_name": "a", "password": "p", "auth_level": "NetworkAdmin"}]`))
			same, other := &http.Client{Transport: &http.Transport{}}, &http.Client{Transport: &http.Transport{}}
			t.Cleanup(same.CloseIdleConnections)
			t.Cleanup(other.CloseIdleConnections)
			_, body := soap(t, same, r.ready.SOAP, "Login", "<LoginName>a</LoginName><Password>p</Password>")
			_, id, _ := strings.Cut(body, "<LoginResult>")
			id, _, ok := strings.Cut(id, "</LoginResult>")
			if !ok {
				t.Fatal("no session")
			}
			for i, client := range []*http.Client{same, other} {
				if status, _ := soap(t, client, r.ready.SOAP, "WhoAmI", "<SessionID>"+id+"</SessionID>"); status != want[i] {
					t.Errorf("same connection %v: HTTP %d, want %d", i == 0, status, want[i])
				}
			}
		})
	}
}

func TestForgetIdle(t *testing.T) {
	t.Parallel()
	// A new connection is always idle for 1 ns, and never for 1 h.
	for idle, c := range map[string]struct {
		timeout time.Duration
		want    int
	}{"1ns": {200 * time.Millisecond, 0}, "1h": {time.Minute, 200}} {
		r := launch(t, "--forget-idle", idle)
		client := &http.Client{Transport: &http.Transport{}, Timeout: c.timeout}
		t.Cleanup(client.CloseIdleConnections)
		if status, _ := soap(t, client, r.ready.SOAP, "Version", ""); status != c.want {
			t.Errorf("--forget-idle %s: HTTP %d, want %d", idle, status, c.want)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing", "file")
	for name, c := range map[string]struct {
		args  []string
		wrong string
	}{
		"argument":        {[]string{"start"}, `unexpected argument "start"`},
		"TLS alone":       {[]string{"--tls"}, "--tls and --ca-file go together"},
		"CA alone":        {[]string{"--ca-file", "f"}, "--tls and --ca-file go together"},
		"idle":            {[]string{"--session-idle", "0s"}, "--session-idle must be above 0"},
		"cap":             {[]string{"--session-cap", "0"}, "--session-cap must be at least 1"},
		"client IP":       {[]string{"--client-ip", "mine"}, "--client-ip must be real, connection or request"},
		"token life":      {[]string{"--token-life", "0s"}, "--token-life must be above 0"},
		"rate limit":      {[]string{"--rate-limit", "-1"}, "--rate-limit must not be below 0"},
		"forget":          {[]string{"--forget-idle", "-1s"}, "--forget-idle must not be below 0"},
		"listen":          {[]string{"--listen", "no-port"}, "no-port"},
		"ready file":      {[]string{"--ready-file", missing}, "--ready-file"},
		"CA file":         {[]string{"--tls", "--ca-file", missing}, "--ca-file"},
		"no users file":   {[]string{"--users", missing}, "--users"},
		"users no JSON":   {[]string{"--users", write(t, "user")}, "not a JSON list of users"},
		"users no list":   {[]string{"--users", write(t, `{"user_id": 1}`)}, "not a JSON list of users"},
		"unknown field":   {[]string{"--users", write(t, `[{"user_id": 1, "login": "a"}]`)}, `unknown field "login"`},
		"two lists":       {[]string{"--users", write(t, `[{"user_id": 1, "login_name": "a"}] []`)}, "more than one"},
		"no users":        {[]string{"--users", write(t, `[]`)}, "at least one"},
		"null":            {[]string{"--users", write(t, `null`)}, "at least one"},
		"user":            {[]string{"--users", write(t, `[{"user_id": 1}]`)}, "user 1: login_name is missing"},
		"id not a number": {[]string{"--users", write(t, `[{"user_id": "1", "login_name": "a"}]`)}, "not a JSON list of users"},
		"unknown flag":    {[]string{"--unknown"}, "-unknown (see --help)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // a command that starts ends at once
			err := run(ctx, c.args, &output{})
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("got %v, want %q", err, c.wrong)
			}
		})
	}
}

// call sends a REST request. It returns the status and the token in the answer, if any.
func call(t *testing.T, method, url, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Token string `json:"token"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer.Data.Token
}

func TestTokenLife(t *testing.T) {
	t.Parallel()
	for life, want := range map[string]int{"1ns": http.StatusUnauthorized, "1h": http.StatusOK} {
		r := launch(t, "--token-life", life, "--users", write(t, `[{"user_id": 1, "login_name": "a", "password": "p", "auth_level": "NetworkAdmin"}]`))
		_, token := call(t, http.MethodPost, r.ready.REST+"/auth/login", "", `{"login":"a","password":"p"}`)
		if status, _ := call(t, http.MethodGet, r.ready.REST+"/users/me", token, ""); token == "" || status != want {
			t.Errorf("--token-life %s: HTTP %d, want %d", life, status, want)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	r := launch(t, "--rate-limit", "1")
	for range 100 { // two of them are in one second
		if status, _ := call(t, http.MethodPost, r.ready.REST+"/auth/login", "", `{"login":"a","password":"p"}`); status == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("no call was limited")
}

func TestVersionAndHelp(t *testing.T) {
	t.Parallel()
	var out output
	if err := run(t.Context(), []string{"--version"}, &out); err != nil || out.String() != "ecgrid-simulator dev (unknown)\n" {
		t.Errorf("--version: %q, %v", out.String(), err)
	}
	var help output
	if err := run(t.Context(), []string{"-help"}, &help); err != nil {
		t.Errorf("-help: %v", err)
	}
	for _, want := range []string{"-ready-file", "login_name", "no_api_key", "Suspended"} {
		if !strings.Contains(help.String(), want) {
			t.Errorf("-help does not mention %s", want)
		}
	}
}
