// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"errors"
	"io"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Body reads the body of a response up to a limit.
type Body struct {
	src       io.Reader
	remaining int64 // bytes that the body may still have
	err       error // why reading stopped, except io.EOF
}

var errTooLarge = errors.New("too large")

// NewBody returns a Body that reads at most limit bytes from src.
func NewBody(src io.Reader, limit int64) Body { return Body{src: src, remaining: limit} }

// Read never returns 0 bytes without an error.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	for range 100 { // as in bufio: a reader that returns nothing is broken
		n, err := b.src.Read(p)
		if b.remaining -= int64(n); b.remaining < 0 {
			clear(p[:n])
			return 0, b.Refuse()
		}
		if n > 0 || len(p) == 0 { // an error that comes with data is returned again
			return n, nil
		}
		if err == io.EOF {
			return 0, err
		}
		if err != nil {
			return 0, b.stop(err)
		}
	}
	return 0, b.stop(io.ErrNoProgress)
}

// Refuse stops reading, since something in the body is above a limit.
func (b *Body) Refuse() error { return b.stop(errTooLarge) }

func (b *Body) stop(err error) error {
	b.err = err
	return err
}

// Failure returns why reading stopped, or nil if it did not.
func (b *Body) Failure() *Failure {
	switch {
	case b.err == nil:
		return nil
	case errors.Is(b.err, errTooLarge):
		return BadAnswer(TooLarge)
	}
	return &Failure{Kind: ecgrid.ErrBadAnswer, Reason: incomplete, Transient: true}
}
