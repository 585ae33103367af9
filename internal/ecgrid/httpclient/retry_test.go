// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// brokenConnection is what a server does before it hangs up.
type brokenConnection struct {
	name   string
	says   string // %s is the complete response to the operation, %h the beginning of it, %m of a document
	kind   error
	reason string // %m is that of half a document
	reads  int32  // requests of a read
}

// Every operation with a server that hangs up: how it fails, that it counts as sent, and how
// often it is sent.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	tests := []brokenConnection{
		{"closed", "", ecgrid.ErrUnreachable, "connection closed without a response", 3},
		{"reset", "reset", ecgrid.ErrUnreachable, "connection reset", 3},
		{"half a header", "HTTP/1.1 200 OK\r\nServer: a\r\n", ecgrid.ErrBadAnswer, "incomplete response", 3},
		{"half a line", "HTTP/1.1 200 OK\r\nContent-Le", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n%h", ecgrid.ErrBadAnswer, "incomplete response", 3},
		{"all but the length", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n%s", ecgrid.ErrBadAnswer, "incomplete response", 3},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n%s", ecgrid.ErrBadAnswer, "incomplete response", 3},
		{"half an error page", "HTTP/1.1 502 Bad\r\nContent-Length: 999\r\n\r\n<html>", ecgrid.ErrBadAnswer, "HTTP status 502", 3},
		{"half a document", "HTTP/1.1 200 OK\r\n\r\n%m", ecgrid.ErrBadAnswer, "%m", 1},
		{"not HTTP", "SSH-2.0-" + canaryUpstream + "\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"no status", "HTTP/1.1 " + canaryUpstream + "\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"bad header", "HTTP/1.1 200 OK\r\n" + canaryUpstream + "\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"blank in a header's name", "HTTP/1.1 200 OK\r\nContent Length: 3\r\n\r\nabc", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"continued first header", "HTTP/1.1 200 OK\r\n Server: a\r\n\r\n", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"long status", "HTTP/1.1 2000 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"negative status", "HTTP/1.1 -20 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"other version", "HTTP/2.0 200 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"no version", "HTTP 200 OK\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"bad length", "HTTP/1.1 200 OK\r\nContent-Length: " + canaryUpstream + "\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"empty length", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"negative length", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"unknown encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canaryUpstream + "\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"two encodings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n%s", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"endless 1xx", strings.Repeat("HTTP/1.1 100 Continue\r\nX: "+strings.Repeat("x", 1<<10)+"\r\n\r\n", 64), ecgrid.ErrBadAnswer, "HTTP header too large", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				for _, op := range p.operations {
					t.Run(op.name, func(t *testing.T) {
						t.Parallel()
						hangUp(t, p, op, test)
					})
				}
			})
		})
	}
}

// hangUp makes a call to a server that breaks the connection.
func hangUp(t *testing.T, p *protocol, op operation, test brokenConnection) {
	t.Helper()
	c, requests := serveOnce(t, p, func(conn net.Conn) {
		if test.says == "reset" {
			conn.(*net.TCPConn).SetLinger(0)
			return
		}
		io.WriteString(conn, strings.NewReplacer("%s", op.response, "%h", op.response[:9], "%m", p.malformed.body).Replace(test.says))
	})
	_, err := op.call(t.Context(), c, session)
	e := wantFailure(t, err, test.kind)
	reason := strings.ReplaceAll(test.reason, "%m", p.malformed.reason)
	if e.Op != op.name || e.Reason != reason || !e.Sent {
		t.Errorf("got %+v, want %q, sent", e, reason)
	}
	want := int32(1)
	if op.read {
		want = test.reads
	}
	if requests.Load() != want {
		t.Errorf("sent %d times, want %d", requests.Load(), want)
	}
}

// A call without a connection was certainly not sent, and is retried, whatever the operation.
func TestUnsent(t *testing.T) {
	t.Parallel()
	refuse := func(context.Context, string, string) (net.Conn, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0") // a port that was free a moment ago
		if err != nil {
			return nil, err
		}
		l.Close()
		return net.Dial("tcp", l.Addr().String())
	}
	tests := []struct {
		name   string
		dial   httpclient.Dialer
		reason string
	}{
		{"refused", refuse, "connection refused"},
		{"no such name", failDial(&net.DNSError{Name: canaryUpstream, IsNotFound: true}), "name not found"},
		{"no resolver", failDial(&net.DNSError{Name: canaryUpstream}), "name not resolved"},
		{"dial too slow", failDial(&net.OpError{Op: canaryUpstream, Err: os.ErrDeadlineExceeded}), "connection not opened in time"},
		{"no route", failDial(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), "no route to the host"},
		{"closed while idle", failDial(errors.New("http: server closed idle connection")), "connection closed without a response"},
		{"other", failDial(errors.New(canaryUpstream)), "connection failed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				for _, op := range p.operations {
					c := connect(t, p, ecgrid.Endpoint{URL: "http://ecgrid.test" + p.path})
					var dials int
					c.http.SetDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
						dials++
						return test.dial(ctx, network, addr)
					})
					_, err := op.call(t.Context(), c, session)
					e := wantFailure(t, err, ecgrid.ErrUnreachable)
					if e.Sent || e.Reason != test.reason {
						t.Errorf("%s: got %+v, want %q, unsent", op.name, e, test.reason)
					}
					want := 2
					if op.read {
						want = 3
					}
					if dials != want {
						t.Errorf("%s: dialed %d times, want %d", op.name, dials, want)
					}
				}
			})
		})
	}
}

func failDial(err error) httpclient.Dialer {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

// A second attempt that succeeds is a success, and holds nothing of the first.
func TestSecondAttempt(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		var attempts atomic.Int32
		c, _ := serveOnce(t, p, func(conn net.Conn) {
			if attempts.Add(1) == 1 {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"+p.users(1))
				return
			}
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+p.users(0))
		})
		users, err := c.UserList(t.Context(), session)
		if err != nil || len(users) != 0 || attempts.Load() != 2 {
			t.Errorf("got %v, %v after %d attempts", users, err, attempts.Load())
		}
	})
}

// If one attempt was sent, the call was sent, even if the last attempt was not.
func TestSentCoversAllAttempts(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		c, requests := serveOnce(t, p, func(net.Conn) {})
		var dials int
		c.http.SetDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials > 1 {
				return nil, errors.New("no")
			}
			return new(net.Dialer).DialContext(ctx, network, addr)
		})
		_, err := c.Version(t.Context())
		if e := wantFailure(t, err, ecgrid.ErrUnreachable); !e.Sent || requests.Load() != 1 || dials != 3 {
			t.Errorf("got %+v after %d requests, %d dials", e, requests.Load(), dials)
		}
	})
}

// If a server has closed one pooled connection, others may be dead too: a second attempt opens
// a new one.
func TestSecondAttemptUsesNewConnection(t *testing.T) {
	t.Parallel()
	eachPooled(t, func(t *testing.T, p *protocol, op operation) {
		c, network, _ := serveSlowly(t, p, 8)
		network.hangUp.Store(network.dials.Load())
		op.wantSuccess(t, c, session)
		if n := network.dials.Load(); n != 8+1 {
			t.Errorf("%d connections, want 1 new one", n)
		}
	})
}
