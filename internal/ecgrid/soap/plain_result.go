package soap

import (
	"bytes"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// plainResult returns the text of the result of op, if body is a response as ASP.NET
// writes it and the text is one word that needs no unescaping. Otherwise ok is false and
// the parser must read the body. It saves most of the work of a read, and accepts nothing
// that the parser would read differently (FuzzPlainResult).
func plainResult(op string, body []byte) (text string, ok bool) {
	s := scanner{rest: body}
	if s.skip(`<?xml version="1.0" encoding="utf-8"?>`) {
		s.skipSpace()
	}
	ok = s.skip("<soap:Envelope") && s.skipNamespaces() && s.skip("><soap:Body><") &&
		s.skip(op) && s.skip(`Response xmlns="`+nsECGrid+`"><`) && s.skip(op) && s.skip("Result>")
	if !ok {
		return "", false
	}
	word := s.word()
	ok = len(word) > 0 && s.skip("</") && s.skip(op) && s.skip("Result></") && s.skip(op) &&
		s.skip("Response></soap:Body></soap:Envelope>")
	s.skipSpace()
	if !ok || len(s.rest) > 0 {
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

type scanner struct{ rest []byte }

func (s *scanner) skip(literal string) bool {
	if len(s.rest) < len(literal) || string(s.rest[:len(literal)]) != literal {
		return false
	}
	s.rest = s.rest[len(literal):]
	return true
}

func (s *scanner) skipSpace() { s.rest = bytes.TrimLeft(s.rest, ecgrid.Space) }

// skipNamespaces skips the namespaces of the envelope, in any order. It returns false
// unless that of SOAP is there and none is there twice.
func (s *scanner) skipNamespaces() bool {
	var seen [len(envelopeNamespaces)]bool
	for s.rest != nil && bytes.HasPrefix(s.rest, []byte(" ")) {
		found := false
		for i, namespace := range envelopeNamespaces {
			if !seen[i] && s.skip(namespace) {
				seen[i], found = true, true
			}
		}
		if !found {
			return false
		}
	}
	return seen[0]
}

// word returns the printable ASCII up to a character that needs the parser.
func (s *scanner) word() []byte {
	n := 0
	for n < len(s.rest) && s.rest[n] > ' ' && s.rest[n] < 0x7F && strings.IndexByte("<>&", s.rest[n]) < 0 {
		n++
	}
	word := s.rest[:n]
	s.rest = s.rest[n:]
	return word
}
