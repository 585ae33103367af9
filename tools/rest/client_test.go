// SPDX-License-Identifier: MPL-2.0

// Package rest drives the simulator's REST side with a client that oapi-codegen generates
// from its OpenAPI document. kin-openapi checks every request and answer against it.
package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/oapi-codegen/oapi-codegen/v2/pkg/codegen"
	_ "github.com/oapi-codegen/runtime" // the generated client imports it

	"vault-plugin-ecgrid/internal/simulator"
)

// input is the input of testdata/client, output its output.
type input struct {
	Base        string `json:"base"`
	Login       string `json:"login"`
	Password    string `json:"password"`
	NewPassword string `json:"new_password"`
	UserID      int32  `json:"user_id"`
	KeylessID   int32  `json:"keyless_id"`
}

type output struct {
	Version      string   `json:"version"`
	TokenUser    int32    `json:"token_user"`
	TokenExpires bool     `json:"token_expires"` // in the future
	SessionLevel string   `json:"session_level"`
	SessionEnds  bool     `json:"session_ends"`
	KeyEnds      bool     `json:"key_ends"` // the same for an API key
	Me           string   `json:"me"`
	User         string   `json:"user"`
	Key          string   `json:"key"`
	NoKey        bool     `json:"no_key"`
	NewKey       string   `json:"new_key"`
	Users        []string `json:"users"`
	SecondPage   []string `json:"second_page"`
	Reset        bool     `json:"reset"`
	Changed      bool     `json:"changed"`
	Refreshed    bool     `json:"refreshed"` // another token, and the old one is dead
	LoggedOut    bool     `json:"logged_out"`
	Errors       []string `json:"errors"`
}

func TestGeneratedClient(t *testing.T) {
	t.Parallel()
	sim, err := simulator.New(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	doc := loadDocument(t, "http://sim.test"+simulator.RESTPath)
	checked := newChecker(t, doc, sim)
	server := httptest.NewServer(checked)
	defer server.Close()
	admin, _ := sim.User(simulator.AdminUserID)
	before, _ := sim.User(simulator.UserID5001)
	sim.Inject(simulator.Fault{Op: "Version", Skip: 1, Answer: simulator.AnswerStatus, Status: http.StatusTooManyRequests})
	in := input{
		Base: server.URL + simulator.RESTPath, Login: admin.LoginName, Password: admin.Password, NewPassword: `N&w<1'"pass`,
		UserID: simulator.UserID5001, KeylessID: simulator.KeylessUserID,
	}

	out := run(t, build(t, generate(t, doc)), in)
	now, _ := sim.User(simulator.UserID5001)
	changed, _ := sim.User(simulator.AdminUserID)
	for what, ok := range map[string]bool{
		"version":      out.Version == simulator.RESTVersion,
		"token":        out.TokenUser == admin.UserID && out.TokenExpires,
		"session":      out.SessionLevel == "NetworkAdmin" && out.SessionEnds && !out.KeyEnds,
		"me":           out.Me == admin.LoginName,
		"user":         out.User == before.LoginName,
		"key":          out.Key == before.APIKey && out.Key != "",
		"no key":       out.NoKey,
		"new key":      out.NewKey == now.APIKey && now.APIKey != before.APIKey,
		"users":        slices.Equal(out.Users, []string{"sim-admin", "sim-mailbox-user", "sim-5001", "sim-5002", "sim-keyless"}),
		"second page":  slices.Equal(out.SecondPage, []string{"sim-5001", "sim-5002"}),
		"reset":        out.Reset,
		"new password": out.Changed && changed.Password == in.NewPassword,
		"refresh":      out.Refreshed,
		"logout":       out.LoggedOut && sim.OpenSessions() == 0,
		"errors":       slices.Equal(out.Errors, []string{"400 InvalidParameter", "401 InvalidAPIKey", "401 InvalidSession", "404 ObjectNotFound", "429 RateLimitExceeded"}),
	} {
		if !ok {
			t.Errorf("%s is not as expected", what)
		}
	}
	if len(checked.operations()) != 12 {
		t.Errorf("the client used %q, want all 12 operations", checked.operations())
	}
}

// generate writes a client of package main, and returns its file.
func generate(t *testing.T, doc *openapi3.T) string {
	t.Helper()
	code, err := codegen.Generate(doc, codegen.Configuration{
		PackageName: "main",
		Generate:    codegen.GenerateOptions{Client: true, Models: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "generated.go")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// build compiles testdata/client with the generated file, which an overlay puts beside it.
func build(t *testing.T, generated string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata", "client"))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(dir, "generated.go"): generated}})
	if err != nil {
		t.Fatal(err)
	}
	file, program := filepath.Join(t.TempDir(), "overlay.json"), filepath.Join(t.TempDir(), "client")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", program, "./testdata/client").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

func run(t *testing.T, program string, in input) (out output) {
	t.Helper()
	given, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(t.Context(), program)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(given), &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
