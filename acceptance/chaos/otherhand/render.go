package otherhand

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"text/template"
)

// answers print both kinds of message. What differs from one to the next, and no
// reader may depend on, are the functions.
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

// Only the functions' names matter here; style gives each answer its own.
var printer = template.Must(template.New("").Funcs((&style{}).funcs()).Parse(answers))

// style is how one answer is written.
type style struct {
	d        *dice
	t        *template.Template
	prefix   string // of the envelope
	own      string // of ECGrid's elements, "" for a default namespace
	indent   bool
	comments bool
	encoding int
}

func (d *dice) style(isFault bool) *style {
	s := &style{
		d:        d,
		prefix:   pick(d, []string{"soap", "soapenv", "S", "env-1", "SOAP-ENV"}),
		own:      pick(d, []string{"", "", "ecg", "ns1", "m"}),
		indent:   d.one(2),
		comments: d.one(5),
		encoding: d.n(5),
	}
	if !isFault && d.one(6) {
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
	declaration := pick(s.d, []string{
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
	s.d.mu.Lock()
	s.d.rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	s.d.mu.Unlock()
	return " " + strings.Join(all, " ")
}

func (s *style) header() string {
	if s.d.one(6) {
		return "<" + join(s.prefix, "Header") + "/>"
	}
	return ""
}

// local declares the default namespace where the elements have no prefix.
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
		out = pick(s.d, []string{"\n", "\r\n  ", "\n\t\t", " "})
	}
	if s.comments && s.d.one(4) {
		out += "<!-- ECGridOS <Result> & more -->"
	}
	return out
}

// value writes one text in any of the ways that mean the same.
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
	_ = xml.EscapeText(&b, []byte(text)) // a buffer takes everything
	return b.String()
}

func entities(text, form string) string {
	var b strings.Builder
	for _, r := range text {
		fmt.Fprintf(&b, form, r)
	}
	return b.String()
}

// response is the answer to an operation that worked.
func (d *dice) response(op string, results ...element) []byte {
	return d.print("response", false, element{Name: op + "Response", Children: results})
}

func (d *dice) faultBody(f fault) []byte { return d.print("fault", true, f) }

func (d *dice) print(form string, isFault bool, data any) []byte {
	s := d.style(isFault)
	s.t = template.Must(printer.Clone()).Funcs(s.funcs())
	var b bytes.Buffer
	if err := s.t.ExecuteTemplate(&b, form, data); err != nil {
		panic(err) // the templates are fixed
	}
	return b.Bytes()
}
