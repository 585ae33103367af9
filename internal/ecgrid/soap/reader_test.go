// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// A response may arrive in portions of any size.
func TestPortions(t *testing.T) {
	t.Parallel()
	body := "\uFEFF" + response("Version", "<VersionResult>ä€🔑</VersionResult>")
	for name, src := range map[string]io.Reader{
		"one by one":    iotest.OneByteReader(strings.NewReader(body)),
		"by halves":     iotest.HalfReader(strings.NewReader(body)),
		"data and EOF":  iotest.DataErrReader(strings.NewReader(body)),
		"empty portion": io.MultiReader(&stutter{n: 50}, strings.NewReader(body)),
	} {
		in := newBoundedReader(src, httpclient.MaxSmallBody)
		var got string
		if err := newParser(in).parse("Version", true, into(&got, (*parser).text)); err != nil || got != "ä€🔑" {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
		in.release()
	}
	in := newBoundedReader(io.MultiReader(strings.NewReader(body[:9]), &stutter{n: 1000}), httpclient.MaxSmallBody)
	defer in.release()
	if err := newParser(in).parse("Version", true, nil); err == nil || in.Failure() == nil || in.Failure().Reason != "incomplete response" {
		t.Errorf("got %v from a reader that returns nothing", err)
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

// A buffer is cleared before the next call gets it. Not parallel: another test could get it.
func TestBuffersAreCleared(t *testing.T) {
	in := newBoundedReader(strings.NewReader(response("Version", "<VersionResult>"+canaryUpstream+"</VersionResult>")), httpclient.MaxSmallBody)
	buf := in.buf
	if err := newParser(in).parse("Version", true, into(new(string), (*parser).text)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(buf[:]), canaryUpstream) {
		t.Fatal("the response did not go through the buffer")
	}
	in.release()
	if *buf != [readBufferSize]byte{} {
		t.Error("not cleared")
	}
	if _, err := in.ReadByte(); err == nil {
		t.Error("read after release")
	}
}
