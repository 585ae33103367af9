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

const (
	unknownCode        = "unknown code"
	contradictingCodes = "codes that contradict each other"
)

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
	f = &failure{kind: ecgrid.ErrFault, reason: unknownCode}
	if isNumber && len(text) <= maxCode {
		f.reason = "code " + strconv.Itoa(n)
	}
	return f, false
}

// verdict is what the codes of one fault say together. ECGrid puts the same thing
// into several elements, of which some may be unknown here.
type verdict struct {
	known, unknown *failure
	conflict       bool
}

func (v *verdict) add(text string) {
	f, known := faultMeaning(text)
	switch {
	case !known && (v.unknown == nil || v.unknown.reason == unknownCode):
		v.unknown = f
	case known && v.known == nil:
		v.known = f
	case known && f.kind != v.known.kind:
		v.conflict = true
	}
}

// failure is nil where there was no code at all.
func (v *verdict) failure() *failure {
	switch {
	case v.conflict:
		return &failure{kind: ecgrid.ErrFault, reason: contradictingCodes}
	case v.known != nil:
		return v.known
	}
	return v.unknown
}

// serverCodes are the fault codes with which SOAP 1.1 and 1.2 blame the server.
var serverCodes = map[string]bool{"Server": true, "Receiver": true}

// blame is whom the fault codes of one fault name.
type blame struct{ server, other bool }

func (b *blame) add(faultcode string) {
	if serverCodes[localPart(faultcode)] {
		b.server = true
		return
	}
	b.other = true
}

// fault reads the element at hand, a SOAP Fault. The codes in its detail decide,
// but it is the server's own only if its fault code says so too: in answer to a
// Login anything else is a refusal, and to take one for an accident locks the
// account.
func (a *answer) fault(soap string) (*failure, error) {
	var blames blame
	var codes verdict
	err := a.children(func(start xml.StartElement) error {
		if start.Name.Space != "" && start.Name.Space != soap {
			return a.skip()
		}
		switch start.Name.Local {
		case "faultcode":
			return a.faultCode(&blames, (*answer).string)
		case "Code": // SOAP 1.2
			return a.faultCode(&blames, (*answer).faultValue)
		case "detail", "Detail":
			return a.faultDetail(&codes)
		}
		return a.skip()
	})
	if err != nil {
		return nil, err
	}
	f := codes.failure()
	if f == nil {
		f = &failure{kind: ecgrid.ErrServerFault, reason: "no code"}
	}
	if f.kind == ecgrid.ErrServerFault && (!blames.server || blames.other) {
		f.kind = ecgrid.ErrFault
	}
	return f, nil
}

func (a *answer) faultCode(to *blame, read func(*answer) (string, error)) error {
	text, err := read(a)
	if err == nil {
		to.add(text)
	}
	return err
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
var codeElements = map[string]bool{"ErrorCode": true, "ErrorString": true, "ECGridOSSOAPErrorCode": true}

// maxCodeText bounds the text of a code, in bytes; what is longer is no code.
const maxCodeText = 256

// faultDetail looks through the element at hand, at any depth, for codes.
func (a *answer) faultDetail(to *verdict) error {
	var inCode bool
	var text []byte
	for outside := a.depth - 1; a.depth > outside; {
		t, err := a.next()
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
			if code := strings.Trim(string(text), xmlSpace); inCode && code != "" {
				to.add(code[:min(len(code), maxCodeText)])
			}
			inCode = false
		}
	}
	return nil
}
