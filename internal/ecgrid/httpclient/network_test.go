// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// network is an in-memory network and its server's listener, for tests in a synctest
// bubble. There a timeout takes no time, and a goroutine that is left behind fails the test.
type network struct {
	accept chan net.Conn
	closed chan struct{}
	dials  atomic.Int32
	refuse func(dial int32) error // if set, may fail a dial

	// The connections up to these dials drop what is sent, or close when something is sent.
	forgotten, hangUp atomic.Int32
	// hangUpOnce lets the next forgotten connection that is used close.
	hangUpOnce atomic.Bool

	mu      sync.Mutex
	servers []net.Conn // the server's sides of all connections
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
		n.mu.Lock()
		n.servers = append(n.servers, server)
		n.mu.Unlock()
		return &lossyConn{client, server, n, dial}, nil
	case <-n.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// forget drops what the client sends on the connections opened so far, as a firewall that
// has forgotten them does: neither side is told.
func (n *network) forget() { n.forgotten.Store(n.dials.Load()) }

// closeIdle closes the server's side of all connections. The client notices.
func (n *network) closeIdle() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.servers {
		conn.Close()
	}
}

// lossyConn is the client's side of a connection.
type lossyConn struct {
	net.Conn
	server  net.Conn // the other side
	network *network
	dial    int32
}

func (c *lossyConn) Write(b []byte) (int, error) {
	forgotten := c.dial <= c.network.forgotten.Load()
	hangsUp := c.dial <= c.network.hangUp.Load() || forgotten && c.network.hangUpOnce.CompareAndSwap(true, false)
	if hangsUp {
		c.server.Close() // as a server that closes just before a request comes
	}
	if hangsUp || forgotten {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// serveInMemory returns a client of a server on an in-memory network. The client does wait
// between attempts. It takes all but the URL from e. By default it has up to 16 connections.
func serveInMemory(t *testing.T, p *protocol, e ecgrid.Endpoint, h http.HandlerFunc) (*client, *network) {
	t.Helper()
	n := newNetwork()
	s := &http.Server{Handler: h}
	go s.Serve(n)
	e.URL, e.MaxConcurrent = "http://ecgrid.test"+p.path, cmp.Or(e.MaxConcurrent, 16)
	c, err := p.connect(e)
	if err != nil {
		t.Fatal(err)
	}
	c.http.SetDialer(n.dial)
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
func serveTCP(t *testing.T, p *protocol, serve func(net.Conn)) *client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wait := serveConns(l, serve)
	c := connect(t, p, ecgrid.Endpoint{URL: "http://" + l.Addr().String() + p.path, MaxConcurrent: 4})
	t.Cleanup(func() { c.Close(); l.Close(); wait() })
	return c
}

// serveOnce is serveTCP for one request on each connection. It counts the requests.
func serveOnce(t *testing.T, p *protocol, respond func(net.Conn)) (*client, *atomic.Int32) {
	t.Helper()
	var requests atomic.Int32
	return serveTCP(t, p, func(conn net.Conn) {
		if _, _, err := readRequest(bufio.NewReader(conn)); err == nil {
			requests.Add(1)
			respond(conn)
		}
	}), &requests
}

// readRequest returns the next HTTP request and its body.
func readRequest(in *bufio.Reader) (*http.Request, []byte, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(r.Body)
	return r, body, err
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
