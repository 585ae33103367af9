// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestEscaping(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", " ", "plain", "a&b", "<>", "]]>", `"'`, "&amp;", "&#0;", "<![CDATA[x]]>", "<!--x-->", "\r\n\t", " \n a \r ",
		"äöü€", "\U0001F511", "\uFFFD", "\uE000", "\uD7FF", "\U0010FFFF", "\u0085\u2028\u00A0", "%s%d\\", "\x7f",
		strings.Repeat("&", 1000),
	} {
		body, bad := newEnvelope(opLogin, len(s)).str("LoginName", s).str("Password", "").close()
		got, err := texts(t, body)
		if bad != "" || err != nil || got != s {
			t.Errorf("%q came as %q, %q, %v", s, got, bad, err)
		}
	}
}

func TestEscapingRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"\x00", "a\x0bb", "\x0c", "\x1b", "\x1f", "\uFFFE", "\uFFFF", "\xff", "ok\xc3", "\xed\xa0\x80", "\xc0\x80", "\xf5\x80\x80\x80",
	} {
		if _, bad := newEnvelope(opLogin, 0).str("LoginName", "a").str("Password", s).str("More", s).close(); bad != "Password" {
			t.Errorf("%q: got %q", s, bad)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, s := range []string{"", "jo", "a&b<c>\"'", "]]>", "\r\n\t", "\x00", "\xff", "\uFFFE", "🔑", "&#0;"} {
		f.Add(s, int32(5001))
	}
	f.Fuzz(func(t *testing.T, s string, id int32) {
		body, bad := newEnvelope(opUserGetAPIKey, len(s)).str("SessionID", s).user(id).close()
		sendable := utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !isXMLChar(r) })
		if sendable != (bad == "") {
			t.Fatalf("%q: sendable %v, got %q", s, sendable, bad)
		}
		if !sendable {
			return
		}
		got, err := texts(t, body)
		if want := s + fmt.Sprint(id); err != nil || got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	})
}

// texts returns all character data of a document, as any parser would.
func texts(t testing.TB, doc []byte) (s string, err error) {
	t.Helper()
	dec := xml.NewDecoder(strings.NewReader(string(doc)))
	for {
		tok, err := dec.Token()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return "", err
		}
		if c, ok := tok.(xml.CharData); ok {
			s += string(c)
		}
	}
}
