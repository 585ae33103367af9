// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// closedPort is an address on which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serveProxy answers each CONNECT with respond. It counts them.
func serveProxy(t *testing.T, respond func(net.Conn)) (addr string, connects *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connects = new(atomic.Int32)
	wait := serveConns(l, func(conn net.Conn) {
		if _, _, err := readRequest(bufio.NewReader(conn)); err == nil {
			connects.Add(1)
			respond(conn)
		}
	})
	t.Cleanup(func() { l.Close(); wait() })
	return l.Addr().String(), connects
}

// says returns a proxy's answer that quotes a canary in each place.
func says(status int) func(net.Conn) {
	return func(conn net.Conn) {
		fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nProxy-Authenticate: Basic realm=%q\r\nContent-Length: %d\r\n\r\n%s",
			status, canaryUpstream, canaryUpstream, len(canaryUpstream), canaryUpstream)
	}
}

// behind returns a client whose environment has a proxy. Its host does not exist.
func behind(t *testing.T, p *protocol, e ecgrid.Endpoint, proxy string) *client {
	t.Helper()
	e.URL = "https://ecgrid.test" + p.path
	c := connect(t, p, e)
	c.http.SetProxy(func(*http.Request) (*url.URL, error) {
		return &url.URL{Scheme: "http", User: url.UserPassword("jo", canaryPassword), Host: proxy}, nil
	})
	return c
}

// A proxy that does not connect has failures of its own. Nothing was sent to ECGrid.
func TestProxyFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		respond func(net.Conn) // nil: nothing listens
		reason  string
		retried bool
	}{
		"407":            {says(407), "HTTP status 407: it wants a user and password, or refuses those that it got", false},
		"403":            {says(403), "HTTP status 403", false},
		"502":            {says(502), "HTTP status 502", true},
		"201":            {says(201), "HTTP status 201", false},
		"nobody listens": {nil, "it is unreachable: connection refused", true},
		"closed":         {func(net.Conn) {}, "it is unreachable: connection closed without a response", true},
		"not HTTP":       {func(conn net.Conn) { io.WriteString(conn, canaryUpstream+"\r\n\r\n") }, "it is unreachable: connection failed", true},
		"text of TLS": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nserver gave HTTP response to HTTPS client\r\n\r\n")
		}, "it is unreachable: connection failed", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				addr, connects := closedPort(t), new(atomic.Int32)
				if test.respond != nil {
					addr, connects = serveProxy(t, test.respond)
				}
				for _, op := range p.operations {
					c := behind(t, p, ecgrid.Endpoint{}, addr)
					before := connects.Load()
					_, err := op.call(t.Context(), c, session)
					e := wantFailure(t, err, ecgrid.ErrProxy)
					n := connects.Load() - before
					if e.Sent || e.Reason != test.reason || test.respond != nil && (n > 1) != test.retried {
						t.Errorf("%s: %+v after %d connections", op.name, e, n)
					}
				}
			})
		})
	}
}

// A proxy that does not answer leaves time for another attempt.
func TestProxyIsSilent(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		c, network := serveInMemory(t, p, ecgrid.Endpoint{}, func(_ http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodConnect {
				t.Errorf("the proxy got %s", r.Method)
			}
			<-r.Context().Done()
		})
		c.http.URL.Scheme = "https"
		c.http.SetProxy(func(*http.Request) (*url.URL, error) {
			return &url.URL{Scheme: "http", Host: "proxy.test"}, nil
		})
		_, err := op.call(t.Context(), c, session)
		e := wantFailure(t, err, ecgrid.ErrProxy)
		if e.Sent || e.Reason != "it is unreachable: connection not opened in time" || network.dials.Load() < 2 {
			t.Errorf("%+v after %d connections", e, network.dials.Load())
		}
	})
}

// The address of the proxy may hold its password, and net/http quotes it.
func TestProxyAddressIsMalformed(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		c := connect(t, p, ecgrid.Endpoint{URL: "https://ecgrid.test" + p.path})
		c.http.SetProxy(func(*http.Request) (*url.URL, error) {
			return nil, errors.New("invalid proxy address " + canaryPassword)
		})
		for _, op := range p.operations {
			_, err := op.call(t.Context(), c, session)
			if e := wantFailure(t, err, ecgrid.ErrProxy); e.Sent || e.Reason != "its address is malformed" {
				t.Errorf("%s: %+v", op.name, e)
			}
		}
	})
}

// Behind a proxy that connects, the client talks to ECGrid as without one. Only the proxy
// gets the proxy's password, and only ECGrid gets ECGrid's credentials.
func TestProxyConnects(t *testing.T) {
	t.Parallel()
	ours := newCA(t)
	cert, err := ours.Issue("ecgrid.test")
	if err != nil {
		t.Fatal(err)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte("jo:"+canaryPassword))
	eachProtocol(t, func(t *testing.T, p *protocol) {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Proxy-Authorization") != "" {
				t.Error("ECGrid got the proxy's password")
			}
			p.respond(w, r)
		}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		defer s.Close()
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodConnect || r.Host != "ecgrid.test:443" || r.Header.Get("Proxy-Authorization") != want {
				t.Errorf("the proxy got %s %s", r.Method, r.Host)
			}
			tunnel(w, s.Listener.Addr().String())
		}))
		defer proxy.Close()
		addr := proxy.Listener.Addr().String()
		c := behind(t, p, ecgrid.Endpoint{CACert: string(ours.PEM)}, addr)
		for _, op := range p.operations {
			op.wantSuccess(t, c, session)
		}
		c.Close()
		c = behind(t, p, ecgrid.Endpoint{}, addr) // does not trust ECGrid
		_, err := c.Version(t.Context())
		if e := wantFailure(t, err, ecgrid.ErrUnreachable); e.Reason != "TLS certificate not trusted" {
			t.Errorf("%+v", e)
		}
		c.Close()
	})
}

// tunnel connects the client of a CONNECT with addr.
func tunnel(w http.ResponseWriter, addr string) {
	server, err := net.Dial("tcp", addr)
	if err != nil {
		http.Error(w, "unreachable", http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	go func() {
		io.Copy(server, client)
		server.Close()
	}()
	io.Copy(client, server)
}
