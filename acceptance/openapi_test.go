// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// apiClient builds its calls from testdata/openapi.json alone, as a generated client does.
type apiClient struct {
	*client
	mount string
	doc   apiDocument
}

type (
	apiDocument struct {
		Servers []struct {
			URL string `json:"url"`
		} `json:"servers"`
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]apiSchema `json:"schemas"`
		} `json:"components"`
	}
	apiOperation struct {
		OperationID string         `json:"operationId"`
		Parameters  []apiParameter `json:"parameters"`
		RequestBody *apiContent    `json:"requestBody"`
		Responses   map[string]apiContent
	}
	apiParameter struct {
		Name     string    `json:"name"`
		In       string    `json:"in"`
		Required bool      `json:"required"`
		Schema   apiSchema `json:"schema"`
	}
	apiContent struct {
		Content map[string]struct {
			Schema apiSchema `json:"schema"`
		} `json:"content"`
	}
	apiSchema struct {
		Ref         string               `json:"$ref"`
		Type        string               `json:"type"`
		Format      string               `json:"format"`
		Description string               `json:"description"`
		Enum        []any                `json:"enum"`
		Required    []string             `json:"required"`
		Properties  map[string]apiSchema `json:"properties"`
		Items       *apiSchema           `json:"items"`
	}
)

func newAPIClient(t *testing.T, m *mount) *apiClient {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repoRoot(), "testdata", "openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := &apiClient{client: m.client, mount: m.path}
	if err := json.Unmarshal(raw, &c.doc); err != nil {
		t.Fatal(err)
	}
	return c
}

// call sends one operation. It places the arguments and checks the answer as the document
// describes them.
func (c *apiClient) call(t *testing.T, id string, arguments fields) answer {
	t.Helper()
	method, template, op := c.operation(t, id)
	left := fields{}
	maps.Copy(left, arguments)
	query := url.Values{}
	for _, p := range op.Parameters {
		value, given := left[p.Name]
		delete(left, p.Name)
		if !given && p.Required && len(p.Schema.Enum) == 1 {
			value, given = p.Schema.Enum[0], true
		}
		switch {
		case !given && p.Required:
			t.Fatalf("%s needs %s", id, p.Name)
		case !given:
		case p.In == "path":
			template = strings.ReplaceAll(template, "{"+p.Name+"}", url.PathEscape(fmt.Sprint(value)))
		case p.In == "query":
			query.Set(p.Name, fmt.Sprint(value))
		default:
			t.Fatalf("%s: parameter %s is in %s", id, p.Name, p.In)
		}
	}
	body := c.body(t, id, op, left)
	path, ok := strings.CutPrefix(strings.ReplaceAll(c.doc.Servers[0].URL, "{mount}", c.mount)+template, "/v1/")
	if !ok {
		t.Fatalf("%s is not below /v1/", id)
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	a := c.send(t, request{strings.ToUpper(method), path, body})
	c.checkAnswer(t, id, op, a)
	return a
}

func (c *apiClient) operation(t *testing.T, id string) (method, template string, op apiOperation) {
	t.Helper()
	for template, item := range c.doc.Paths {
		for _, method := range []string{"get", "post", "patch", "delete"} {
			var op apiOperation
			if raw, ok := item[method]; !ok || json.Unmarshal(raw, &op) != nil || op.OperationID != id {
				continue
			}
			var common []apiParameter
			if raw, ok := item["parameters"]; ok && json.Unmarshal(raw, &common) != nil {
				t.Fatalf("%s: the parameters of its path cannot be read", id)
			}
			op.Parameters = append(op.Parameters, common...)
			return method, template, op
		}
	}
	t.Fatalf("there is no operation %s", id)
	return "", "", op
}

// body checks the arguments that are left against the schema of the body.
func (c *apiClient) body(t *testing.T, id string, op apiOperation, arguments fields) any {
	t.Helper()
	if op.RequestBody == nil {
		if len(arguments) > 0 {
			t.Fatalf("%s has no arguments %v", id, arguments)
		}
		return nil
	}
	if err := c.conforms(c.resolve(t, *op.RequestBody), arguments); err != nil {
		t.Fatalf("%s: the body does not conform: %v", id, err)
	}
	return arguments
}

func (c *apiClient) checkAnswer(t *testing.T, id string, op apiOperation, a answer) {
	t.Helper()
	documented, ok := op.Responses[fmt.Sprint(a.Status)]
	if !ok {
		t.Fatalf("%s answered %d, which is not documented: %s", id, a.Status, a.Body)
	}
	if a.Status >= 400 {
		return
	}
	if len(documented.Content) == 0 {
		if len(a.Body) > 0 {
			t.Errorf("%s answered a body, and none is documented: %s", id, a.Body)
		}
		return
	}
	if _, text := documented.Content["text/plain"]; text {
		if len(a.Body) == 0 || a.Body[0] == '{' {
			t.Errorf("%s did not answer text: %s", id, a.Body)
		}
		return
	}
	schema := c.resolve(t, documented)
	if err := c.conforms(schema, a.Data); err != nil {
		t.Errorf("%s: the answer does not conform: %v", id, err)
	}
	for name := range schema.Properties {
		if _, ok := a.Data[name]; !ok {
			t.Errorf("%s: the answer has no %s", id, name)
		}
	}
}

func (c *apiClient) resolve(t *testing.T, content apiContent) apiSchema {
	t.Helper()
	name, _ := strings.CutPrefix(content.Content["application/json"].Schema.Ref, "#/components/schemas/")
	schema, ok := c.doc.Components.Schemas[name]
	if !ok {
		t.Fatalf("no schema %q", name)
	}
	return schema
}

// conforms reports what the schema does not allow in an object.
func (c *apiClient) conforms(schema apiSchema, object fields) error {
	var errs []error
	for _, name := range schema.Required {
		if _, ok := object[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	for name, value := range object {
		property, ok := schema.Properties[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%s is not documented", name))
		} else if !fits(property, value) {
			errs = append(errs, fmt.Errorf("%s is a %T, documented as %s %s", name, value, property.Type, property.Format))
		}
	}
	return errors.Join(errs...)
}

func fits(s apiSchema, value any) bool {
	switch v := value.(type) {
	case nil:
		return strings.Contains(s.Description, "null")
	case string:
		if s.Format == "date-time" {
			_, err := time.Parse(time.RFC3339, v)
			return err == nil
		}
		return s.Type == "string"
	case bool:
		return s.Type == "boolean"
	case float64:
		return s.Type == "integer" && v == float64(int64(v))
	case []any:
		return s.Type == "array" && !slices.ContainsFunc(v, func(item any) bool { return !fits(*s.Items, item) })
	case map[string]any:
		return s.Type == "object"
	}
	return false
}

// TestOpenAPICalls sends every operation of the document.
func TestOpenAPICalls(t *testing.T) {
	t.Parallel()
	m := newMount(t, sharedVault(t))
	c := newAPIClient(t, m)
	is := func(status int, a answer) answer {
		t.Helper()
		if a.Status != status {
			t.Errorf("HTTP %d, want %d: %s", a.Status, status, a.Body)
		}
		return a
	}
	user := fields{"user_id": fmt.Sprint(simulator.UserID5001)}
	role := fields{"name": "orders"}

	is(http.StatusOK, c.call(t, "ecgrid-read-info", nil))
	is(http.StatusOK, c.call(t, "ecgrid-read-metrics", nil))
	is(http.StatusNotFound, c.call(t, "ecgrid-read-configuration", nil))
	is(http.StatusBadRequest, c.call(t, "ecgrid-read-key", user))
	is(http.StatusNotFound, c.call(t, "ecgrid-list-roles", nil))
	is(http.StatusNotFound, c.call(t, "ecgrid-patch-role", role))

	is(http.StatusNoContent, c.call(t, "ecgrid-write-configuration", m.loginConfig()))
	is(http.StatusNoContent, c.call(t, "ecgrid-patch-configuration", fields{"ttl": "30m"}))
	if a := is(http.StatusOK, c.call(t, "ecgrid-read-configuration", nil)); a.Data["ttl"] != 1800. {
		t.Errorf("ttl is %v, want 1800", a.Data["ttl"])
	}
	is(http.StatusOK, c.call(t, "ecgrid-read-status", nil))
	is(http.StatusOK, c.call(t, "ecgrid-list-keys", nil))
	if a := is(http.StatusOK, c.call(t, "ecgrid-read-key", fields{"user_id": user["user_id"], "ttl": "5m"})); a.LeaseDuration != 300 || a.Data["api_key"] != m.key(simulator.UserID5001) {
		t.Errorf("a lease of %d s, want 300 and the user's key", a.LeaseDuration)
	}
	is(http.StatusNotFound, c.call(t, "ecgrid-read-key", fields{"user_id": "999999"}))

	is(http.StatusBadRequest, c.call(t, "ecgrid-write-role", role))
	is(http.StatusNoContent, c.call(t, "ecgrid-write-role", fields{"name": "orders", "user_id": user["user_id"], "ttl": "10m", "rotation_period": "24h"}))
	is(http.StatusNoContent, c.call(t, "ecgrid-patch-role", fields{"name": "orders", "description": "for the order desk"}))
	is(http.StatusOK, c.call(t, "ecgrid-read-role", role))
	is(http.StatusOK, c.call(t, "ecgrid-list-roles", nil))
	if a := is(http.StatusOK, c.call(t, "ecgrid-generate-credentials", role)); a.LeaseDuration != 600 || a.Data["role"] != "orders" {
		t.Errorf("a lease of %d s of role %v, want 600 of orders", a.LeaseDuration, a.Data["role"])
	}

	before := m.key(simulator.UserID5001)
	is(http.StatusOK, c.call(t, "ecgrid-rotate-key", user))
	between := m.key(simulator.UserID5001)
	is(http.StatusOK, c.call(t, "ecgrid-rotate-role", role))
	if after := m.key(simulator.UserID5001); before == between || between == after {
		t.Error("a rotation has not replaced the key")
	}
	is(http.StatusOK, c.call(t, "ecgrid-rotate-root", nil))
	if a := is(http.StatusOK, c.call(t, "ecgrid-read-configuration", nil)); a.Data["last_root_rotation"] == nil {
		t.Error("config has no last_root_rotation")
	}
	is(http.StatusNoContent, c.call(t, "ecgrid-delete-role", role))
	is(http.StatusNoContent, c.call(t, "ecgrid-delete-configuration", nil))
}

// The real Vault shows the document of the repository for a mount. Vault drops the
// references in a plugin's document, so operations and schemas are compared one by one.
func TestOpenAPIOfVault(t *testing.T) {
	t.Parallel()
	m := newMount(t, sharedVault(t))
	c := newAPIClient(t, m)
	a := m.read(t, "sys/internal/specs/openapi")
	var shown apiDocument
	if err := json.Unmarshal(a.Body, &shown); err != nil {
		t.Fatal(err)
	}
	operations := func(doc apiDocument, prefix string) map[string]string {
		all := map[string]string{}
		for template, item := range doc.Paths {
			below, ok := strings.CutPrefix(template, prefix)
			for method, raw := range item {
				var op apiOperation
				if ok && json.Unmarshal(raw, &op) == nil && op.OperationID != "" {
					all[method+" "+below] = op.OperationID
				}
			}
		}
		return all
	}
	own, vaults := operations(c.doc, ""), operations(shown, "/"+m.path)
	if len(own) == 0 {
		t.Fatal("the document has no operations")
	}
	for name, id := range own {
		if vaults[name] != id {
			t.Errorf("%s: Vault shows operation %q, want %q", name, vaults[name], id)
		}
	}
	if len(vaults) != len(own) {
		t.Errorf("Vault shows %d operations, want %d", len(vaults), len(own))
	}
	for name, schema := range c.doc.Components.Schemas {
		if !sameJSON(shown.Components.Schemas[name], schema) {
			t.Errorf("Vault shows another schema %s", name)
		}
	}
}
