package ecgrid

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

// update rewrites the golden file: go test -run OpenAPI . -update
var update = flag.Bool("update", false, "write testdata/openapi.json anew")

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

		// Of the path, not of the operation.
		method, path string
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

// ownOpenAPI is the plugin's own document, as its framework writes it. What a
// plugin cannot know, or what changes with Vault, is set here.
func ownOpenAPI(t *testing.T) []byte {
	t.Helper()
	system := logical.TestSystemView()
	system.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "any"} // the framework takes it for granted
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
	var doc map[string]any
	if err := json.Unmarshal(raw, &doc); err != nil {
		t.Fatal(err)
	}
	doc["info"] = map[string]any{
		"title":       "vault-plugin-ecgrid",
		"description": "The ECGrid secrets engine for HashiCorp Vault. A response schema describes the data of Vault's answer; durations are sent as whole seconds or as a string with a unit.",
		"version":     "v1",
	}
	doc["servers"] = []any{map[string]any{
		"url":       "/v1/{mount}",
		"variables": map[string]any{"mount": map[string]any{"default": "ecgrid", "description": "Where the engine is mounted."}},
	}}
	doc["components"].(map[string]any)["securitySchemes"] = map[string]any{
		"token": map[string]any{"type": "apiKey", "in": "header", "name": "X-Vault-Token"},
	}
	doc["security"] = []any{map[string]any{"token": []any{}}}
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
	was, is := strings.Split(string(golden), "\n"), strings.Split(string(own), "\n")
	for i := range is {
		if i >= len(was) || was[i] != is[i] {
			t.Fatalf("%s, line %d, is not what the plugin says: %q. After a wanted change: go test -run OpenAPIGolden . -update",
				goldenOpenAPI, i+1, strings.TrimSpace(is[i]))
		}
	}
	t.Fatalf("%s is longer than what the plugin says", goldenOpenAPI)
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

// operations are all of them, with the path's parameters added; LIST is told
// from GET by its required query parameter.
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

// schema follows a reference.
func (doc openAPI) schema(t *testing.T, c oasContent) oasSchema {
	t.Helper()
	s := c["application/json"].Schema
	if s.Ref == "" {
		return s
	}
	name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/")
	found, known := doc.Components.Schemas[name]
	if !ok || !known {
		t.Fatalf("%s leads nowhere", s.Ref)
	}
	return found
}

// fields are what an operation takes: of the path, the query and the body.
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

// answered are the fields of the answer; none for a 204.
func (doc openAPI) answered(t *testing.T, op oasOperation) map[string]oasSchema {
	t.Helper()
	r, ok := op.Responses["200"]
	if !ok {
		return nil
	}
	return doc.schema(t, r.Content).Properties
}

// wantedOperations is the table of the engine's paths, which other people's
// policies and tools depend on.
var wantedOperations = []string{
	"LIST /keys", "GET /keys/{user_id}",
	"LIST /roles", "GET /roles/{name}", "POST /roles/{name}", "PATCH /roles/{name}", "DELETE /roles/{name}",
	"GET /config", "POST /config", "PATCH /config", "DELETE /config",
	"GET /creds/{name}",
	"POST /rotate-root", "POST /rotate-key/{user_id}", "POST /rotate-role/{name}",
	"GET /status", "GET /info",
}

var operationID = regexp.MustCompile(`^ecgrid-(read|write|patch|delete|list|generate|rotate)-[a-z]+$`)

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
			if secret := p.Name == fieldPassword || p.Name == fieldAPIKey; secret != p.Schema.Display.Sensitive {
				t.Errorf("%s %s: sensitive is %v", name, p.Name, !secret)
			}
			if _, text := p.Schema.Default.(string); p.Schema.Default != nil && text != (p.Schema.Type == "string") {
				t.Errorf("%s %s: default %v is no %s", name, p.Name, p.Schema.Default, p.Schema.Type)
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

// checkResponses: an operation answers either a 200 with fields or a 204, and
// says what its failures mean.
func checkResponses(t *testing.T, doc openAPI, op oasOperation, name string) {
	t.Helper()
	answered := doc.answered(t, op)
	if _, empty := op.Responses["204"]; empty == (len(answered) > 0) {
		t.Errorf("%s has to answer either fields or 204", name)
	}
	for field, s := range answered {
		checkDescription(t, name+" answers "+field, s.Description)
		if s.Type == "" || s.Default != nil {
			t.Errorf("%s answers %s: type %q, default %v", name, field, s.Type, s.Default)
		}
		if (field == fieldAPIKey) != s.Display.Sensitive {
			t.Errorf("%s answers %s: sensitive is %v", name, field, s.Display.Sensitive)
		}
		if field == fieldPassword || field == fieldAPIKey && !slices.Contains([]string{"ecgrid-read-key", "ecgrid-generate-credentials"}, op.OperationID) {
			t.Errorf("%s answers %s", name, field)
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
		t.Errorf("%s: description %q is no sentence", of, description)
	}
}

// documented is a section of docs/api.md.
type documented struct {
	heading    string
	operations []string            // "POST /config"
	parameters map[string]string   // name: "type: default"
	response   map[string]string   // name: "type"
	statuses   map[string]struct{} // codes
}

var (
	methodRow    = regexp.MustCompile("^\\| `([A-Z]+)` +\\| `/ecgrid(/[^`]*)` +\\|$")
	statusRow    = regexp.MustCompile(`^\| (\d{3}) \|`)
	parameterRow = regexp.MustCompile("^- `(\\w+)` `\\((.+)\\)` – .")
)

func readAPIDocs(t *testing.T) []documented {
	t.Helper()
	raw, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []documented
	part := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\n")
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			sections = append(sections, documented{heading, nil, map[string]string{}, map[string]string{}, map[string]struct{}{}})
			part = ""
		}
		if heading, ok := strings.CutPrefix(line, "### "); ok {
			part = heading
		}
		if len(sections) == 0 {
			continue
		}
		s := &sections[len(sections)-1]
		if m := methodRow.FindStringSubmatch(line); m != nil {
			s.operations = append(s.operations, m[1]+" "+strings.NewReplacer(":user_id", "{user_id}", ":name", "{name}").Replace(m[2]))
		}
		if m := statusRow.FindStringSubmatch(line); m != nil && part == "Status codes" {
			s.statuses[m[1]] = struct{}{}
		}
		m := parameterRow.FindStringSubmatch(line)
		switch {
		case m == nil && strings.HasPrefix(line, "- `"):
			t.Errorf("docs/api.md, %s: not in the form of a parameter: %s", s.heading, line)
		case m != nil && part == "Parameters":
			s.parameters[m[1]] = m[2]
		case m != nil && part == "Response fields":
			s.response[m[1]] = m[2]
		}
	}
	return sections
}

// TestAPIDocs holds docs/api.md against the OpenAPI document: the same
// operations, parameters, types, defaults, answers and status codes, no more.
func TestAPIDocs(t *testing.T) {
	doc := loadOpenAPI(t)
	byName := map[string]oasOperation{}
	for _, op := range doc.operations(t) {
		byName[op.method+" "+op.path] = op
	}
	seen := map[string]bool{}
	for _, s := range readAPIDocs(t) {
		for _, name := range s.operations {
			op, ok := byName[name]
			if !ok {
				t.Errorf("%s: there is no %s", s.heading, name)
				continue
			}
			if seen[name] {
				t.Errorf("%s: %s is documented twice", s.heading, name)
			}
			seen[name] = true
			parameters := map[string]string{}
			for field, p := range doc.fields(t, op) {
				parameters[field] = typeAndDefault(p)
			}
			sameMap(t, s.heading+": parameters", s.parameters, parameters)
			response := map[string]string{}
			for field, schema := range doc.answered(t, op) {
				response[field] = docType(schema)
			}
			sameMap(t, s.heading+": response fields", s.response, response)
			for code := range op.Responses {
				if _, ok := s.statuses[code]; !ok {
					t.Errorf("%s: status %s is missing", s.heading, code)
				}
			}
			if len(s.statuses) != len(op.Responses) {
				t.Errorf("%s: %d status codes, %s has %d", s.heading, len(s.statuses), name, len(op.Responses))
			}
		}
	}
	for name := range byName {
		if !seen[name] {
			t.Errorf("docs/api.md has no section of %s", name)
		}
	}
}

func sameMap(t *testing.T, what string, docs, api map[string]string) {
	t.Helper()
	for name, want := range api {
		if got, ok := docs[name]; !ok {
			t.Errorf("%s: %s is missing", what, name)
		} else if got != want {
			t.Errorf("%s: %s is (%s), want (%s)", what, name, got, want)
		}
	}
	for name := range docs {
		if _, ok := api[name]; !ok {
			t.Errorf("%s: there is no %s", what, name)
		}
	}
}

func docType(s oasSchema) string {
	switch {
	case s.Format == "duration":
		return "duration"
	case s.Format == "date-time":
		return "time"
	case s.Type == "boolean":
		return "bool"
	case s.Type == "integer":
		return "int"
	}
	return s.Type
}

func typeAndDefault(p oasParameter) string {
	kind := docType(p.Schema)
	if p.In == "query" && p.Name == fieldTTL {
		kind = "duration" // the framework leaves the format of a query parameter out
	}
	switch {
	case p.Required:
		return kind + ": <required>"
	case p.Schema.Default != nil && kind == "string":
		return fmt.Sprintf("%s: %q", kind, p.Schema.Default)
	case p.Schema.Default != nil:
		return fmt.Sprintf("%s: %v", kind, p.Schema.Default)
	}
	return kind + ": " + map[string]string{"string": `""`, "duration": "0", "bool": "false"}[kind]
}
