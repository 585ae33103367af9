// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf16"
)

// member is a field of a JSON object.
type member struct {
	name  string
	value any
}

// object is a JSON object whose fields have an order.
type object []member

// jsonStyle is the formatting of one answer.
type jsonStyle struct {
	random *random
	extra  bool
	mixed  bool
	escape func(string) []byte
}

// json formats an answer in a style of its own.
func (s *Server) json(r *http.Request, status int, headers []string, envelope object) response {
	d := s.random
	style := jsonStyle{random: d, extra: d.chooses(s.rest.ExtraFields), mixed: d.chooses(s.rest.Reordered), escape: pick(d, escapes)}
	var b bytes.Buffer
	style.write(&b, envelope)
	body := b.Bytes()
	if d.chooses(s.rest.Indented) {
		body = indented(body, pick(d, []string{"  ", "\t", "    "}), pick(d, []string{"", "\n", "\r\n "}))
	}
	contentType := "Content-Type: application/json"
	if d.chooses(s.rest.Charset) {
		contentType += pick(d, charsets)
	}
	return s.httpWith(r, status, append(headers, contentType), d.chooses(s.rest.Chunked), body)
}

func indented(body []byte, indent, around string) []byte {
	var b bytes.Buffer
	b.WriteString(around)
	if err := json.Indent(&b, body, "", indent); err != nil {
		panic(err) // the body is ours
	}
	b.WriteString(around)
	return b.Bytes()
}

func (j jsonStyle) write(b *bytes.Buffer, value any) {
	switch v := value.(type) {
	case object:
		j.writeObject(b, v)
	case []any:
		b.WriteByte('[')
		for i, element := range v {
			if i > 0 {
				b.WriteByte(',')
			}
			j.write(b, element)
		}
		b.WriteByte(']')
	case string:
		b.Write(j.escape(v))
	case json.RawMessage:
		b.Write(v)
	case nil:
		b.WriteString("null")
	default:
		fmt.Fprint(b, v) // a number or a boolean
	}
}

func (j jsonStyle) writeObject(b *bytes.Buffer, all object) {
	if j.extra {
		all = append(all[:len(all):len(all)],
			member{"requestId", "7f2c"},
			member{"meta", json.RawMessage(`{"success":false,"data":"d","token":"t","userId":[0,{"login":null}],"n":-1.5e3}`)},
			member{"error", nil},
		)
	}
	if j.mixed {
		all = append(object{}, all...)
		for i := range all {
			k := i + j.random.intN(len(all)-i)
			all[i], all[k] = all[k], all[i]
		}
	}
	b.WriteByte('{')
	for i, m := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "%q:", m.name)
		j.write(b, m.value)
	}
	b.WriteByte('}')
}

// escapes are equivalent encodings of a string.
var escapes = []func(string) []byte{
	func(text string) []byte {
		raw, _ := json.Marshal(text) // cannot fail for a string
		return raw
	},
	func(text string) []byte {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(text) // cannot fail for a string
		return bytes.TrimSpace(b.Bytes())
	},
	func(text string) []byte {
		raw, _ := json.Marshal(text)
		return []byte(strings.ReplaceAll(string(raw), "/", `\/`))
	},
	func(text string) []byte {
		b := []byte{'"'}
		for _, unit := range utf16.Encode([]rune(text)) {
			b = fmt.Appendf(b, `\u%04X`, unit)
		}
		return append(b, '"')
	},
}
