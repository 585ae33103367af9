// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	space    = "https://os.ecgrid.io/"
	soapNS   = "http://schemas.xmlsoap.org/soap/envelope/"
	endpoint = "/v4.1/prod/ECGridOS.asmx"
)

// violation names the rule that a request broke, and contains no value of the request.
type violation string

func (v violation) Error() string { return string(v) }

type kind int

const (
	text kind = iota
	integer
)

type param struct {
	name string
	kind kind
}

// operations are those of the WSDL with their parameters in order. Strings are optional,
// integers are not.
var operations = map[string][]param{
	"Login":          {{"LoginName", text}, {"Password", text}},
	"Logout":         {{"SessionID", text}},
	"WhoAmI":         {{"SessionID", text}},
	"UserGetAPIKey":  {{"SessionID", text}, {"UserID", integer}},
	"GenerateAPIKey": {{"SessionID", text}, {"UserID", integer}},
	"ChangePassword": {{"SessionID", text}, {"OldPassword", text}, {"NewPassword", text}},
	"UserInfo":       {{"SessionID", text}, {"UserID", integer}},
	"UserList":       {{"SessionID", text}, {"Name", text}},
	"UserReset":      {{"SessionID", text}, {"UserID", integer}},
	"Version":        {},
}

// request is a request that conforms to the WSDL.
type request struct {
	op   string
	args map[string]string
	id   int // UserID
	ip   string
	late bool // the answer does not wait for the effect

	arrived time.Time
	opened  string    // the session that it opened, once it is applied
	via     protocol  // over which it came
	rest    *restCall // nil for SOAP
}

// node is a parsed element.
type node struct {
	name     xml.Name
	attrs    []xml.Attr
	children []*node
	text     strings.Builder
}

// read parses a request and checks it against the WSDL.
func read(r *http.Request, body []byte) (*request, error) {
	op, err := operationOf(r)
	if err != nil {
		return nil, err
	}
	root, err := parse(body)
	if err != nil {
		return nil, err
	}
	call, err := bodyOf(root)
	if err != nil {
		return nil, err
	}
	if call.name != (xml.Name{Space: space, Local: op}) {
		return nil, violation("the body holds another operation than SOAPAction names")
	}
	req := &request{op: op, args: map[string]string{}}
	return req, req.fill(call)
}

func operationOf(r *http.Request) (string, error) {
	if r.Method != http.MethodPost || r.URL.Path != endpoint || r.URL.RawQuery != "" {
		return "", violation("not a POST to the endpoint")
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "text/xml" || !strings.EqualFold(params["charset"], "utf-8") {
		return "", violation("Content-Type is not text/xml; charset=utf-8")
	}
	op, found := strings.CutPrefix(r.Header.Get("SOAPAction"), `"`+space)
	op, quoted := strings.CutSuffix(op, `"`)
	if _, known := operations[op]; !found || !quoted || !known {
		return "", violation("SOAPAction is not a quoted one of the WSDL")
	}
	return op, nil
}

// parse rejects document types and processing instructions, which SOAP forbids.
func parse(body []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	var root *node
	var open []*node
	for first := true; ; first = false {
		token, err := d.Token()
		if errors.Is(err, io.EOF) && root != nil && len(open) == 0 {
			return root, nil
		}
		if err != nil {
			return nil, violation("not well-formed XML")
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, violation("a document type in a SOAP message")
		case xml.ProcInst:
			if t.Target != "xml" || !first {
				return nil, violation("a processing instruction in a SOAP message")
			}
		case xml.StartElement:
			n := &node{name: t.Name, attrs: t.Copy().Attr}
			if len(open) > 0 {
				parent := open[len(open)-1]
				parent.children = append(parent.children, n)
			} else if root != nil {
				return nil, violation("two root elements")
			} else {
				root = n
			}
			open = append(open, n)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				open[len(open)-1].text.Write(t)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return nil, violation("text outside of the root element")
			}
		}
	}
}

func bodyOf(root *node) (*node, error) {
	if root.name != (xml.Name{Space: soapNS, Local: "Envelope"}) {
		return nil, violation("the root is not a SOAP 1.1 Envelope")
	}
	parts := root.children
	if len(parts) > 0 && parts[0].name == (xml.Name{Space: soapNS, Local: "Header"}) {
		parts = parts[1:]
	}
	if len(parts) != 1 || parts[0].name != (xml.Name{Space: soapNS, Local: "Body"}) || len(parts[0].children) != 1 {
		return nil, violation("not one Body with one child")
	}
	if mixed(root) || mixed(parts[0]) {
		return nil, violation("text between elements")
	}
	return parts[0].children[0], nil
}

func mixed(n *node) bool { return strings.TrimSpace(n.text.String()) != "" }

// fill takes the parameters in the WSDL's order, each at most once.
func (r *request) fill(call *node) error {
	if len(call.children) > 0 && mixed(call) || foreignAttribute(call) {
		return violation("text or attributes where the schema has none")
	}
	rest := call.children
	for _, p := range operations[r.op] {
		if len(rest) > 0 && rest[0].name == (xml.Name{Space: space, Local: p.name}) {
			if err := r.take(p, rest[0]); err != nil {
				return err
			}
			rest = rest[1:]
		} else if p.kind == integer {
			return violation("a required parameter is missing or out of order")
		}
	}
	if len(rest) > 0 {
		return violation("a parameter that is unknown or out of order")
	}
	return nil
}

func (r *request) take(p param, n *node) error {
	if len(n.children) > 0 || foreignAttribute(n) {
		return violation("a simple parameter with elements or attributes")
	}
	value := n.text.String()
	r.args[p.name] = value
	if p.kind == text {
		return nil
	}
	id, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil {
		return violation("a parameter that is no xs:int")
	}
	r.id = int(id)
	return nil
}

func foreignAttribute(n *node) bool {
	for _, a := range n.attrs {
		if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" && a.Name.Space != "http://www.w3.org/2001/XMLSchema-instance" {
			return true
		}
	}
	return false
}
