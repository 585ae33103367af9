// SPDX-License-Identifier: MPL-2.0

package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// conn is a keep-alive connection. It supports the part of HTTP/1.1 that Vault and the
// upstream use for short answers. The client of net/http would cost more CPU than what
// is measured.
type conn struct {
	net.Conn
	in *bufio.Reader
}

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 2 * time.Minute // longer than any request takes
	maxShownBody  = 300             // bytes of the body of an error
)

func dial(addr string) (*conn, error) {
	c, err := net.DialTimeout("tcp", addr, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &conn{c, bufio.NewReaderSize(c, 8<<10)}, nil
}

// statusError is an answer with an error status.
type statusError struct {
	status int
	body   string
}

func (e statusError) Error() string { return fmt.Sprintf("HTTP %d: %s", e.status, e.body) }

// roundTrip sends a request and reads the whole answer. The connection can still be used
// after a statusError.
func (c *conn) roundTrip(request []byte) error {
	if err := c.SetDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	if _, err := c.Write(request); err != nil {
		return err
	}
	status, length, err := c.readHead()
	if err != nil {
		return err
	}
	if status < 300 {
		_, err := io.CopyN(io.Discard, c.in, length)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(c.in, length))
	if err != nil {
		return err
	}
	return statusError{status, string(body[:min(len(body), maxShownBody)])}
}

// readHead reads the status line and the headers. The length is that of the body.
func (c *conn) readHead() (status int, length int64, err error) {
	line, err := c.readLine()
	if err != nil {
		return 0, 0, err
	}
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || len(line) < 12 {
		return 0, 0, errors.New("not an HTTP/1.1 answer")
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, err
	}
	for {
		if line, err = c.readLine(); err != nil || len(line) == 0 {
			return status, length, err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			if err != nil || length < 0 {
				return 0, 0, errors.New("invalid Content-Length")
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, 0, errors.New("the answer is chunked, which the load generator does not support")
		}
	}
}

func (c *conn) readLine() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}
