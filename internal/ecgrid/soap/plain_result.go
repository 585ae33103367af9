// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"bytes"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// plainResult returns the text of the result of op, if body is a response as ASP.NET
// writes it and the text is one word that needs no unescaping. Otherwise ok is false and
// the parser must read the body. It saves most of the work of a read, and accepts nothing
// that the parser would read differently (FuzzPlainResult).
func plainResult(op string, body []byte) (text string, ok bool) {
	s := httpclient.Scanner{Rest: body}
	if s.Skip(`<?xml version="1.0" encoding="utf-8"?>`) {
		skipSpace(&s)
	}
	ok = s.Skip("<soap:Envelope") && skipNamespaces(&s) && s.Skip("><soap:Body><") &&
		s.Skip(op) && s.Skip(`Response xmlns="`+nsECGrid+`"><`) && s.Skip(op) && s.Skip("Result>")
	if !ok {
		return "", false
	}
	word := s.Word("<>&")
	ok = len(word) > 0 && s.Skip("</") && s.Skip(op) && s.Skip("Result></") && s.Skip(op) &&
		s.Skip("Response></soap:Body></soap:Envelope>")
	skipSpace(&s)
	if !ok || len(s.Rest) > 0 {
		return "", false
	}
	return string(word), true
}

// envelopeNamespaces are those that ASP.NET declares.
var envelopeNamespaces = [...]string{
	` xmlns:soap="` + nsSOAP11 + `"`,
	` xmlns:xsi="` + nsXSI + `"`,
	` xmlns:xsd="http://www.w3.org/2001/XMLSchema"`,
}

func skipSpace(s *httpclient.Scanner) { s.Rest = bytes.TrimLeft(s.Rest, ecgrid.Space) }

// skipNamespaces skips the namespaces of the envelope, in any order. It returns false
// unless that of SOAP is there and none is there twice.
func skipNamespaces(s *httpclient.Scanner) bool {
	var seen [len(envelopeNamespaces)]bool
	for bytes.HasPrefix(s.Rest, []byte(" ")) {
		found := false
		for i, namespace := range envelopeNamespaces {
			if !seen[i] && s.Skip(namespace) {
				seen[i], found = true, true
			}
		}
		if !found {
			return false
		}
	}
	return seen[0]
}
