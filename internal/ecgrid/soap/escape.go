// SPDX-License-Identifier: MPL-2.0

package soap

import "unicode/utf8"

// escapes are the ASCII characters that must be escaped. They include white space other
// than a space: a parser would turn \r into \n.
var escapes = [utf8.RuneSelf]string{
	'&': "&amp;", '<': "&lt;", '>': "&gt;", '"': "&#34;", '\'': "&#39;",
	'\t': "&#9;", '\n': "&#10;", '\r': "&#13;",
}

// appendEscaped appends s to buf as XML text. It returns false if XML 1.0 cannot
// represent s. It never substitutes a character: a password that was altered on the way
// is a refused login.
func appendEscaped(buf []byte, s string) ([]byte, bool) {
	done := 0
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if !isXMLChar(r) || r == utf8.RuneError && size == 1 {
			return buf, false
		}
		if r < utf8.RuneSelf && escapes[r] != "" {
			buf = append(buf, s[done:i]...)
			buf = append(buf, escapes[r]...)
			done = i + size
		}
		i += size
	}
	return append(buf, s[done:]...), true
}

// isXMLChar is production Char of XML 1.0.
func isXMLChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' ||
		r >= 0x20 && r <= 0xD7FF || r >= 0xE000 && r <= 0xFFFD || r >= 0x10000 && r <= 0x10FFFF
}
