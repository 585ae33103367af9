// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docsSection is a section of docs/api.md.
type docsSection struct {
	heading    string
	operations []string            // such as "POST /config"
	parameters map[string]string   // name: "type: default"
	response   map[string]string   // name: "type"
	statuses   map[string]struct{} // codes
}

var (
	methodRow    = regexp.MustCompile("^\\| `([A-Z]+)` +\\| `/ecgrid(/[^`]*)` +\\|$")
	statusRow    = regexp.MustCompile(`^\| (\d{3}) \|`)
	parameterRow = regexp.MustCompile("^- `(\\w+)` `\\((.+)\\)` – .")
)

func readAPIDocs(t *testing.T) []docsSection {
	t.Helper()
	raw, err := os.ReadFile("docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	var sections []docsSection
	part := ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimRight(line, "\n")
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			sections = append(sections, docsSection{heading, nil, map[string]string{}, map[string]string{}, map[string]struct{}{}})
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
			t.Errorf("docs/api.md, %s: malformed parameter: %s", s.heading, line)
		case m != nil && part == "Parameters":
			s.parameters[m[1]] = m[2]
		case m != nil && part == "Response fields":
			s.response[m[1]] = m[2]
		}
	}
	return sections
}

// TestAPIDocs compares docs/api.md with the OpenAPI document. Both must have the same
// operations, parameters, types, defaults, response fields and status codes.
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
				t.Errorf("%s: %s does not exist", s.heading, name)
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
			for field, schema := range doc.responseFields(t, op) {
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
			t.Errorf("docs/api.md does not document %s", name)
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
			t.Errorf("%s: %s does not exist", what, name)
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
	if p.In == "query" && p.Name == "ttl" {
		kind = "duration" // the framework omits the format of a query parameter
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
