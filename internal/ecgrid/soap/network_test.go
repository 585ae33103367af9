package soap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// network is an in-memory network and its server's listener, for tests in a synctest
// bubble. There a timeout takes no time, and a goroutine that is left behind fails the test.
type network struct {
	accept           chan net.Conn
	closed           chan struct{}
	dials, forgotten atomic.Int32
	refuse           func(dial int32) error // if set, may fail a dial
}

func newNetwork() *network {
	return &network{accept: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.accept:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	close(n.closed)
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	dial := n.dials.Add(1)
	if n.refuse != nil {
		if err := n.refuse(dial); err != nil {
			return nil, err
		}
	}
	client, server := net.Pipe()
	select {
	case n.accept <- server:
		return &lossyConn{client, n, dial}, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forget drops what the client sends on the connections opened so far, as a firewall that
// has forgotten them does: neither side is told.
func (n *network) forget() { n.forgotten.Store(n.dials.Load()) }

// lossyConn is the client's side of a connection.
type lossyConn struct {
	net.Conn
	network *network
	dial    int32
}

func (c *lossyConn) Write(b []byte) (int, error) {
	if c.dial <= c.network.forgotten.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// serveInMemory returns a client of a server on an in-memory network. The client does wait
// between attempts.
func serveInMemory(t *testing.T, timeout time.Duration, h http.HandlerFunc) (*Client, *network) {
	t.Helper()
	n := newNetwork()
	s := &http.Server{Handler: h}
	go s.Serve(n)
	c, err := Connect(ecgrid.Endpoint{URL: "http://ecgrid.test/", RequestTimeout: timeout, MaxConcurrent: 16})
	if err != nil {
		t.Fatal(err)
	}
	c.setDialer(n.dial)
	t.Cleanup(func() { c.Close(); s.Close() })
	return c, n
}

// serveConns calls serve with each connection that l accepts, and closes it afterwards. wait
// waits for all of that to end.
func serveConns(l net.Listener, serve func(net.Conn)) (wait func()) {
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	return conns.Wait
}

// serveTCP returns a client of a server that need not speak HTTP.
func serveTCP(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wait := serveConns(l, serve)
	c := connect(t, ecgrid.Endpoint{URL: "http://" + l.Addr().String(), MaxConcurrent: 4})
	t.Cleanup(func() { c.Close(); l.Close(); wait() })
	return c
}

// serveOnce is serveTCP for one request on each connection. It counts the requests.
func serveOnce(t *testing.T, respond func(net.Conn)) (*Client, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	return serveTCP(t, func(conn net.Conn) {
		if _, err := readRequest(bufio.NewReader(conn)); err == nil {
			requests.Add(1)
			respond(conn)
		}
	}), &requests
}

// readRequest returns the body of the next HTTP request.
func readRequest(in *bufio.Reader) ([]byte, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r.Body)
}

func rawResponse(status int, body string) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body)
}

// countConnections counts the connections to s, which is not started yet.
func countConnections(s *httptest.Server) *atomic.Int32 {
	var n atomic.Int32
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			n.Add(1)
		}
	}
	return &n
}
