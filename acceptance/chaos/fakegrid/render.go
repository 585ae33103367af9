// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"text/template"
)

// answers are the templates of results and faults. The functions vary what a client must
// not depend on.
const answers = `
{{- define "element"}}<{{name .Name}}{{if .Nil}} xsi:nil="true"/>{{else}}>
{{- if .Children}}{{gap}}{{range .Children}}{{template "element" .}}{{gap}}{{end}}{{else}}{{value .Value}}{{end -}}
</{{name .Name}}>{{end}}{{end}}

{{- define "bare"}}<{{.Name}}>{{if .Children}}{{gap}}{{range .Children}}{{template "bare" .}}{{gap}}{{end}}{{else}}{{value .Value}}{{end}}</{{.Name}}>{{end}}

{{- define "open"}}{{prologue}}<{{soap "Envelope"}}{{declarations}}>{{gap}}{{header}}<{{soap "Body"}}>{{gap}}{{end}}
{{- define "close"}}{{gap}}</{{soap "Body"}}>{{gap}}</{{soap "Envelope"}}>{{gap}}{{end}}

{{- define "response"}}{{template "open"}}<{{name .Name}}{{local}}>{{gap}}
{{- range .Children}}{{template "element" .}}{{gap}}{{end}}</{{name .Name}}>{{template "close"}}{{end}}

{{- define "fault"}}{{template "open"}}<{{soap "Fault"}}>{{gap}}<faultcode>{{soap .Code}}</faultcode>{{gap -}}
<faultstring>{{value .String}}</faultstring>{{gap}}
{{- if .Detail}}<detail>{{gap}}{{$bare := .Bare}}{{range .Detail}}{{if $bare}}{{template "bare" .}}{{else}}{{qualified .}}{{end}}{{gap}}{{end}}</detail>
{{- else}}<detail/>{{end}}{{gap}}</{{soap "Fault"}}>{{template "close"}}{{end}}`

// The functions are replaced for each answer by those of its style.
var printer = template.Must(template.New("").Funcs((&style{}).funcs()).Parse(answers))

// style is the formatting of one answer.
type style struct {
	random   *random
	t        *template.Template
	prefix   string // of the envelope
	own      string // of ECGrid's elements, "" for a default namespace
	indent   bool
	comments bool
	encoding int
}

func (d *random) style(isFault bool) *style {
	s := &style{
		random:   d,
		prefix:   pick(d, []string{"soap", "soapenv", "S", "env-1", "SOAP-ENV"}),
		own:      pick(d, []string{"", "", "ecg", "ns1", "m"}),
		indent:   d.oneIn(2),
		comments: d.oneIn(5),
		encoding: d.intN(5),
	}
	if !isFault && d.oneIn(6) {
		s.prefix = "" // the envelope has the default namespace
	}
	return s
}

func (s *style) funcs() template.FuncMap {
	return template.FuncMap{
		"prologue": s.prologue, "declarations": s.declarations, "header": s.header, "gap": s.gap,
		"soap": func(n string) string { return join(s.prefix, n) }, "name": func(n string) string { return join(s.own, n) },
		"local": s.local, "value": s.value, "qualified": s.qualified,
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + ":" + name
}

func (s *style) prologue() string {
	declaration := pick(s.random, []string{
		"", "\ufeff", `<?xml version="1.0" encoding="utf-8"?>`, "\ufeff" + `<?xml version="1.0" encoding="UTF-8"?>`, `<?xml version='1.0'?>`,
	})
	return declaration + s.gap()
}

func (s *style) declarations() string {
	all := []string{`xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`, `xmlns:xsd='http://www.w3.org/2001/XMLSchema'`}
	if s.prefix == "" {
		all = append(all, fmt.Sprintf("xmlns=%q", soapNS))
	} else {
		all = append(all, fmt.Sprintf("xmlns:%s=%q", s.prefix, soapNS))
	}
	if s.own != "" {
		all = append(all, fmt.Sprintf("xmlns:%s=%q", s.own, space))
	}
	s.random.shuffle(all)
	return " " + strings.Join(all, " ")
}

func (s *style) header() string {
	if s.random.oneIn(6) {
		return "<" + join(s.prefix, "Header") + "/>"
	}
	return ""
}

// local declares the default namespace if the elements have no prefix.
func (s *style) local() string {
	if s.own != "" {
		return ""
	}
	return fmt.Sprintf(" xmlns=%q", space)
}

// qualified is a detail entry in ECGrid's namespace.
func (s *style) qualified(e element) (string, error) {
	var b bytes.Buffer
	err := s.t.ExecuteTemplate(&b, "element", e)
	if s.own != "" {
		return b.String(), err
	}
	return strings.Replace(b.String(), "<"+e.Name+">", "<"+e.Name+s.local()+">", 1), err
}

func (s *style) gap() string {
	out := ""
	if s.indent {
		out = pick(s.random, []string{"\n", "\r\n  ", "\n\t\t", " "})
	}
	if s.comments && s.random.oneIn(4) {
		out += "<!-- ECGridOS <Result> & more -->"
	}
	return out
}

// value encodes a text in one of several equivalent ways.
func (s *style) value(text string) string {
	switch {
	case text == "":
		return ""
	case s.encoding == 1 && !strings.Contains(text, "]]>"):
		return "<![CDATA[" + text + "]]>"
	case s.encoding == 2:
		return entities(text, "&#%d;")
	case s.encoding == 3:
		return entities(text, "&#x%X;")
	case s.encoding == 4 && len(text) > 3 && text[2] < 0x80:
		return escaped(text[:2]) + "<!---->" + "<![CDATA[" + text[2:3] + "]]>" + escaped(text[3:])
	}
	return escaped(text)
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer does not fail
	return b.String()
}

func entities(text, form string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, form, r)
	}
	return b.String()
}

// result is the answer to an operation that succeeded.
func (d *random) result(op string, results ...element) []byte {
	return d.print("response", false, element{Name: op + "Response", Children: results})
}

func (d *random) faultBody(f fault) []byte { return d.print("fault", true, f) }

func (d *random) print(form string, isFault bool, data any) []byte {
	s := d.style(isFault)
	s.t = template.Must(printer.Clone()).Funcs(s.funcs())
	var b bytes.Buffer
	if err := s.t.ExecuteTemplate(&b, form, data); err != nil {
		panic(err) // the templates are fixed
	}
	return b.Bytes()
}
