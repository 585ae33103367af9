// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"encoding/json"
	"io"
	"slices"

	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

const (
	// maxDepth bounds the nesting of a response. A list has 3 levels.
	maxDepth = 16
	// maxFields bounds the fields of an object. A user has 10.
	maxFields = 64
)

// parser reads JSON as a stream.
type parser struct {
	*json.Decoder
	depth  int  // of open objects and arrays
	broken bool // the rest cannot be read
	first  bool // the next token is the first of the data
	null   bool // the data is null
}

func newParser(body io.Reader) *parser {
	p := &parser{Decoder: json.NewDecoder(body)}
	p.UseNumber()
	return p
}

const (
	notJSON      = "not well-formed JSON"
	invalidValue = "invalid value"
)

// next returns the next token. It fails if the JSON is malformed.
func (p *parser) next() (json.Token, error) {
	t, err := p.Token()
	if err != nil {
		p.broken = true
		return nil, httpclient.BadAnswer(notJSON)
	}
	if p.first {
		p.first, p.null = false, t == nil
	}
	switch t {
	case json.Delim('{'), json.Delim('['):
		p.depth++
	case json.Delim('}'), json.Delim(']'):
		p.depth--
	}
	if p.depth > maxDepth {
		p.broken = true
		return nil, httpclient.BadAnswer("nested too deeply")
	}
	return t, nil
}

// skip reads a value of any kind.
func (p *parser) skip() error {
	outside := p.depth
	for {
		if _, err := p.next(); err != nil {
			return err
		}
		if p.depth == outside {
			return nil
		}
	}
}

// attempt runs read, which reads one value. If it refuses the value, the rest of the value
// is skipped. So what comes after the value can be read.
func (p *parser) attempt(read func() error) error {
	outside := p.depth
	err := read()
	for !p.broken && p.depth > outside {
		if _, malformed := p.next(); malformed != nil {
			return malformed
		}
	}
	return err
}

// isNull reads the beginning of a value. It reports whether the value is null. Otherwise it
// must be of this kind, '{' or '['.
func (p *parser) isNull(kind json.Delim) (bool, error) {
	t, err := p.next()
	if err == nil && t != nil && t != kind {
		err = httpclient.BadAnswer(invalidValue)
	}
	return t == nil, err
}

// object reads an object, or null, which has no fields. read must read the value of the
// field. A field may come only once, since the first and the last of two may differ.
func (p *parser) object(read func(name string) error) error {
	if null, err := p.isNull('{'); null || err != nil {
		return err
	}
	var names [16]string
	for seen := names[:0]; ; {
		t, err := p.next()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return nil // the end of the object
		}
		if slices.Contains(seen, name) {
			return httpclient.BadAnswer("duplicate field")
		}
		if seen = append(seen, name); len(seen) > maxFields {
			return httpclient.BadAnswer("too many fields")
		}
		if err := read(name); err != nil {
			return err
		}
	}
}

// array reads an array, or null, which has no elements. read must read one element.
func (p *parser) array(read func() error) error {
	if null, err := p.isNull('['); null || err != nil {
		return err
	}
	for p.More() {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := p.next()
	return err
}

// text reads a string, or null, which is "".
func (p *parser) text() (string, error) {
	t, err := p.next()
	if err != nil {
		return "", err
	}
	text, ok := t.(string)
	if !ok && t != nil {
		return "", httpclient.BadAnswer(invalidValue)
	}
	return text, nil
}

// boolean reads true or false. It is nil for null.
func (p *parser) boolean() (*bool, error) {
	t, err := p.next()
	if err != nil {
		return nil, err
	}
	b, ok := t.(bool)
	switch {
	case ok:
		return &b, nil
	case t == nil:
		return nil, nil
	}
	return nil, httpclient.BadAnswer(invalidValue)
}

// word reads a key or a token.
func (p *parser) word() (string, error) {
	text, err := p.text()
	if err != nil {
		return "", err
	}
	return httpclient.OneWord(text)
}
