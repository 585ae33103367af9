// SPDX-License-Identifier: MPL-2.0

package wsdltest

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const xsi = "http://www.w3.org/2001/XMLSchema-instance"

// xmlSpace is the white space of XML. Unicode has more.
const xmlSpace = " \t\r\n"

var envelopes = []string{"http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"}

// node is one element of a message.
type node struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []node     `xml:",any"`
}

// ValidateEnvelope checks that the body of a SOAP 1.1 or 1.2 message is the element want,
// as the WSDL declares it. Its errors never repeat a value of the message.
func (s *Schema) ValidateEnvelope(message []byte, want string) error {
	body, err := readBody(message)
	if err != nil {
		return err
	}
	declared, ok := s.elements[want]
	if !ok {
		return fmt.Errorf("the WSDL declares no element %s", want)
	}
	if got := body.XMLName; got.Local != want || got.Space != s.namespace {
		return fmt.Errorf("body holds {%s}%s, want {%s}%s", got.Space, got.Local, s.namespace, want)
	}
	return s.checkElement(want, body, declared)
}

// readBody returns the only element of a message's Body.
func readBody(message []byte) (node, error) {
	var root node
	d := xml.NewTokenDecoder(withoutDTD{xml.NewDecoder(bytes.NewReader(message))})
	if err := d.Decode(&root); errors.Is(err, errDTD) {
		return node{}, err
	} else if err != nil {
		return node{}, errors.New("not well-formed UTF-8 XML")
	}
	if err := onlySpaceLeft(d); err != nil {
		return node{}, err
	}
	space := root.XMLName.Space
	if root.XMLName.Local != "Envelope" || !slices.Contains(envelopes, space) {
		return node{}, errors.New("the root element is not a SOAP envelope")
	}
	parts := root.Children
	if len(parts) > 0 && parts[0].XMLName == (xml.Name{Space: space, Local: "Header"}) {
		parts = parts[1:]
	}
	if len(parts) != 1 || parts[0].XMLName != (xml.Name{Space: space, Local: "Body"}) || len(parts[0].Children) != 1 {
		return node{}, errors.New("the envelope must hold one Body with one element")
	}
	return parts[0].Children[0], nil
}

var errDTD = errors.New("a SOAP message has no DTD")

// withoutDTD refuses the parts of a DTD, wherever they are: a SOAP message has none. The XML
// decoder skips them.
type withoutDTD struct{ *xml.Decoder }

func (d withoutDTD) Token() (xml.Token, error) {
	token, err := d.RawToken()
	if _, ok := token.(xml.Directive); ok {
		return nil, errDTD
	}
	return token, err
}

func onlySpaceLeft(d *xml.Decoder) error {
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if text, ok := token.(xml.CharData); err != nil || !ok || strings.Trim(string(text), xmlSpace) != "" {
			return errors.New("data after the envelope")
		}
	}
}

func (s *Schema) checkElement(path string, n node, e element) error {
	isNil, err := checkAttrs(path, n, e)
	if err != nil {
		return err
	}
	if isNil {
		if len(n.Children) > 0 || n.Text != "" {
			return fmt.Errorf("%s: nil, but not empty", path)
		}
		return nil
	}
	if e.Complex != nil {
		return s.checkSequence(path, n, *e.Complex)
	}
	if t, ok := s.complex[local(e.Type)]; ok && !strings.HasPrefix(e.Type, "s:") {
		return s.checkSequence(path, n, t)
	}
	return s.checkSimple(path, n, e.Type)
}

// checkAttrs accepts only xmlns and xsi attributes: no type of the WSDL declares any. It
// reports whether the element is nil.
func checkAttrs(path string, n node, e element) (isNil bool, err error) {
	for _, a := range n.Attrs {
		switch {
		case a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns":
		case a.Name.Space == xsi && a.Name.Local == "nil":
			isNil = a.Value == "true" || a.Value == "1"
		case a.Name.Space == xsi:
		default:
			return false, fmt.Errorf("%s: attribute %s is not declared", path, a.Name.Local)
		}
	}
	if isNil && !e.Nillable {
		return false, fmt.Errorf("%s: nil, but not nillable", path)
	}
	return isNil, nil
}

// checkSequence checks the children of n against the declarations of a sequence, in order.
func (s *Schema) checkSequence(path string, n node, t complexType) error {
	if len(t.Any) > 0 {
		return fmt.Errorf("%s: the type allows any content, which this package does not support", path)
	}
	if strings.Trim(n.Text, xmlSpace) != "" {
		return fmt.Errorf("%s: text between elements", path)
	}
	rest := n.Children
	for _, e := range t.Sequence {
		least, most, err := e.occurs()
		if err != nil {
			return fmt.Errorf("%s/%s: %w", path, e.Name, err)
		}
		count := 0
		for len(rest) > 0 && count < most && rest[0].XMLName == (xml.Name{Space: s.namespace, Local: e.Name}) {
			if err := s.checkElement(path+"/"+e.Name, rest[0], e); err != nil {
				return err
			}
			rest = rest[1:]
			count++
		}
		if count < least {
			return fmt.Errorf("%s: %s is missing or out of order", path, e.Name)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%s: {%s}%s is unknown, out of order or too many", path, rest[0].XMLName.Space, rest[0].XMLName.Local)
	}
	return nil
}

// occurs returns minOccurs and maxOccurs. Both default to 1.
func (e element) occurs() (least, most int, err error) {
	least, most = 1, 1
	if e.Min != "" {
		if least, err = strconv.Atoi(e.Min); err != nil {
			return 0, 0, errors.New("minOccurs is not a number")
		}
	}
	if e.Max == "unbounded" {
		return least, math.MaxInt, nil
	}
	if e.Max != "" {
		if most, err = strconv.Atoi(e.Max); err != nil {
			return 0, 0, errors.New("maxOccurs is not a number")
		}
	}
	return least, most, nil
}

func (s *Schema) checkSimple(path string, n node, typ string) error {
	if len(n.Children) > 0 {
		return fmt.Errorf("%s: elements in a value", path)
	}
	if t, ok := s.simple[local(typ)]; ok && !strings.HasPrefix(typ, "s:") {
		if !slices.Contains(t.Restriction.Enum, enumeration{n.Text}) {
			return fmt.Errorf("%s: not a value of %s", path, t.Name)
		}
		return nil
	}
	if typ == "s:string" {
		return nil
	}
	valid, ok := lexicalForms[typ]
	if !ok {
		return fmt.Errorf("%s: this package does not support type %s", path, typ)
	}
	if !valid(strings.Trim(n.Text, xmlSpace)) {
		return fmt.Errorf("%s: not a valid %s", path, typ)
	}
	return nil
}

// lexicalForms validates the types of XML Schema, without surrounding white space.
var lexicalForms = map[string]func(string) bool{
	"s:int":          integer(32),
	"s:short":        integer(16),
	"s:long":         integer(64),
	"s:unsignedByte": func(v string) bool { n, err := strconv.ParseInt(v, 10, 16); return err == nil && n >= 0 && n < 256 },
	"s:float":        number,
	"s:double":       number,
	"s:decimal":      regexp.MustCompile(`^[+-]?(\d+(\.\d*)?|\.\d+)$`).MatchString,
	"s:boolean":      func(v string) bool { return slices.Contains([]string{"true", "false", "1", "0"}, v) },
	"s:dateTime":     isDateTime,
	"s:base64Binary": isBase64,
}

func integer(bits int) func(string) bool {
	return func(v string) bool { _, err := strconv.ParseInt(v, 10, bits); return err == nil }
}

// number is not strconv.ParseFloat, which also accepts hexadecimal, underscores and other
// words.
var number = regexp.MustCompile(`^(-?INF|NaN|[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?)$`).MatchString

// dateTime has the form of a dateTime. Its submatches are the last four digits of the year,
// and the month and day.
var dateTime = regexp.MustCompile(`^-?\d*(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-](0\d|1[0-3]):[0-5]\d|[+-]14:00)?$`)

// isDateTime checks the day in its month too. The last four digits of a year tell whether it
// is a leap year.
func isDateTime(v string) bool {
	parts := dateTime.FindStringSubmatch(v)
	if parts == nil {
		return false
	}
	_, err := time.Parse(time.DateOnly, parts[1])
	return err == nil
}

func isBase64(v string) bool {
	v = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(v)
	_, err := base64.StdEncoding.DecodeString(v)
	return err == nil
}
