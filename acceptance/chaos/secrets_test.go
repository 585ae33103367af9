// SPDX-License-Identifier: MPL-2.0

package chaos

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"unicode/utf16"
)

// window is the length of the index keys. Secrets are longer.
const window = 8

// finder searches for many secrets in one pass.
type finder map[[window]byte][]string

// newFinder indexes each secret in several encodings.
func newFinder(secrets []string) finder {
	f := finder{}
	for _, s := range secrets {
		for form := range forms(s) {
			if len(form) >= window {
				start := [window]byte([]byte(form[:window]))
				f[start] = append(f[start], form)
			}
		}
	}
	return f
}

func forms(s string) map[string]bool {
	raw, _ := json.Marshal(s) // cannot fail for a string
	inJSON := strings.Trim(string(raw), `"`)
	var inXML strings.Builder
	_ = xml.EscapeText(&inXML, []byte(s))
	return map[string]bool{
		s: true, inXML.String(): true,
		inJSON: true, strings.ReplaceAll(inJSON, "/", `\/`): true, strings.ReplaceAll(s, `"`, `\"`): true,
		unicodeEscapes(s, `\u%04x`): true, unicodeEscapes(s, `\u%04X`): true,
		url.QueryEscape(s): true, url.PathEscape(s): true, base64.StdEncoding.EncodeToString([]byte(s)): true,
	}
}

func unicodeEscapes(s, format string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(s)) {
		fmt.Fprintf(&b, format, unit)
	}
	return b.String()
}

// count is how many secrets a text contains, and the text before the first one.
func (f finder) count(text []byte) (n int, before string) {
	for i := 0; i+window <= len(text); i++ {
		for _, form := range f[[window]byte(text[i:i+window])] {
			if !strings.HasPrefix(string(text[i:min(len(text), i+len(form))]), form) {
				continue
			}
			if n == 0 {
				before = string(text[max(0, i-160):i])
				before = before[strings.LastIndexByte(before, '\n')+1:]
			}
			n++
		}
	}
	return n, before
}

// TestFinder is the positive control of the search.
func TestFinder(t *testing.T) {
	t.Parallel()
	const secret = `k/0123456789+&<="x`
	f := newFinder([]string{secret, "another-secret"})
	for form := range forms(secret) {
		if n, before := f.count([]byte("a line\nerror: " + form + " and more")); n != 1 || before != "error: " {
			t.Errorf("%d found, the first after %q", n, before)
		}
	}
	for _, inJSON := range []string{
		`k/0123456789+&<=\"x`, `k\/0123456789+\u0026\u003c=\"x`,
		`\u006b\u002f\u0030\u0031\u0032\u0033\u0034\u0035\u0036\u0037\u0038\u0039\u002b\u0026\u003c\u003d\u0022\u0078`,
	} {
		if n, _ := f.count([]byte(inJSON)); n != 1 {
			t.Errorf("%d found in JSON", n)
		}
	}
	if n, _ := f.count([]byte("k/0123456789+ is only the beginning")); n != 0 {
		t.Error("found a part of a secret")
	}
}
