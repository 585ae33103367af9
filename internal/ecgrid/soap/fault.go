package soap

import (
	"encoding/xml"
	"strconv"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// code is what ECGrid is known to put into a fault.
type code struct {
	name string
	// number is the place in the WSDL's RetCode, from which numbers are deduced
	// (the documents' samples agree), or -1.
	number int
	kind   error
}

// codes: the names of the newer documents, then RetCode of the WSDL.
var codes = []code{
	{"Authentication", -1, ecgrid.ErrAuthentication},
	{"Authorization", -1, ecgrid.ErrAccessDenied},
	{"ObjectNotFound", -1, ecgrid.ErrNotFound},
	{"InvalidParameter", -1, ecgrid.ErrFault},
	{"SystemError", -1, ecgrid.ErrServerFault},
	// The one number that the documents name. RetCode would have it Duplicate,
	// which no operation of ours can cause.
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

// maxCode is the longest number of an unknown code that an error repeats, in
// digits: long enough for a code, too short for a secret.
const maxCode = 5

// faultMeaning gives the failure for the text of a code, which is not "".
func faultMeaning(text string) (f *failure, known bool) {
	n, err := strconv.Atoi(text)
	isNumber := err == nil && n >= 0
	for _, c := range codes {
		if text == c.name {
			return &failure{kind: c.kind, reason: "code " + c.name}, true
		}
		if isNumber && n == c.number {
			return &failure{kind: c.kind, reason: "code " + strconv.Itoa(n)}, true
		}
	}
	f = &failure{kind: ecgrid.ErrFault, reason: "unknown code"}
	if isNumber && len(text) <= maxCode {
		f.reason = "code " + strconv.Itoa(n)
	}
	return f, false
}

// serverCodes are the fault codes with which SOAP 1.1 and 1.2 blame the server.
var serverCodes = map[string]bool{"Server": true, "Receiver": true}

// fault reads the element at hand, a SOAP Fault. A code in its detail decides;
// without one, whom the fault blames.
func (a *answer) fault(soap string) (*failure, error) {
	var blame string
	var detail *failure
	err := a.children(func(start xml.StartElement) (err error) {
		if start.Name.Space != "" && start.Name.Space != soap {
			return a.skip()
		}
		switch start.Name.Local {
		case "faultcode":
			blame, err = a.string()
		case "Code": // SOAP 1.2
			blame, err = a.faultValue()
		case "detail", "Detail":
			detail, err = a.faultDetail()
		default:
			err = a.skip()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	switch {
	case detail != nil:
		return detail, nil
	case serverCodes[localPart(blame)]:
		return &failure{kind: ecgrid.ErrServerFault, reason: "no code"}, nil
	}
	return &failure{kind: ecgrid.ErrFault, reason: "no code"}, nil
}

// localPart takes "Server" out of "soap:Server.Reason".
func localPart(code string) string {
	code = strings.Trim(code, xmlSpace)
	code = code[strings.LastIndexByte(code, ':')+1:]
	code, _, _ = strings.Cut(code, ".")
	return code
}

// faultValue reads the Value of a SOAP 1.2 Code; its Subcode is passed over.
func (a *answer) faultValue() (value string, err error) {
	err = a.children(func(start xml.StartElement) (err error) {
		if start.Name.Local != "Value" || value != "" {
			return a.skip()
		}
		value, err = a.string()
		return err
	})
	return value, err
}

// codeElements hold a code, wherever in detail they are and in whichever
// namespace: neither is documented.
var codeElements = map[string]bool{"ErrorCode": true, "ECGridOSSOAPErrorCode": true}

// maxCodeText bounds the text of a code, in bytes; what is longer is no code.
const maxCodeText = 256

// faultDetail looks through the element at hand, at any depth, for the first
// code that is known, else the first there is, else nil.
func (a *answer) faultDetail() (found *failure, err error) {
	var known, inCode bool // known: found is, and stays
	var text []byte
	for outside := a.depth - 1; a.depth > outside; {
		t, err := a.next()
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			inCode, text = codeElements[t.Name.Local], text[:0]
		case xml.CharData:
			if inCode && len(text) <= maxCodeText {
				text = append(text, t...)
			}
		case xml.EndElement:
			if code := strings.Trim(string(text), xmlSpace); inCode && !known && code != "" {
				f, isKnown := faultMeaning(code[:min(len(code), maxCodeText)])
				if isKnown || found == nil {
					found, known = f, isKnown
				}
			}
			inCode = false
		}
	}
	return found, nil
}
