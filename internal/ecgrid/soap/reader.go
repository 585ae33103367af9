package soap

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"vault-plugin-ecgrid/internal/ecgrid"
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
	src       io.Reader
	buf       *[readBufferSize]byte
	pos, end  int   // unread part of buf
	remaining int64 // bytes that the body may still have
	tokenSize int   // bytes since the parser began its token
	err       error // why reading stopped, except io.EOF
}

var readBuffers = sync.Pool{New: func() any { return new([readBufferSize]byte) }}

var errTooLarge = errors.New("too large")

// newBoundedReader reads the beginning of src and skips a byte order mark.
func newBoundedReader(src io.Reader, limit int64) *boundedReader {
	r := &boundedReader{src: src, buf: readBuffers.Get().(*[readBufferSize]byte), remaining: limit}
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
	r.buf, r.pos, r.end, r.err = nil, 0, 0, io.ErrClosedPipe
}

// ReadByte lets xml.Decoder use boundedReader itself instead of a buffer of its own.
func (r *boundedReader) ReadByte() (byte, error) {
	if r.pos == r.end {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	if r.tokenSize++; r.tokenSize > maxTokenSize {
		return 0, r.stop(errTooLarge)
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
	if r.err != nil {
		return r.err
	}
	for range 100 { // as in bufio: a reader that returns nothing is broken
		n, err := r.src.Read(r.buf[:])
		if r.remaining -= int64(n); r.remaining < 0 {
			return r.stop(errTooLarge)
		}
		if n > 0 { // an error that comes with data is returned again
			r.pos, r.end = 0, n
			return nil
		}
		if err == io.EOF {
			return err
		}
		if err != nil {
			return r.stop(err)
		}
	}
	return r.stop(io.ErrNoProgress)
}

func (r *boundedReader) stop(err error) error {
	r.err = err
	return err
}

// failure classifies why reading stopped.
func (r *boundedReader) failure() *failure {
	if errors.Is(r.err, errTooLarge) {
		return badAnswer(tooLarge)
	}
	return &failure{kind: ecgrid.ErrBadAnswer, reason: incomplete, transient: true}
}

const byteOrderMark = "\uFEFF"

// skipBOM starts reading, in portions of any size, and skips a UTF-8 byte order mark.
func (r *boundedReader) skipBOM() {
	r.end, _ = io.ReadAtLeast(r.src, r.buf[:], len(byteOrderMark)) // an error is returned again
	r.remaining -= int64(r.end)
	if bytes.HasPrefix(r.buf[:r.end], []byte(byteOrderMark)) {
		r.pos = len(byteOrderMark)
	}
}
