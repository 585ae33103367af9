// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxDepth bounds the nesting of elements. A valid request has four levels.
const maxDepth = 32

// xmlSpace is the white space of XML. Unicode has more.
const xmlSpace = " \t\r\n"

// node is an element of a request.
type node struct {
	name     xml.Name
	attrs    []xml.Attr
	text     string
	children []*node
}

func (n *node) is(space, local string) bool { return n.name.Space == space && n.name.Local == local }

func (n *node) attr(space, local string) string {
	for _, a := range n.attrs {
		if a.Name.Space == space && a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// parseXML reads a UTF-8 document without a DTD. Its errors contain no text of the
// document, which holds credentials.
func parseXML(body []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) { return nil, errors.New("not UTF-8") }
	top := &node{}
	stack := []*node{top}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("System.Xml.XmlException: the document is not well-formed UTF-8 XML at byte %d", d.InputOffset())
		}
		parent := stack[len(stack)-1]
		switch t := token.(type) {
		case xml.Directive:
			return nil, errors.New("System.Xml.XmlException: For security reasons DTD is prohibited in this XML document")
		case xml.StartElement:
			n := &node{name: t.Name, attrs: t.Copy().Attr}
			parent.children = append(parent.children, n)
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			parent.text += string(t)
		}
		if len(stack) > maxDepth {
			return nil, errors.New("System.Xml.XmlException: elements nest too deep")
		}
	}
	if len(top.children) != 1 || strings.Trim(top.text, xmlSpace) != "" {
		return nil, errors.New("System.Xml.XmlException: a document has one root element and no text beside it")
	}
	return top.children[0], nil
}

// readFields reads the children of an element as a sequence of the WSDL: in this order,
// each at most once, strings optional.
func readFields(parent *node, fields []field) (map[string]string, error) {
	if strings.Trim(parent.text, xmlSpace) != "" {
		return nil, fmt.Errorf("text is not allowed in <%s>", parent.name.Local)
	}
	if err := checkAttrs(parent); err != nil {
		return nil, err
	}
	args := make(map[string]string, len(fields))
	rest := parent.children
	for _, f := range fields {
		if len(rest) == 0 || !rest[0].is(Namespace, f.name) {
			if f.required {
				return nil, fmt.Errorf("element <%s> is missing or out of order", f.name)
			}
			continue
		}
		if err := checkValue(rest[0], f); err != nil {
			return nil, err
		}
		args[f.name] = rest[0].text
		rest = rest[1:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("element <%s xmlns='%s'> is not expected here", rest[0].name.Local, rest[0].name.Space)
	}
	return args, nil
}

func checkValue(n *node, f field) error {
	if len(n.children) > 0 {
		return fmt.Errorf("element <%s> holds elements", f.name)
	}
	if err := checkAttrs(n); err != nil {
		return err
	}
	if f.typ != "int" {
		return nil
	}
	if _, err := strconv.ParseInt(strings.Trim(n.text, xmlSpace), 10, 32); err != nil {
		return fmt.Errorf("System.FormatException: element <%s> is not an int", f.name)
	}
	return nil
}

// checkAttrs allows xmlns and xsi:type only. The WSDL declares no attributes and nothing
// nillable in requests.
func checkAttrs(n *node) error {
	for _, a := range n.attrs {
		declared := a.Name.Space == "xmlns" || (a.Name.Space == "" && a.Name.Local == "xmlns") || (a.Name.Space == xsi && a.Name.Local == "type")
		if !declared {
			return fmt.Errorf("attribute %q is not allowed on <%s>", a.Name.Local, n.name.Local)
		}
	}
	return nil
}
