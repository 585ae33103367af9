package soap

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Every operation with a server that hangs up: how it fails, that it counts as sent, and how
// often it is sent.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		says   string // %s is the complete response to the operation
		kind   error
		reason string
		reads  int32 // requests of a read
	}{
		{"closed", "", ecgrid.ErrUnreachable, closedEarly, 3},
		{"reset", "reset", ecgrid.ErrUnreachable, "connection reset", 3},
		{"half a header", "HTTP/1.1 200 OK\r\nServer: a\r\n", ecgrid.ErrBadAnswer, incomplete, 3},
		{"half a line", "HTTP/1.1 200 OK\r\nContent-Le", ecgrid.ErrBadAnswer, "not HTTP", 1},
		{"half a body", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n<soap:Env", ecgrid.ErrBadAnswer, incomplete, 3},
		{"all but the length", "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n%s", ecgrid.ErrBadAnswer, incomplete, 3},
		{"half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n%s", ecgrid.ErrBadAnswer, incomplete, 3},
		{"half an error page", "HTTP/1.1 502 Bad\r\nContent-Length: 999\r\n\r\n<html>", ecgrid.ErrBadAnswer, "HTTP status 502", 3},
		{"half a document", "HTTP/1.1 200 OK\r\n\r\n<soap:Envelope xmlns:soap='" + nsSOAP11 + "'>", ecgrid.ErrBadAnswer, "not well-formed XML", 1},
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
		for _, op := range allOps {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				c, requests := serveOnce(t, func(conn net.Conn) {
					if test.says == "reset" {
						conn.(*net.TCPConn).SetLinger(0)
						return
					}
					io.WriteString(conn, strings.ReplaceAll(test.says, "%s", response(op.name, op.result)))
				})
				_, err := op.call(t.Context(), c)
				e := wantFailure(t, err, test.kind)
				if e.Op != op.name || e.Reason != test.reason || !e.Sent {
					t.Errorf("got %+v, want %q, sent", e, test.reason)
				}
				want := int32(1)
				if op.read {
					want = test.reads
				}
				if requests.Load() != want {
					t.Errorf("sent %d times, want %d", requests.Load(), want)
				}
			})
		}
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
		dial   dialer
		reason string
	}{
		{"refused", refuse, "connection refused"},
		{"no such name", failDial(&net.DNSError{Name: canaryUpstream, IsNotFound: true}), "name not found"},
		{"no resolver", failDial(&net.DNSError{Name: canaryUpstream}), "name not resolved"},
		{"dial too slow", failDial(&net.OpError{Op: canaryUpstream, Err: os.ErrDeadlineExceeded}), "connection not opened in time"},
		{"no route", failDial(&net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH}), "no route to the host"},
		{"closed while idle", failDial(errors.New("http: server closed idle connection")), closedEarly},
		{"other", failDial(errors.New(canaryUpstream)), "connection failed"},
	}
	for _, test := range tests {
		for _, op := range allOps {
			t.Run(test.name+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				c := connect(t, ecgrid.Endpoint{URL: "http://ecgrid.test/"})
				var dials int
				c.setDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
					dials++
					return test.dial(ctx, network, addr)
				})
				_, err := op.call(t.Context(), c)
				e := wantFailure(t, err, ecgrid.ErrUnreachable)
				if e.Sent || e.Reason != test.reason {
					t.Errorf("got %+v, want %q, unsent", e, test.reason)
				}
				want := 2
				if op.read {
					want = 3
				}
				if dials != want {
					t.Errorf("dialed %d times, want %d", dials, want)
				}
			})
		}
	}
}

func failDial(err error) dialer {
	return func(context.Context, string, string) (net.Conn, error) { return nil, err }
}

// A second attempt that succeeds is a success, and holds nothing of the first.
func TestSecondAttempt(t *testing.T) {
	t.Parallel()
	var attempts atomic.Int32
	first := response("UserList", "<UserListResult><UserIDInfo>"+userInfo+"</UserIDInfo></UserListResult>")
	c, _ := serveOnce(t, func(conn net.Conn) {
		if attempts.Add(1) == 1 {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"+first)
			return
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+response("UserList", ""))
	})
	users, err := c.UserList(t.Context(), "s", "")
	if err != nil || len(users) != 0 || attempts.Load() != 2 {
		t.Errorf("got %v, %v after %d attempts", users, err, attempts.Load())
	}
}

// If one attempt was sent, the call was sent, even if the last attempt was not.
func TestSentCoversAllAttempts(t *testing.T) {
	t.Parallel()
	c, requests := serveOnce(t, func(net.Conn) {})
	dial := c.pooled.DialContext
	var dials int
	c.setDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errors.New("no")
		}
		return dial(ctx, network, addr)
	})
	_, err := c.Version(t.Context())
	if e := wantFailure(t, err, ecgrid.ErrUnreachable); !e.Sent || requests.Load() != 1 || dials != 3 {
		t.Errorf("got %+v after %d requests, %d dials", e, requests.Load(), dials)
	}
}

// If a server has closed one pooled connection, others may be dead too: a second attempt opens
// a new one.
func TestSecondAttemptUsesNewConnection(t *testing.T) {
	t.Parallel()
	c := serve(t, http.HandlerFunc(strict))
	c.pooled.DialContext = func(context.Context, string, string) (net.Conn, error) { // not that of unpooled
		ours, theirs := net.Pipe()
		theirs.Close()
		return ours, nil
	}
	if _, err := c.Version(t.Context()); err != nil {
		t.Error(err)
	}
}
