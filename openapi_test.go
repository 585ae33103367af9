// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// update rewrites the golden file: go test -run OpenAPI . -update
var update = flag.Bool("update", false, "rewrite testdata/openapi.json")

const goldenOpenAPI = "testdata/openapi.json"

// The part of OpenAPI 3.0 that the framework writes.
type (
	openAPI struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]oasSchema `json:"schemas"`
		} `json:"components"`
	}
	oasOperation struct {
		OperationID string         `json:"operationId"`
		Summary     string         `json:"summary"`
		Parameters  []oasParameter `json:"parameters"`
		RequestBody *struct {
			Content oasContent `json:"content"`
		} `json:"requestBody"`
		Responses map[string]struct {
			Description string     `json:"description"`
			Content     oasContent `json:"content"`
		} `json:"responses"`

		method, path string // not part of the operation in OpenAPI
	}
	oasParameter struct {
		Name        string    `json:"name"`
		In          string    `json:"in"`
		Description string    `json:"description"`
		Required    bool      `json:"required"`
		Schema      oasSchema `json:"schema"`
	}
	oasContent map[string]struct {
		Schema oasSchema `json:"schema"`
	}
	oasSchema struct {
		Ref         string               `json:"$ref"`
		Type        string               `json:"type"`
		Format      string               `json:"format"`
		Description string               `json:"description"`
		Default     any                  `json:"default"`
		Required    []string             `json:"required"`
		Properties  map[string]oasSchema `json:"properties"`
		Display     struct {
			Sensitive bool `json:"sensitive"`
		} `json:"x-vault-displayAttrs"`
	}
)

// ownOpenAPI is the OpenAPI document that the framework generates for the plugin. It sets
// the parts that a plugin does not know, or that depend on the Vault version.
func ownOpenAPI(t *testing.T) []byte {
	t.Helper()
	system := logical.TestSystemView()
	system.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "any"} // the framework requires it
	b, err := new(Plugin).Factory(t.Context(), &logical.BackendConfig{System: system, StorageView: new(logical.InmemStorage)})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(resp.Data["openapi"])
	if err != nil {
		t.Fatal(err)
	}
	var doc fields
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	doc["info"] = fields{
		"title":       "vault-plugin-ecgrid",
		"description": "The ECGrid secrets engine for HashiCorp Vault. A response schema describes the data of Vault's answer; durations are sent as whole seconds or as a string with a unit.",
		"version":     "v1",
	}
	doc["servers"] = []any{fields{
		"url":       "/v1/{mount}",
		"variables": fields{"mount": fields{"default": "ecgrid", "description": "Where the engine is mounted."}},
	}}
	doc["components"].(fields)["securitySchemes"] = fields{
		"token": fields{"type": "apiKey", "in": "header", "name": "X-Vault-Token"},
	}
	doc["security"] = []any{fields{"token": []any{}}}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestOpenAPIGolden(t *testing.T) {
	own := ownOpenAPI(t)
	if *update {
		if err := os.WriteFile(goldenOpenAPI, own, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(goldenOpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(own, golden) {
		return
	}
	want, got := strings.Split(string(golden), "\n"), strings.Split(string(own), "\n")
	for i := range got {
		if i >= len(want) || want[i] != got[i] {
			t.Fatalf("%s, line %d, differs from the plugin: %q. If you want this change, run: go test -run OpenAPIGolden . -update",
				goldenOpenAPI, i+1, strings.TrimSpace(got[i]))
		}
	}
	t.Fatalf("%s is longer than the plugin's document", goldenOpenAPI)
}

func loadOpenAPI(t *testing.T) openAPI {
	t.Helper()
	raw, err := os.ReadFile(goldenOpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// operations returns all operations, with the parameters of their paths. A LIST is a
// GET with a query parameter named list.
func (doc openAPI) operations(t *testing.T) []oasOperation {
	t.Helper()
	var all []oasOperation
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		var common []oasParameter
		if raw, ok := item["parameters"]; ok {
			if err := json.Unmarshal(raw, &common); err != nil {
				t.Fatal(err)
			}
		}
		for _, method := range []string{"get", "post", "patch", "delete"} {
			raw, ok := item[method]
			if !ok {
				continue
			}
			var op oasOperation
			if err := json.Unmarshal(raw, &op); err != nil {
				t.Fatal(err)
			}
			op.method, op.path = strings.ToUpper(method), path
			if i := slices.IndexFunc(op.Parameters, func(p oasParameter) bool { return p.Name == "list" }); i >= 0 {
				op.method, op.path = "LIST", strings.TrimSuffix(path, "/")
				op.Parameters = slices.Delete(op.Parameters, i, i+1)
			}
			op.Parameters = append(common, op.Parameters...)
			all = append(all, op)
		}
	}
	return all
}

// schema returns the schema of a content, and follows a reference.
func (doc openAPI) schema(t *testing.T, c oasContent) oasSchema {
	t.Helper()
	s := c["application/json"].Schema
	if s.Ref == "" {
		return s
	}
	name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
	found, known := doc.Components.Schemas[name]
	if !ok || !known {
		t.Fatalf("%s does not exist", s.Ref)
	}
	return found
}

// fields returns the request fields of an operation: path, query and body.
func (doc openAPI) fields(t *testing.T, op oasOperation) map[string]oasParameter {
	t.Helper()
	all := map[string]oasParameter{}
	for _, p := range op.Parameters {
		all[p.Name] = p
	}
	if op.RequestBody != nil {
		body := doc.schema(t, op.RequestBody.Content)
		for name, s := range body.Properties {
			all[name] = oasParameter{Name: name, In: "body", Description: s.Description, Schema: s, Required: slices.Contains(body.Required, name)}
		}
	}
	return all
}

// responseFields returns the fields of a 200 response.
func (doc openAPI) responseFields(t *testing.T, op oasOperation) map[string]oasSchema {
	t.Helper()
	r, ok := op.Responses["200"]
	if !ok {
		return nil
	}
	return doc.schema(t, r.Content).Properties
}

// wantedOperations lists the operations that policies and tools of users depend on.
var wantedOperations = []string{
	"LIST /keys", "GET /keys/{user_id}",
	"LIST /roles", "GET /roles/{name}", "POST /roles/{name}", "PATCH /roles/{name}", "DELETE /roles/{name}",
	"GET /config", "POST /config", "PATCH /config", "DELETE /config",
	"GET /creds/{name}", "GET /static-creds/{name}",
	"POST /rotate-root", "POST /rotate-key/{user_id}", "POST /rotate-role/{name}",
	"GET /status", "GET /info", "GET /metrics",
}

var operationID = regexp.MustCompile(`^ecgrid-(read|write|patch|delete|list|generate|rotate)-[a-z]+(-[a-z]+)*$`)

func TestOpenAPIComplete(t *testing.T) {
	doc := loadOpenAPI(t)
	var have []string
	ids := map[string]bool{}
	for _, op := range doc.operations(t) {
		name := op.method + " " + op.path
		have = append(have, name)
		if !operationID.MatchString(op.OperationID) || ids[op.OperationID] {
			t.Errorf("%s: operationId %q is malformed or used twice", name, op.OperationID)
		}
		ids[op.OperationID] = true
		if op.Summary == "" {
			t.Errorf("%s has no summary", name)
		}
		for _, p := range doc.fields(t, op) {
			checkDescription(t, name+" "+p.Name, p.Description)
			if secret := p.Name == "password" || p.Name == "api_key"; secret != p.Schema.Display.Sensitive {
				t.Errorf("%s %s: sensitive is %v", name, p.Name, !secret)
			}
			if _, text := p.Schema.Default.(string); p.Schema.Default != nil && text != (p.Schema.Type == "string") {
				t.Errorf("%s %s: default %v is not a %s", name, p.Name, p.Schema.Default, p.Schema.Type)
			}
			if (p.In == "path") != strings.Contains(op.path, "{"+p.Name+"}") {
				t.Errorf("%s: %s is in %s", name, p.Name, p.In)
			}
		}
		checkResponses(t, doc, op, name)
	}
	slices.Sort(have)
	want := slices.Sorted(slices.Values(wantedOperations))
	if !slices.Equal(have, want) {
		t.Errorf("operations:\n%q\nwant\n%q", have, want)
	}
	for path, item := range doc.Paths {
		if string(item["description"]) == "" {
			t.Errorf("%s has no description", path)
		}
		if creates := string(item["x-vault-createSupported"]) == "true"; creates != (path == "/config" || path == "/roles/{name}") {
			t.Errorf("%s: createSupported is %v", path, creates)
		}
	}
}

// readsKey lists the operations that return a key.
var readsKey = []string{"ecgrid-read-key", "ecgrid-generate-credentials", "ecgrid-read-static-role-credentials"}

// readsText lists the operations that return no JSON.
var readsText = []string{"ecgrid-read-metrics"}

// checkResponses checks that an operation returns either a 200 with fields or a 204, or text, and
// that it describes its failures.
func checkResponses(t *testing.T, doc openAPI, op oasOperation, name string) {
	t.Helper()
	returned := doc.responseFields(t, op)
	_, empty := op.Responses["204"]
	if text := slices.Contains(readsText, op.OperationID); text && (len(returned) > 0 || len(op.Responses["200"].Content) != 1) {
		t.Errorf("%s must return text", name)
	} else if !text && empty == (len(returned) > 0) {
		t.Errorf("%s must return either fields or 204", name)
	}
	for field, s := range returned {
		checkDescription(t, name+" returns "+field, s.Description)
		if s.Type == "" || s.Default != nil {
			t.Errorf("%s returns %s: type %q, default %v", name, field, s.Type, s.Default)
		}
		if (field == "api_key") != s.Display.Sensitive {
			t.Errorf("%s returns %s: sensitive is %v", name, field, s.Display.Sensitive)
		}
		if field == "password" || field == "api_key" && !slices.Contains(readsKey, op.OperationID) {
			t.Errorf("%s returns %s", name, field)
		}
	}
	for code, r := range op.Responses {
		if r.Description == "" {
			t.Errorf("%s: %s has no description", name, code)
		}
	}
}

func checkDescription(t *testing.T, of, description string) {
	t.Helper()
	if len(description) < 10 || !strings.HasSuffix(description, ".") {
		t.Errorf("%s: description %q is not a sentence", of, description)
	}
}
