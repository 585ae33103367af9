// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"encoding/xml"
)

// xmlWriter writes XML as .NET does: no indentation, <a /> for empty elements.
type xmlWriter struct{ bytes.Buffer }

// open writes a start tag. attrs are pairs of name and value.
func (x *xmlWriter) open(name string, attrs ...string) {
	x.WriteByte('<')
	x.tag(name, attrs)
	x.WriteByte('>')
}

func (x *xmlWriter) close(name string) { x.WriteString("</" + name + ">") }

func (x *xmlWriter) empty(name string, attrs ...string) {
	x.WriteByte('<')
	x.tag(name, attrs)
	x.WriteString(" />")
}

func (x *xmlWriter) text(name, text string) {
	if text == "" {
		x.empty(name)
		return
	}
	x.open(name)
	x.escape(text)
	x.close(name)
}

func (x *xmlWriter) tag(name string, attrs []string) {
	x.WriteString(name)
	for i := 0; i+1 < len(attrs); i += 2 {
		x.WriteString(" " + attrs[i] + `="`)
		x.escape(attrs[i+1])
		x.WriteByte('"')
	}
}

// escape does not fail: it writes to a Buffer.
func (x *xmlWriter) escape(text string) { _ = xml.EscapeText(x, []byte(text)) }
