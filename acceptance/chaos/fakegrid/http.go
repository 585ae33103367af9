// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// ending is what happens to the connection after an answer.
type ending int

const (
	keepOpen ending = iota
	closeNormally
	hardReset
	swallow // read and never answer
)

// response is an answer as bytes.
type response struct {
	parts  [][]byte // written one after the other
	then   ending
	before func() // called before a whole answer is written, if not nil
}

// send reports whether the connection is still open.
func (d response) send(c *tls.Conn, raw net.Conn) bool {
	if d.before != nil {
		d.before()
	}
	for _, part := range d.parts {
		if _, err := c.Write(part); err != nil {
			return false
		}
	}
	switch d.then {
	case keepOpen:
		return true
	case hardReset:
		reset(raw)
	case closeNormally:
		_ = c.Close()
	case swallow:
		_ = raw.SetReadDeadline(time.Now().Add(maxSilence))
		_, _ = io.Copy(io.Discard, raw)
	}
	return false
}

var charsets = []string{"; charset=utf-8", ";charset=\"UTF-8\"", "; Charset=utf-8"}

// http formats an answer as different servers do.
func (s *Server) http(r *http.Request, status int, media string, body []byte) response {
	contentType := "Content-Type: " + media + pick(s.random, charsets)
	return s.httpWith(r, status, []string{contentType}, s.random.oneIn(3), body)
}

// httpWith formats an answer with the given headers and framing.
func (s *Server) httpWith(r *http.Request, status int, headers []string, chunked bool, body []byte) response {
	d := s.random
	headers = append(headers,
		"Cache-Control: private, max-age=0",
		"X-AspNet-Version: 4.0.30319",
		"Date: "+time.Now().Add(s.rest.ServerClock).UTC().Format(http.TimeFormat),
	)
	out := response{}
	if r.Close || d.oneIn(25) {
		headers = append(headers, "Connection: close")
		out.then = closeNormally
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && d.oneIn(5) {
		headers = append(headers, "Content-Encoding: gzip")
		body = zipped(body)
	}
	if chunked {
		headers = append(headers, "transfer-encoding: chunked")
	} else {
		headers = append(headers, fmt.Sprintf("content-length: %d", len(body)))
	}
	d.shuffle(headers)
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\n%s\r\n\r\n", status, http.StatusText(status), strings.Join(headers, "\r\n"))
	if !chunked {
		out.parts = [][]byte{append([]byte(head), body...)}
		return out
	}
	out.parts = [][]byte{[]byte(head)}
	for len(body) > 0 {
		n := min(len(body), 1+d.intN(400))
		out.parts = append(out.parts, fmt.Appendf(nil, "%x\r\n%s\r\n", n, body[:n]))
		body = body[n:]
	}
	out.parts = append(out.parts, []byte("0\r\n\r\n"))
	return out
}

func zipped(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // a Buffer does not fail
	_ = w.Close()
	return b.Bytes()
}
