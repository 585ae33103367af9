package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
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

// apiClient makes its calls from testdata/openapi.json and nothing else, as a
// generated client does.
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

// call carries out one operation. Arguments go where the document says, and the
// answer has to be what it says.
func (c *apiClient) call(t *testing.T, id string, arguments fields) answer {
	t.Helper()
	method, template, op := c.operation(t, id)
	left := fields{}
	for name, value := range arguments {
		left[name] = value
	}
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
	target := strings.ReplaceAll(c.doc.Servers[0].URL, "{mount}", c.mount) + template
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	a := c.send(t, strings.ToUpper(method), target, body)
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

func (c *apiClient) body(t *testing.T, id string, op apiOperation, arguments fields) any {
	t.Helper()
	if op.RequestBody == nil {
		if len(arguments) > 0 {
			t.Fatalf("%s takes no %v", id, arguments)
		}
		return nil
	}
	if err := c.conforms(c.resolve(t, *op.RequestBody), arguments); err != nil {
		t.Fatalf("%s: the body does not conform: %v", id, err)
	}
	return arguments
}

// send is do with the content type that Vault wants for a patch.
func (c *apiClient) send(t *testing.T, method, target string, body any) answer {
	t.Helper()
	path, ok := strings.CutPrefix(target, "/v1/")
	if !ok {
		t.Fatalf("%s is not below /v1/", target)
	}
	if method != http.MethodPatch {
		a, err := c.do(method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	payload, err := jsonBody(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, c.vault.addr+target, payload)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", c.token)
	req.Header.Set("Content-Type", "application/merge-patch+json")
	resp, err := c.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return answer{Status: resp.StatusCode}
}

func (c *apiClient) checkAnswer(t *testing.T, id string, op apiOperation, a answer) {
	t.Helper()
	documented, ok := op.Responses[fmt.Sprint(a.Status)]
	if !ok {
		t.Fatalf("%s answered %d, which is not documented: %s", id, a.Status, a.body)
	}
	if a.Status >= 400 {
		return
	}
	if len(documented.Content) == 0 {
		if len(a.body) > 0 {
			t.Errorf("%s answered a body, documented is none: %s", id, a.body)
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

// conforms tells what an object has that its schema does not allow.
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

// TestOpenAPICalls makes every call of the document with what the document says.
func TestOpenAPICalls(t *testing.T) {
	t.Parallel()
	m := mounted(t, shared(t))
	c := newAPIClient(t, m)
	is := func(status int, a answer) answer {
		t.Helper()
		if a.Status != status {
			t.Errorf("HTTP %d, want %d: %s", a.Status, status, a.body)
		}
		return a
	}
	user := fields{"user_id": fmt.Sprint(simulator.UserID5001)}
	role := fields{"name": "orders"}

	is(http.StatusOK, c.call(t, "ecgrid-read-info", nil))
	is(http.StatusNotFound, c.call(t, "ecgrid-read-configuration", nil))
	is(http.StatusBadRequest, c.call(t, "ecgrid-read-key", user))
	is(http.StatusNotFound, c.call(t, "ecgrid-list-roles", nil))
	is(http.StatusNotFound, c.call(t, "ecgrid-patch-role", role))

	is(http.StatusNoContent, c.call(t, "ecgrid-write-configuration", m.login()))
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
		t.Error("the rotation left no time")
	}
	is(http.StatusNoContent, c.call(t, "ecgrid-delete-role", role))
	is(http.StatusNoContent, c.call(t, "ecgrid-delete-configuration", nil))
}

// TestOpenAPIOfVault: what the real Vault shows of the mount is the document in
// the repository. Vault drops the references of a plugin's document, so the
// schemas are compared where they survive.
func TestOpenAPIOfVault(t *testing.T) {
	t.Parallel()
	m := mounted(t, shared(t))
	c := newAPIClient(t, m)
	a := m.read(t, "sys/internal/specs/openapi")
	var shown apiDocument
	if err := a.decode(&shown); err != nil {
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
