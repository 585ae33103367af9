// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"bytes"
	"io"
	"sync"

	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// plainSize is more than a response with a key, in bytes.
const plainSize = 1 << 10

var plainBuffers = sync.Pool{New: func() any { return new([plainSize]byte) }}

// plainKey reads the beginning of a body. If the whole body is a response as simple as ECGrid
// writes it, plainKey returns its key, which saves most of the work of a read. Otherwise the
// parser must read what rest returns.
func plainKey(body *httpclient.Body) (key string, ok bool, rest io.Reader, release func()) {
	buf := plainBuffers.Get().(*[plainSize]byte)
	n, _ := io.ReadFull(body, buf[:]) // an error is returned again
	release = func() {
		clear(buf[:n]) // of the key
		plainBuffers.Put(buf)
	}
	if n < len(buf) && body.Failure() == nil { // that is all
		if word, plain := plainData(buf[:n]); plain {
			return string(word), true, nil, release
		}
	}
	return "", false, io.MultiReader(bytes.NewReader(buf[:n]), body), release
}

// plainFields are what a plain response has besides its data. A field may come once.
var plainFields = []struct {
	text string
	bit  uint
}{
	{`"success":true`, hasSuccess},
	{`"errorCode":""`, hasErrorCode}, {`"errorCode":null`, hasErrorCode},
	{`"message":""`, hasMessage}, {`"message":null`, hasMessage},
}

const (
	hasData uint = 1 << iota
	hasSuccess
	hasErrorCode
	hasMessage
)

// plainData returns the data of a response without an error, if that is one word and nothing
// in the response needs the parser. It accepts nothing that the parser would read differently
// (FuzzPlainData).
func plainData(body []byte) (word []byte, ok bool) {
	s := httpclient.Scanner{Rest: bytes.TrimRight(body, "\r\n")}
	var seen, bit uint
	for more := s.Skip("{"); more; more = s.Skip(",") {
		if s.Skip(`"data":"`) {
			word, bit = s.Word(`"\`), hasData
			ok = s.Skip(`"`)
		} else {
			bit, ok = plainField(&s)
		}
		if !ok || seen&bit != 0 {
			return nil, false
		}
		seen |= bit
	}
	return word, string(s.Rest) == "}" && seen&hasSuccess != 0 && len(word) > 0
}

func plainField(s *httpclient.Scanner) (bit uint, ok bool) {
	for _, field := range plainFields {
		if s.Skip(field.text) {
			return field.bit, true
		}
	}
	return 0, false
}
