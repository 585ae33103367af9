// SPDX-License-Identifier: MPL-2.0

package soap

import "strconv"

const (
	nsECGrid = "https://os.ecgrid.io/"
	nsSOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
	nsSOAP12 = "http://www.w3.org/2003/05/soap-envelope"
	nsXSI    = "http://www.w3.org/2001/XMLSchema-instance"

	envelopeHead = `<?xml version="1.0" encoding="utf-8"?>` +
		`<soap:Envelope xmlns:soap="` + nsSOAP11 + `"><soap:Body>`
	envelopeTail = `</soap:Body></soap:Envelope>`
)

// envelope builds the SOAP envelope of a request. Parameters must be added in the order
// of the WSDL: .NET ignores one that comes too late.
type envelope struct {
	op      *operation
	buf     []byte
	invalid string // name of the first parameter that XML cannot represent
	userID  int32  // the user whom the call is about, if any
}

func newEnvelope(op *operation, size int) *envelope {
	e := &envelope{op: op, buf: make([]byte, 0, len(envelopeHead)+len(envelopeTail)+256+size)}
	e.buf = append(e.buf, envelopeHead...)
	e.buf = append(e.buf, '<')
	e.buf = append(e.buf, op.Name...)
	e.buf = append(e.buf, ` xmlns="`+nsECGrid+`">`...)
	return e
}

func (e *envelope) str(name, value string) *envelope {
	e.startTag(name)
	var ok bool
	if e.buf, ok = appendEscaped(e.buf, value); !ok && e.invalid == "" {
		e.invalid = name
	}
	e.endTag(name)
	return e
}

func (e *envelope) user(id int32) *envelope {
	e.userID = id
	e.startTag("UserID")
	e.buf = strconv.AppendInt(e.buf, int64(id), 10)
	e.endTag("UserID")
	return e
}

func (e *envelope) startTag(name string) {
	e.buf = append(e.buf, '<')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '>')
}

func (e *envelope) endTag(name string) {
	e.buf = append(e.buf, '<', '/')
	e.buf = append(e.buf, name...)
	e.buf = append(e.buf, '>')
}

// close returns the finished request. If invalid is not "", it names a parameter that
// cannot be sent.
func (e *envelope) close() (body []byte, invalid string) {
	e.endTag(e.op.Name)
	e.buf = append(e.buf, envelopeTail...)
	return e.buf, e.invalid
}
