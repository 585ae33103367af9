// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// block is a fenced block of a page.
type block struct {
	line    int    // number of its first line
	kind    string // the word behind the fence: sh, text, …
	text    string
	section string // the last "## " heading above it
	heading string // the last heading above it
	source  int    // index of the sh block whose output it shows, or -1
}

var (
	fence  = regexp.MustCompile("^( *)```(\\w*)$")
	notRun = regexp.MustCompile(`^ *<!-- not run: \S.* -->$`)
)

// blockReader reads a page line by line.
type blockReader struct {
	blocks   []block
	errs     []error
	number   int    // of the current line
	previous string // the line before it
	open     *block // the block that the current line is in
	indent   string // of that block's fence
	section  string
	heading  string
	source   int
}

func readBlocks(text string) ([]block, error) {
	r := blockReader{source: -1}
	for line := range strings.Lines(text) {
		r.number++
		r.read(strings.TrimRight(line, "\n"))
	}
	if r.open != nil {
		r.fail("the last block is not closed")
	}
	return r.blocks, errors.Join(r.errs...)
}

func (r *blockReader) fail(format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%d: %s", r.number, fmt.Sprintf(format, args...)))
}

func (r *blockReader) read(line string) {
	m := fence.FindStringSubmatch(line)
	if r.open == nil && notRun.MatchString(r.previous) != (m != nil && m[2] == "console") {
		r.fail("a console block needs a line <!-- not run: reason --> directly above it, and no other block may have one")
	}
	switch {
	case r.open != nil && m != nil && m[2] == "":
		r.closeBlock()
	case r.open != nil:
		r.open.text += strings.TrimPrefix(line, r.indent) + "\n"
	case m != nil:
		r.openBlock(m[1], m[2])
	default:
		r.readProse(line)
	}
	r.previous = line
}

func (r *blockReader) openBlock(indent, kind string) {
	switch kind {
	case "sh", "text", "json", "console", "hcl", "yaml", "mermaid":
	default:
		r.fail("a block of kind %q", kind)
	}
	r.indent = indent
	r.open = &block{line: r.number + 1, kind: kind, section: r.section, heading: r.heading, source: r.source}
}

func (r *blockReader) closeBlock() {
	r.source = -1
	if r.open.kind == "sh" {
		r.source = len(r.blocks)
	}
	r.blocks = append(r.blocks, *r.open)
	r.open = nil
}

func (r *blockReader) readProse(line string) {
	if strings.HasPrefix(line, "    ") && (r.previous == "" || fence.MatchString(r.previous)) {
		r.fail("an indented block: put a fence around it")
	}
	if !strings.HasPrefix(line, "#") {
		return
	}
	r.heading, r.source = strings.TrimLeft(line, "# "), -1
	if strings.HasPrefix(line, "## ") {
		r.section = r.heading
	}
	if r.heading == "Sample response" {
		r.source = len(r.blocks) - 1
	}
}

// compare returns an error if the block does not show what was printed.
func compare(shown block, printed string) error {
	if shown.kind == "json" {
		var want, got any
		if err := json.Unmarshal([]byte(shown.text), &want); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(printed), &got); err != nil {
			return fmt.Errorf("the answer is not JSON: %s", printed)
		}
		return sameShape("", want, got)
	}
	left := strings.Split(printed, "\n")
	for line := range strings.Lines(shown.text) {
		pattern := linePattern(line)
		found := false
		for len(left) > 0 && !found {
			found = pattern.MatchString(squeeze(left[0]))
			left = left[1:]
		}
		if !found {
			return fmt.Errorf("not printed, or not in this order: %q in\n%s", strings.TrimSpace(line), printed)
		}
	}
	return nil
}

func squeeze(line string) string { return strings.Join(strings.Fields(line), " ") }

func linePattern(line string) *regexp.Regexp {
	quoted := regexp.QuoteMeta(squeeze(line))
	return regexp.MustCompile("^" + strings.ReplaceAll(quoted, "…", ".*") + "$")
}

// sameShape returns an error if a field of want is missing in got or has another
// type. The object "data" must have no other fields.
func sameShape(at string, want, got any) error {
	object, ok := want.(map[string]any)
	if !ok || strings.HasSuffix(at, ".key_info") {
		if want != nil && got != nil && fmt.Sprintf("%T", want) != fmt.Sprintf("%T", got) {
			return fmt.Errorf("%s is a %T, the page shows a %T", at, got, want)
		}
		return nil
	}
	answer, ok := got.(map[string]any)
	if !ok {
		return fmt.Errorf("%s is a %T, the page shows an object", at, got)
	}
	for name, value := range object {
		other, ok := answer[name]
		if !ok {
			return fmt.Errorf("the page shows %s.%s, the answer does not have it", at, name)
		}
		if err := sameShape(at+"."+name, value, other); err != nil {
			return err
		}
	}
	if at == ".data" && len(answer) != len(object) {
		return fmt.Errorf("data has %d fields, the page shows %d", len(answer), len(object))
	}
	return nil
}

func TestDocsBlocks(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"an indented block":      "Do:\n\n    vault status\n",
		"no kind":                "```\nvault status\n```\n",
		"another kind":           "```bash\nvault status\n```\n",
		"console without reason": "Do:\n\n```console\n$ vault status\n```\n",
		"an empty reason":        "<!-- not run: -->\n```console\n$ vault status\n```\n",
		"the reason not above":   "<!-- not run: x -->\n\n```console\n$ vault status\n```\n",
		"a reason on sh":         "<!-- not run: x -->\n```sh\nvault status\n```\n",
		"not closed":             "```sh\nvault status\n",
	} {
		if _, err := readBlocks(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	blocks, err := readBlocks("## A\n\n1. Do:\n\n   ```sh\n   a\n   ```\n\nIt says:\n\n```text\nx …\n```\n\nAnd:\n\n<!-- not run: it never ends -->\n```console\n$ b\n```\n")
	if err != nil || len(blocks) != 3 || blocks[0].text != "a\n" || blocks[1].source != 0 || blocks[2].source != -1 || blocks[2].section != "A" {
		t.Errorf("read as %+v, %v", blocks, err)
	}
	for name, c := range map[string]struct {
		kind, shown, printed string
		same                 bool
	}{
		"text":             {"text", "a  1\nc …\n", "a 1\nb\nc   anything\n", true},
		"another value":    {"text", "a 1\n", "a 2\n", false},
		"another order":    {"text", "b\na\n", "a\nb\n", false},
		"only a part":      {"text", "a\n", "ab\n", false},
		"json":             {"json", `{"data":{"a":"x","b":null}}`, `{"data":{"a":"y","b":1},"more":1}`, true},
		"a field too many": {"json", `{"data":{"a":"x"}}`, `{"data":{"a":"y","b":1}}`, false},
		"a field too few":  {"json", `{"data":{"a":"x","b":1}}`, `{"data":{"a":"y"}}`, false},
		"another type":     {"json", `{"data":{"a":"1"}}`, `{"data":{"a":1}}`, false},
		"no json":          {"json", `{"data":{}}`, `404`, false},
	} {
		if err := compare(block{kind: c.kind, text: c.shown}, c.printed); (err == nil) != c.same {
			t.Errorf("%s: %v", name, err)
		}
	}
	s, _ := page{}.script(t, t.TempDir(), []block{{kind: "sh", text: "vault read x # refused: why\n"}}, true)
	if !strings.Contains(s, "if vault read x; then") {
		t.Errorf("a command that must be refused: %s", s)
	}
}
