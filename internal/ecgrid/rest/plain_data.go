package rest

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// plainBuffers are for responses with a key, which are short.
var plainBuffers = sync.Pool{New: func() any { return new([1 << 10]byte) }}

// parseKey is parseResponse for a response whose data is a key. It saves most of the work if
// the response is as simple as ECGrid writes it.
func parseKey(resp *http.Response, maxBody int64, call call, key *string) (found bool, f *httpclient.Failure) {
	buf := plainBuffers.Get().(*[1 << 10]byte)
	n, err := fill(buf[:], resp.Body)
	defer func() {
		clear(buf[:n]) // of the key
		plainBuffers.Put(buf)
	}()
	if err == io.EOF && resp.StatusCode == http.StatusOK { // that is all
		if word, ok := plainData(buf[:n]); ok {
			*key = string(word)
			return true, nil
		}
	}
	rest := resp.Body
	defer func() { resp.Body = rest }()
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(buf[:n]), failing{err, rest}))
	return parseResponse(resp, maxBody, call, func(p *parser) (err error) {
		*key, err = p.word()
		return err
	})
}

// failing continues a body after what was read of it, or with the error that ended that.
type failing struct {
	err  error
	rest io.Reader
}

func (f failing) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.rest.Read(p)
}

// fill reads until buf is full, or until an error or io.EOF. Unlike io.ReadFull, it does not
// return the error of an incomplete body for the end of one.
func fill(buf []byte, from io.Reader) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = from.Read(buf[n:])
		n += more
	}
	return n, err
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

	dataField = `"data":"`
)

// plainData returns the data of a response without an error, if that is one word and nothing
// in the response needs the parser. It accepts nothing that the parser would read differently
// (FuzzPlainData).
func plainData(body []byte) (word []byte, ok bool) {
	rest, more := bytes.CutPrefix(bytes.TrimRight(body, "\r\n"), []byte("{"))
	var seen, bit uint
	for more {
		if bytes.HasPrefix(rest, []byte(dataField)) {
			word, rest = plainWord(rest[len(dataField):])
			bit = hasData
		} else {
			bit, rest = plainField(rest)
		}
		if bit == 0 || len(rest) == 0 || seen&bit != 0 {
			return nil, false
		}
		seen |= bit
		if more = rest[0] == ','; more {
			rest = rest[1:]
		}
	}
	return word, string(rest) == "}" && seen&hasSuccess != 0 && len(word) > 0
}

// plainWord returns a string of printable ASCII without escapes, and what follows it. That is
// nil if the string is another one.
func plainWord(body []byte) (word, rest []byte) {
	n := 0
	for n < len(body) && body[n] > ' ' && body[n] < 0x7F && body[n] != '"' && body[n] != '\\' {
		n++
	}
	if n == len(body) || body[n] != '"' {
		return nil, nil
	}
	return body[:n], body[n+1:]
}

// plainField returns the bit of the field that body begins with, and what follows it. The bit
// is 0 if it is none of plainFields.
func plainField(body []byte) (bit uint, rest []byte) {
	for _, field := range plainFields {
		if bytes.HasPrefix(body, []byte(field.text)) {
			return field.bit, body[len(field.text):]
		}
	}
	return 0, nil
}
