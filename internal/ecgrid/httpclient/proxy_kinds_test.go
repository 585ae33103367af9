// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"reflect"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
	"vault-plugin-ecgrid/internal/testcert"
)

// serveTLS returns a server that has a certificate for name.
func serveTLS(t *testing.T, ca *testcert.Authority, name string, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	cert, err := ca.Issue(name)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// An https:// proxy has a certificate for its own name, and tls_server_name is for ECGrid's.
func TestHTTPSProxy(t *testing.T) {
	t.Parallel()
	ours, theirs := newCA(t), newCA(t)
	for name, test := range map[string]struct {
		serverName  string // tls_server_name
		ca          *testcert.Authority
		proxy, grid string // names in their certificates
		kind        error  // nil: it succeeds
		reason      string
	}{
		"own names":              {"", ours, "127.0.0.1", "ecgrid.test", nil, ""},
		"tls_server_name":        {"other.test", ours, "127.0.0.1", "other.test", nil, ""},
		"another proxy":          {"", ours, "ecgrid.test", "ecgrid.test", ecgrid.ErrProxy, "it is unreachable: TLS certificate is for another name"},
		"tls_server_name's":      {"other.test", ours, "other.test", "other.test", ecgrid.ErrProxy, "it is unreachable: TLS certificate is for another name"},
		"another ECGrid":         {"", ours, "127.0.0.1", "127.0.0.1", ecgrid.ErrUnreachable, "TLS certificate is for another name"},
		"another proxy's issuer": {"", theirs, "127.0.0.1", "ecgrid.test", ecgrid.ErrProxy, "it is unreachable: TLS certificate not trusted"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				grid := serveTLS(t, ours, test.grid, p.respond)
				proxy := serveTLS(t, test.ca, test.proxy, func(w http.ResponseWriter, _ *http.Request) { tunnel(w, grid.Listener.Addr().String()) })
				c := connect(t, p, ecgrid.Endpoint{CACert: string(ours.PEM), TLSServerName: test.serverName, URL: "https://ecgrid.test" + p.path})
				defer c.Close()
				c.http.SetProxy(func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) })
				ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
					if !httpclient.IsWatched(got.Conn) {
						t.Error("unsolicited data would go unnoticed")
					}
				}})
				for _, op := range p.operations {
					got, err := op.call(ctx, c, session)
					if test.kind == nil {
						if err != nil || !reflect.DeepEqual(got, op.want) {
							t.Errorf("%s: got %+v, %v", op.name, got, err)
						}
						continue
					}
					if e := wantFailure(t, err, test.kind); e.Sent || e.Reason != test.reason {
						t.Errorf("%s: %+v", op.name, e)
					}
				}
			})
		})
	}
}

// serveSOCKS5 connects each client with addr.
func serveSOCKS5(t *testing.T, addr string) (listening string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wait := serveConns(l, func(conn net.Conn) {
		io.CopyN(io.Discard, conn, 3) // version, one method
		io.WriteString(conn, "\x05\x00")
		io.CopyN(io.Discard, conn, int64(4+1+len("ecgrid.test")+2))
		io.WriteString(conn, "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
		server, err := net.Dial("tcp", addr)
		if err != nil {
			return
		}
		defer server.Close()
		go func() {
			io.Copy(server, conn)
			server.Close()
		}()
		io.Copy(conn, server)
	})
	t.Cleanup(func() { l.Close(); wait() })
	return l.Addr().String()
}

// Behind a SOCKS5 proxy, the client talks to ECGrid as without one.
func TestSOCKS5Proxy(t *testing.T) {
	t.Parallel()
	ours := newCA(t)
	eachProtocol(t, func(t *testing.T, p *protocol) {
		grid := serveTLS(t, ours, "ecgrid.test", p.respond)
		c := connect(t, p, ecgrid.Endpoint{CACert: string(ours.PEM), URL: "https://ecgrid.test" + p.path})
		defer c.Close()
		c.http.SetProxy(http.ProxyURL(&url.URL{Scheme: "socks5", Host: serveSOCKS5(t, grid.Listener.Addr().String())}))
		for _, op := range p.operations {
			op.wantSuccess(t, c, session)
		}
	})
}
