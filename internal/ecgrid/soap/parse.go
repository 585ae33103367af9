// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"encoding/xml"
	"io"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// maxDepth bounds the nesting of a response, in elements.
const maxDepth = 64

// parser reads a SOAP response, one XML token at a time. "The element" below is the one
// whose start tag was read last: a method that reads it reads up to and including its end
// tag.
type parser struct {
	in      *boundedReader
	dec     *xml.Decoder
	started bool // a token was read
	depth   int
	textBuf []byte // reused by text
}

func newParser(in *boundedReader) *parser {
	return &parser{in: in, dec: xml.NewDecoder(in)}
}

// next returns the next StartElement, EndElement or CharData. It skips comments, and an
// XML declaration at the start. SOAP forbids DTDs and other processing instructions.
func (p *parser) next() (xml.Token, error) {
	for {
		p.in.tokenSize = 0
		t, err := p.dec.Token()
		if err != nil {
			return nil, err
		}
		first := !p.started
		p.started = true
		switch t := t.(type) {
		case xml.Comment:
			continue
		case xml.ProcInst:
			if first && t.Target == "xml" {
				continue
			}
			return nil, badAnswer("processing instruction")
		case xml.Directive:
			return nil, badAnswer("DTD")
		case xml.StartElement:
			if p.depth++; p.depth > maxDepth {
				return nil, badAnswer("nested too deeply")
			}
		case xml.EndElement:
			p.depth--
		}
		return t, nil
	}
}

// children reads the element. It calls read for each child, which must read the child to
// its end. Only white space may stand between children.
func (p *parser) children(read func(xml.StartElement) error) error {
	for {
		t, err := p.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if err := read(t); err != nil {
				return err
			}
		case xml.EndElement:
			return nil
		case xml.CharData:
			if !isSpace(t) {
				return badAnswer("text between elements")
			}
		}
	}
}

// skip skips the element.
func (p *parser) skip() error {
	for outside := p.depth - 1; p.depth > outside; {
		if _, err := p.next(); err != nil {
			return err
		}
	}
	return nil
}

// text reads the element, which must hold only text.
func (p *parser) text() (string, error) {
	p.textBuf = p.textBuf[:0]
	for {
		t, err := p.next()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.StartElement:
			return "", badAnswer("element inside text")
		case xml.EndElement:
			return string(p.textBuf), nil
		case xml.CharData:
			if len(p.textBuf)+len(t) > maxTokenSize {
				return "", badAnswer(httpclient.TooLarge)
			}
			p.textBuf = append(p.textBuf, t...)
		}
	}
}

// parse reads the response to op to its end. It calls parseResult with the result element,
// if there is one. Without wantResult, only a fault is accepted.
func (p *parser) parse(op string, wantResult bool, parseResult func(*parser) error) error {
	soap, err := p.envelope()
	if err != nil {
		return err
	}
	var hasBody bool
	var fault *httpclient.Failure
	err = p.children(func(start xml.StartElement) error {
		switch {
		case start.Name == xml.Name{Space: soap, Local: "Header"} && !hasBody:
			return p.skip()
		case start.Name == xml.Name{Space: soap, Local: "Body"} && !hasBody:
			hasBody = true
			fault, err = p.body(op, soap, wantResult, parseResult)
			return err
		}
		return badAnswer("not a SOAP envelope")
	})
	if err != nil {
		return err
	}
	if !hasBody {
		return badAnswer("no SOAP body")
	}
	if err := p.endOfDocument(); err != nil {
		return err
	}
	if fault != nil {
		return fault
	}
	return nil
}

// envelope reads the start of the envelope and returns its namespace.
func (p *parser) envelope() (string, error) {
	for {
		t, err := p.next()
		if err != nil {
			return "", err
		}
		switch t := t.(type) {
		case xml.CharData:
			if !isSpace(t) {
				return "", badAnswer("not XML")
			}
		case xml.StartElement:
			if t.Name.Local != "Envelope" || t.Name.Space != nsSOAP11 && t.Name.Space != nsSOAP12 {
				return "", badAnswer("not a SOAP envelope")
			}
			return t.Name.Space, nil
		}
	}
}

// body reads the only child of the SOAP body.
func (p *parser) body(op, soap string, wantResult bool, parseResult func(*parser) error) (fault *httpclient.Failure, err error) {
	var seen bool
	err = p.children(func(start xml.StartElement) (err error) {
		isFault := start.Name == xml.Name{Space: soap, Local: "Fault"}
		isResponse := wantResult && soap == nsSOAP11 && isName(start.Name, op, "Response")
		switch {
		case seen:
			return badAnswer("more than one response")
		case isFault:
			fault, err = p.fault(soap)
		case isResponse:
			err = p.response(op, parseResult)
		default:
			return badAnswer("not a response to this call")
		}
		seen = true
		return err
	})
	if err == nil && !seen {
		err = badAnswer("empty SOAP body")
	}
	return fault, err
}

// response reads <OpResponse>. The result may be absent, but no other element may replace
// it: what an intermediary puts there does not prove that there is no result.
func (p *parser) response(op string, parseResult func(*parser) error) error {
	var seen bool
	return p.children(func(start xml.StartElement) error {
		switch {
		case !isName(start.Name, op, "Result"):
			return badAnswer(unexpectedElement)
		case seen:
			return badAnswer("more than one result")
		}
		seen = true
		if isNil(start) {
			return p.nilElement()
		}
		return parseResult(p)
	})
}

const (
	unexpectedElement = "unexpected element"
	nilNotEmpty       = "nil element is not empty"
)

// nilElement reads the element, which is nil and so must be empty.
func (p *parser) nilElement() error {
	text, err := p.text()
	if err == nil && strings.Trim(text, ecgrid.Space) != "" {
		err = badAnswer(nilNotEmpty)
	}
	return err
}

// endOfDocument makes sure that nothing follows the envelope. It reads the HTTP body to
// its end, so that the connection can be used again.
func (p *parser) endOfDocument() error {
	for {
		t, err := p.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if text, ok := t.(xml.CharData); !ok || !isSpace(text) {
			return badAnswer("data after the response")
		}
	}
}

// isName reports whether n is op+suffix. It does not concatenate them, which would
// allocate.
func isName(n xml.Name, op, suffix string) bool {
	return n.Space == nsECGrid && len(n.Local) == len(op)+len(suffix) &&
		strings.HasPrefix(n.Local, op) && strings.HasSuffix(n.Local, suffix)
}

func isNil(start xml.StartElement) bool {
	for _, at := range start.Attr {
		if at.Name.Space == nsXSI && at.Name.Local == "nil" {
			v := strings.Trim(at.Value, ecgrid.Space)
			return v == "true" || v == "1"
		}
	}
	return false
}

func isSpace(text []byte) bool {
	for _, b := range text {
		if strings.IndexByte(ecgrid.Space, b) < 0 {
			return false
		}
	}
	return true
}
