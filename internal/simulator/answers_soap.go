// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// otherNamespace is the wrong namespace in the vendor's newer documentation.
const otherNamespace = "http://www.ecgridos.net/"

const envelopeStart = `<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>`

func (b badAnswer) writeStatus() {
	status := cmp.Or(b.fault.Status, http.StatusServiceUnavailable)
	http.Error(b.w, http.StatusText(status), status)
}

func (b badAnswer) writeHugeXML() {
	op := b.req.op
	b.w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprintf(b.w, `%s<%sResponse xmlns="%s"><%sResult>`, envelopeStart, op, Namespace, op)
	if b.writeFiller() {
		fmt.Fprintf(b.w, "</%sResult></%sResponse></soap:Body></soap:Envelope>", op, op)
	}
}

func (b badAnswer) writeEntities() {
	op := b.req.op
	b.w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	fmt.Fprint(b.w, `<?xml version="1.0" encoding="utf-8"?><!DOCTYPE lolz [<!ENTITY l0 "lol">`)
	for i := 1; i < 10; i++ {
		fmt.Fprintf(b.w, `<!ENTITY l%d "%s">`, i, strings.Repeat(fmt.Sprintf("&l%d;", i-1), 10))
	}
	fmt.Fprintf(b.w, `]><soap:Envelope xmlns:soap="%s"><soap:Body><%sResponse xmlns="%s"><%sResult>&l9;</%sResult></%sResponse></soap:Body></soap:Envelope>`,
		soap11.envelope, op, Namespace, op, op, op)
}

func (b badAnswer) emptyResult()  { b.replaceResult("<" + b.req.op + "Result />") }
func (b badAnswer) absentResult() { b.replaceResult("") }
func (b badAnswer) nilResult()    { b.replaceResult("<" + b.req.op + `Result xsi:nil="true" />`) }
func (b badAnswer) nestResult() {
	b.replaceResult("<" + b.req.op + "Result><Value>$0</Value></" + b.req.op + "Result>")
}
func (b badAnswer) doubleResult() { b.replaceResult("$0$0") }

// replaceResult replaces the result element, which is $0 in the replacement.
func (b badAnswer) replaceResult(with string) {
	result := regexp.MustCompile(`(?s)<` + b.req.op + `Result>.*</` + b.req.op + `Result>`)
	b.send(b.reply.contentType, result.ReplaceAll(b.reply.body, []byte(with)))
}

func (b badAnswer) changeNamespace() {
	b.send(b.reply.contentType, bytes.ReplaceAll(b.reply.body, []byte(Namespace), []byte(otherNamespace)))
}

func (b badAnswer) renameOperation() {
	op, other := b.req.op, "UserGetAPIKey"
	if op == other {
		other = "Login"
	}
	renamed := strings.NewReplacer(op+"Response", other+"Response", op+"Result", other+"Result").Replace(string(b.reply.body))
	b.send(b.reply.contentType, []byte(renamed))
}

func (b badAnswer) writeXMLAsUTF16() {
	b.sendUTF16(strings.Replace(string(b.reply.body), `encoding="utf-8"`, `encoding="utf-16"`, 1))
}

// writeXMLAsLatin1 adds a letter that UTF-8 encodes differently.
func (b badAnswer) writeXMLAsLatin1() {
	b.sendLatin1(strings.Replace(string(b.reply.body), `encoding="utf-8"?>`, "encoding=\"iso-8859-1\"?><!-- caf\xe9 -->", 1))
}
