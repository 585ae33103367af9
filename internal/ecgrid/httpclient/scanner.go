// SPDX-License-Identifier: MPL-2.0

package httpclient

import "strings"

// Scanner reads a response that is as simple as ECGrid usually writes it, without a parser.
type Scanner struct{ Rest []byte }

// Skip skips a literal. It returns false if the rest does not begin with it.
func (s *Scanner) Skip(literal string) bool {
	if len(s.Rest) < len(literal) || string(s.Rest[:len(literal)]) != literal {
		return false
	}
	s.Rest = s.Rest[len(literal):]
	return true
}

// Word reads the printable ASCII without spaces up to a character that is special to the
// parser.
func (s *Scanner) Word(special string) []byte {
	n := 0
	for n < len(s.Rest) && s.Rest[n] > ' ' && s.Rest[n] < 0x7F && strings.IndexByte(special, s.Rest[n]) < 0 {
		n++
	}
	word := s.Rest[:n]
	s.Rest = s.Rest[n:]
	return word
}
