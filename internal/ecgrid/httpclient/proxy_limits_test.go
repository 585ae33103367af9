// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// established is a proxy's answer to a CONNECT.
const established = "HTTP/1.1 200 Connection established\r\n\r\n"

// slowProxy begins an answer and does not end it, until it refuses at once. It is at proxy.test.
type slowProxy struct {
	name, scheme string
	begin        func(net.Conn)
	refuse       func(net.Conn)
	reason       string // of a call that is refused
}

var slowProxies = []slowProxy{
	{"CONNECT, nothing", "http", func(net.Conn) {}, says(502), "HTTP status 502"},
	{"CONNECT, one byte", "http", beginWith("H"), says(502), "HTTP status 502"},
	{"CONNECT, byte by byte", "http", dribble, says(502), "HTTP status 502"},
	{"CONNECT over TLS, nothing", "https", func(net.Conn) {}, says(502), "HTTP status 502"},
	{"CONNECT over TLS, one byte", "https", beginWith("H"), says(502), "HTTP status 502"},
	{"SOCKS5, nothing", "socks5", func(net.Conn) {}, beginWith("\x05\xff"), "it is unreachable: connection failed"},
	{"SOCKS5, half an answer", "socks5", beginWith("\x05\x00"), beginWith("\x05\xff"), "it is unreachable: connection failed"},
}

func beginWith(text string) func(net.Conn) {
	return func(conn net.Conn) { io.WriteString(conn, text) }
}

// dribble sends a header that has no end.
func dribble(conn net.Conn) {
	for text := "HTTP/1.1 200 OK\r\nX: "; ; text = "x" {
		if _, err := io.WriteString(conn, text); err != nil {
			return
		}
		time.Sleep(time.Second / 4)
	}
}

// serve reads the first message of the client on each connection to n.
func (p slowProxy) serve(n *network, cert tls.Certificate, refuses *atomic.Bool) (wait func()) {
	return serveConns(n, func(conn net.Conn) {
		if p.scheme == "https" {
			conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
		}
		var err error
		if p.scheme == "socks5" {
			_, err = io.ReadFull(conn, make([]byte, 3)) // version, one method
		} else {
			_, _, err = readRequest(bufio.NewReader(conn))
		}
		if err != nil {
			return
		}
		if refuses.Load() {
			p.refuse(conn)
			return
		}
		p.begin(conn)
		io.Copy(io.Discard, conn)
	})
}

// behind returns a client whose proxy is on the network.
func (n *network) behind(t *testing.T, p *protocol, scheme string, e ecgrid.Endpoint) *client {
	t.Helper()
	e.URL = "https://ecgrid.test" + p.path
	c, err := p.connect(e)
	if err != nil {
		t.Fatal(err)
	}
	c.http.SetDialer(n.dial)
	c.http.SetProxy(http.ProxyURL(&url.URL{Scheme: scheme, Host: "proxy.test"}))
	return c
}

// A proxy that does not end its answer is to blame, and holds no connection: the client works
// at once when the proxy does.
func TestSlowProxy(t *testing.T) {
	t.Parallel()
	for _, proxy := range slowProxies {
		t.Run(proxy.name, func(t *testing.T) {
			t.Parallel()
			eachOperation(t, func(t *testing.T, p *protocol, op operation) {
				ours := newCA(t) // valid in the virtual time
				cert, err := ours.Issue("proxy.test")
				if err != nil {
					t.Fatal(err)
				}
				n, refuses := newNetwork(), new(atomic.Bool)
				defer proxy.serve(n, cert, refuses)()
				defer n.Close()
				c := n.behind(t, p, proxy.scheme, ecgrid.Endpoint{CACert: string(ours.PEM), MaxConcurrent: 1})
				defer c.Close()
				for range 4 { // one more than the client has connections
					_, err := op.call(t.Context(), c, session)
					if e := wantFailure(t, err, ecgrid.ErrProxy); e.Sent || e.Reason != "it is unreachable: connection not opened in time" {
						t.Errorf("%+v", e)
					}
				}
				refuses.Store(true)
				start := time.Now()
				_, err = op.call(t.Context(), c, session)
				if e := wantFailure(t, err, ecgrid.ErrProxy); e.Reason != proxy.reason || time.Since(start) > time.Second {
					t.Errorf("%+v after %v", e, time.Since(start))
				}
				synctest.Wait()
			})
		})
	}
}

// If ECGrid fails after the proxy has connected, the proxy is not to blame. Nothing was sent.
func TestECGridFailsBehindProxy(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		respond func(net.Conn) // to the TLS handshake
		reason  string         // "": whether the end or the reset comes first is open
	}{
		"closes":   {func(conn net.Conn) { io.CopyN(io.Discard, conn, 64) }, ""},
		"resets":   {func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) }, "connection reset"},
		"not TLS":  {func(conn net.Conn) { io.WriteString(conn, canaryUpstream) }, "no TLS on that port"},
		"an alert": {func(conn net.Conn) { io.WriteString(conn, "\x15\x03\x03\x00\x02\x02\x28") }, "TLS handshake failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				addr, _ := serveProxy(t, func(conn net.Conn) {
					io.WriteString(conn, established)
					if _, err := io.ReadFull(conn, make([]byte, 64)); err == nil {
						test.respond(conn)
					}
				})
				for _, op := range p.operations {
					c := behind(t, p, ecgrid.Endpoint{}, addr)
					_, err := op.call(t.Context(), c, session)
					if e := wantFailure(t, err, ecgrid.ErrUnreachable); e.Sent || e.Reason != cmp.Or(test.reason, e.Reason) {
						t.Errorf("%s: %+v", op.name, e)
					}
				}
			})
		})
	}
}

// ECGrid is silent after the proxy has connected.
func TestECGridIsSilentBehindProxy(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		n := newNetwork()
		defer serveConns(n, func(conn net.Conn) {
			if _, _, err := readRequest(bufio.NewReader(conn)); err == nil {
				io.WriteString(conn, established)
				io.Copy(io.Discard, conn)
			}
		})()
		defer n.Close()
		c := n.behind(t, p, "http", ecgrid.Endpoint{})
		defer c.Close()
		_, err := op.call(t.Context(), c, session)
		e := wantFailure(t, err, ecgrid.ErrUnreachable)
		if e.Sent || e.Reason != "connection not opened in time" || n.dials.Load() < 2 {
			t.Errorf("%+v after %d connections", e, n.dials.Load())
		}
	})
}
