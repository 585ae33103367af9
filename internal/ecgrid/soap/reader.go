// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"bytes"
	"io"
	"net/http"
	"sync"

	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

const (
	// maxListBody bounds the body of a UserList, in bytes: more than 100000 users, as
	// .asmx indents them.
	maxListBody = 256 << 20
	// maxTokenSize bounds one token of the XML parser, which buffers a token, in bytes.
	maxTokenSize = 64 << 10

	readBufferSize = 4 << 10
)

// boundedReader feeds the XML parser byte by byte and counts. It limits the body, and
// each token that the parser must hold whole (a text, comment, directive or start tag).
type boundedReader struct {
	httpclient.Body
	buf       *[readBufferSize]byte
	pos, end  int // unread part of buf
	tokenSize int // bytes since the parser began its token
}

var readBuffers = sync.Pool{New: func() any { return new([readBufferSize]byte) }}

// newBoundedReader reads the beginning of src and skips a byte order mark.
func newBoundedReader(src io.Reader, limit int64) *boundedReader {
	r := &boundedReader{Body: httpclient.NewBody(src, limit), buf: readBuffers.Get().(*[readBufferSize]byte)}
	r.skipBOM()
	return r
}

// buffered returns what was read from src and not from the reader.
func (r *boundedReader) buffered() []byte { return r.buf[r.pos:r.end] }

// holdsAll reports whether the whole body of a response without an error is buffered.
func (r *boundedReader) holdsAll(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK && int64(r.end) == resp.ContentLength
}

// release returns the buffer to its pool, without the key that went through it.
func (r *boundedReader) release() {
	clear(r.buf[:])
	readBuffers.Put(r.buf)
	r.buf, r.pos, r.end = nil, 0, 0
}

// ReadByte lets xml.Decoder use boundedReader itself instead of a buffer of its own.
func (r *boundedReader) ReadByte() (byte, error) {
	if r.pos == r.end {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	if r.tokenSize++; r.tokenSize > maxTokenSize {
		return 0, r.Refuse()
	}
	b := r.buf[r.pos]
	r.pos++
	return b, nil
}

// Read only makes it an io.Reader, which xml.NewDecoder wants.
func (r *boundedReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	b, err := r.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = b
	return 1, nil
}

func (r *boundedReader) fill() error {
	if r.buf == nil {
		return io.ErrClosedPipe // after release
	}
	n, err := r.Body.Read(r.buf[:])
	if err != nil {
		return err
	}
	r.pos, r.end = 0, n
	return nil
}

const byteOrderMark = "\uFEFF"

// skipBOM starts reading, in portions of any size, and skips a UTF-8 byte order mark.
func (r *boundedReader) skipBOM() {
	r.end, _ = io.ReadAtLeast(&r.Body, r.buf[:], len(byteOrderMark)) // an error is returned again
	if bytes.HasPrefix(r.buf[:r.end], []byte(byteOrderMark)) {
		r.pos = len(byteOrderMark)
	}
}
