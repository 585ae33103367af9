// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"encoding/xml"
	"strconv"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// errorCode is an error code that ECGrid puts into the detail of a fault.
type errorCode struct {
	name string
	// number is the position in the WSDL's RetCode, or -1. The vendor does not document
	// the numbers, but its samples agree with the positions.
	number int
	kind   error
}

// errorCodes holds the names of the newer documents, then RetCode of the WSDL.
var errorCodes = []errorCode{
	{"Authentication", -1, ecgrid.ErrAuthentication},
	{"Authorization", -1, ecgrid.ErrAccessDenied},
	{"ObjectNotFound", -1, ecgrid.ErrNotFound},
	{"InvalidParameter", -1, ecgrid.ErrFault},
	{"SystemError", -1, ecgrid.ErrServerFault},
	// The only number in the documents. In RetCode it would be Duplicate, which no
	// operation of this client can cause.
	{"", 5, ecgrid.ErrSessionExpired},
	{"Unknown", -1, ecgrid.ErrFault},
	{"Success", 0, ecgrid.ErrFault},
	{"SessionTimeout", 1, ecgrid.ErrSessionExpired},
	{"AccessDenied", 2, ecgrid.ErrAccessDenied},
	{"NotFound", 3, ecgrid.ErrNotFound},
	{"InvalidID", 4, ecgrid.ErrNotFound},
	{"Duplicate", -1, ecgrid.ErrFault},
	{"IDExistsOnNetwork", 6, ecgrid.ErrFault},
	{"InvalidDataType", 7, ecgrid.ErrFault},
	{"InvalidDataLength", 8, ecgrid.ErrFault},
	{"DataError", 9, ecgrid.ErrServerFault},
	{"SQLError", 10, ecgrid.ErrServerFault},
	{"InternalError", 11, ecgrid.ErrServerFault},
}

const (
	noCode             = "no code"
	unknownCode        = "unknown code"
	contradictoryCodes = "contradictory codes"
)

// maxCodeDigits limits the unknown numbers that an error repeats: long enough for a code,
// too short for a secret.
const maxCodeDigits = 5

// classifyCode returns the failure that an error code stands for. text is not "".
func classifyCode(text string) (f *httpclient.Failure, known bool) {
	n, err := strconv.Atoi(text)
	isNumber := err == nil && n >= 0
	for _, c := range errorCodes {
		if text == c.name {
			return &httpclient.Failure{Kind: c.kind, Reason: "code " + c.name}, true
		}
		if isNumber && n == c.number {
			return &httpclient.Failure{Kind: c.kind, Reason: "code " + strconv.Itoa(n)}, true
		}
	}
	f = &httpclient.Failure{Kind: ecgrid.ErrFault, Reason: unknownCode}
	if isNumber && len(text) <= maxCodeDigits {
		f.Reason = "code " + strconv.Itoa(n)
	}
	return f, false
}

// faultCodes combines the codes of one fault. ECGrid repeats its error code in several
// elements, and may do so in a form that is not known here.
type faultCodes struct {
	known, unknown *httpclient.Failure
	contradictory  bool
	// blamesServer and blamesOther tell whom the faultcode elements of SOAP blame.
	blamesServer, blamesOther bool
}

// addErrorCode adds one of ECGrid's error codes.
func (c *faultCodes) addErrorCode(text string) {
	f, known := classifyCode(text)
	switch {
	case !known && (c.unknown == nil || c.unknown.Reason == unknownCode):
		c.unknown = f
	case known && c.known == nil:
		c.known = f
	case known && f.Kind != c.known.Kind:
		c.contradictory = true
	}
}

// addFaultCode adds a faultcode of SOAP, such as "soap:Server.Reason".
func (c *faultCodes) addFaultCode(text string) {
	text = strings.Trim(text, ecgrid.Space)
	text = text[strings.LastIndexByte(text, ':')+1:]
	text, _, _ = strings.Cut(text, ".")
	if text == "Server" || text == "Receiver" { // of SOAP 1.1, of SOAP 1.2
		c.blamesServer = true
	} else {
		c.blamesOther = true
	}
}

// failure classifies the fault. The error codes decide, but only a fault whose faultcode
// blames the server is a server fault. For a Login, any other fault is a refusal, and
// retrying a refusal would lock the account.
func (c *faultCodes) failure() *httpclient.Failure {
	f := &httpclient.Failure{Kind: ecgrid.ErrServerFault, Reason: noCode}
	switch {
	case c.contradictory:
		f = &httpclient.Failure{Kind: ecgrid.ErrFault, Reason: contradictoryCodes}
	case c.known != nil:
		f = c.known
	case c.unknown != nil:
		f = c.unknown
	}
	if f.Kind == ecgrid.ErrServerFault && (!c.blamesServer || c.blamesOther) {
		f.Kind = ecgrid.ErrFault
	}
	return f
}

// fault reads the element, a SOAP Fault.
func (p *parser) fault(soap string) (*httpclient.Failure, error) {
	var codes faultCodes
	err := p.children(func(start xml.StartElement) error {
		if start.Name.Space != "" && start.Name.Space != soap {
			return p.skip()
		}
		switch start.Name.Local {
		case "faultcode":
			text, err := p.text()
			codes.addFaultCode(text)
			return err
		case "Code": // SOAP 1.2
			text, err := p.faultValue()
			codes.addFaultCode(text)
			return err
		case "detail", "Detail":
			return p.faultDetail(&codes)
		}
		return p.skip()
	})
	return codes.failure(), err
}

// faultValue reads the Value of a SOAP 1.2 Code. It skips the Subcode.
func (p *parser) faultValue() (value string, err error) {
	err = p.children(func(start xml.StartElement) (err error) {
		if start.Name.Local != "Value" || value != "" {
			return p.skip()
		}
		value, err = p.text()
		return err
	})
	return value, err
}

// codeElements hold an error code, at any depth of the detail and in any namespace:
// neither is documented.
var codeElements = map[string]bool{"ErrorCode": true, "ErrorString": true, "ECGridOSSOAPErrorCode": true}

// maxCodeText bounds the text of an error code, in bytes. Longer text is not a code.
const maxCodeText = 256

// faultDetail reads the element and collects the error codes in it.
func (p *parser) faultDetail(codes *faultCodes) error {
	var inCode bool
	var text []byte
	for outside := p.depth - 1; p.depth > outside; {
		t, err := p.next()
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			inCode, text = codeElements[t.Name.Local], text[:0]
		case xml.CharData:
			if inCode && len(text) <= maxCodeText {
				text = append(text, t...)
			}
		case xml.EndElement:
			if code := strings.Trim(string(text), ecgrid.Space); inCode && code != "" {
				codes.addErrorCode(code[:min(len(code), maxCodeText)])
			}
			inCode = false
		}
	}
	return nil
}
