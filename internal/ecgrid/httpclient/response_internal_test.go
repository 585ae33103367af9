// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A server that notices that the client has closed the connection may end its response
// properly. If it is incomplete, the client has canceled the call. If it is complete, it counts.
func TestResponseThatEndsWithTheContext(t *testing.T) {
	t.Parallel()
	const refusal = "access denied"
	parse := func(resp *http.Response, maxBody int64) *Failure {
		body := NewBody(resp.Body, maxBody)
		switch text, _ := io.ReadAll(&body); string(text) {
		case refusal:
			return &Failure{Kind: ecgrid.ErrAccessDenied}
		default:
			return BadAnswer("incomplete")
		}
	}
	for body, want := range map[string]error{"access": context.Canceled, refusal: ecgrid.ErrAccessDenied} {
		ctx, cancel := context.WithCancel(t.Context())
		f := readResponse(ctx, &Request{Operation: &Operation{MaxBody: MaxSmallBody}, Parse: parse}, &http.Response{
			StatusCode:    http.StatusOK,
			ProtoMajor:    1,
			ContentLength: -1,
			Body:          io.NopCloser(io.MultiReader(strings.NewReader(body), callAtEnd(cancel))),
		})
		if f == nil || !errors.Is(f.Kind, want) {
			t.Errorf("%s: got %+v", body, f)
		}
	}
}

type callAtEnd func()

func (f callAtEnd) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

func TestBody(t *testing.T) {
	t.Parallel()
	const text = "0123456789"
	broken := errors.New("canary")
	for name, test := range map[string]struct {
		src       io.Reader
		limit     int64
		want      string
		err       error // of the Read that ends it; nil: io.EOF
		reason    string
		transient bool
	}{
		"below the limit":   {strings.NewReader(text), 11, text, nil, "", false},
		"at the limit":      {strings.NewReader(text), 10, text, nil, "", false},
		"one by one":        {iotest.OneByteReader(strings.NewReader(text)), 10, text, nil, "", false},
		"data and EOF":      {iotest.DataErrReader(strings.NewReader(text)), 10, text, nil, "", false},
		"above the limit":   {strings.NewReader(text), 9, "", errTooLarge, TooLarge, false},
		"above, one by one": {iotest.OneByteReader(strings.NewReader(text)), 9, text[:9], errTooLarge, TooLarge, false},
		"empty portions":    {io.MultiReader(&stutter{n: 50}, strings.NewReader(text)), 10, text, nil, "", false},
		"only empty ones":   {io.MultiReader(strings.NewReader(text), &stutter{n: 1000}), 10, text, io.ErrNoProgress, incomplete, true},
		"broken":            {io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), 10, text, broken, incomplete, true},
		"cut off":           {io.MultiReader(strings.NewReader(text), iotest.ErrReader(io.ErrUnexpectedEOF)), 10, text, io.ErrUnexpectedEOF, incomplete, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := NewBody(test.src, test.limit)
			got, err := io.ReadAll(&b)
			if string(got) != test.want || !errors.Is(err, test.err) {
				t.Errorf("got %q, %v, want %q, %v", got, err, test.want, test.err)
			}
			if _, again := b.Read(make([]byte, 1)); test.err != nil && !errors.Is(again, test.err) {
				t.Errorf("the next Read: %v, want %v", again, test.err)
			}
			f := b.Failure()
			if (f == nil) != (test.reason == "") {
				t.Fatalf("got %+v, want %q", f, test.reason)
			}
			if f != nil && (f.Kind != ecgrid.ErrBadAnswer || f.Reason != test.reason || f.Transient != test.transient) {
				t.Errorf("got %+v, want %q", f, test.reason)
			}
		})
	}
}

// What is above the limit does not stay in the buffer of the caller.
func TestBodyIsCleared(t *testing.T) {
	t.Parallel()
	buf := make([]byte, 16)
	b := NewBody(strings.NewReader("canary"), 5)
	if n, err := b.Read(buf); n != 0 || err == nil || string(buf) != strings.Repeat("\x00", 16) {
		t.Errorf("got %d, %v, %q", n, err, buf)
	}
}

func TestBodyIsRefused(t *testing.T) {
	t.Parallel()
	b := NewBody(strings.NewReader("x"), 5)
	if err := b.Refuse(); err == nil {
		t.Error("Refuse returns no error")
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v", n, err)
	}
	if f := b.Failure(); f == nil || f.Reason != TooLarge || f.Transient {
		t.Errorf("got %+v", f)
	}
}

// stutter returns nothing n times, then io.EOF.
type stutter struct{ n int }

func (s *stutter) Read([]byte) (int, error) {
	if s.n--; s.n < 0 {
		return 0, io.EOF
	}
	return 0, nil
}
