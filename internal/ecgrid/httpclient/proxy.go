// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The plugin's environment may have a proxy (HTTPS_PROXY). Its failures are told apart from
// those of ECGrid. None of its text gets into an error, nor does its address, which may
// hold a password.

// throughProxy is in the context of an exchange, for the callbacks of net/http.
type throughProxy struct {
	used      bool                      // a proxy is to open the connection
	connected bool                      // the exchange has a connection
	conn      atomic.Pointer[proxyConn] // the last connection to the proxy; nil before it is open
}

type throughProxyKey struct{}

// throughProxyOf returns nil if ctx is not that of an exchange.
func throughProxyOf(ctx context.Context) *throughProxy {
	p, _ := ctx.Value(throughProxyKey{}).(*throughProxy)
	return p
}

// errProxyAddress replaces an error that quotes the address.
var errProxyAddress = errors.New("malformed address of the proxy")

// proxyRefusal is the HTTP status with which a proxy refused to connect.
type proxyRefusal int

func (s proxyRefusal) Error() string {
	if s == http.StatusProxyAuthRequired {
		return "HTTP status 407: it wants a user and password, or refuses those that it got"
	}
	return fmt.Sprintf("HTTP status %d", int(s))
}

// proxyFromEnvironment is http.ProxyFromEnvironment, which takes some malformed addresses for
// none, and connects without a proxy. Like that, it has no proxy for a loopback host. It does
// not compare the host with NO_PROXY if the address is malformed.
func proxyFromEnvironment(r *http.Request) (*url.URL, error) {
	switch {
	case isLoopback(r.URL.Hostname()):
		return nil, nil
	case r.URL.Scheme == "https" && isMalformed(cmp.Or(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))):
		return nil, errProxyAddress
	}
	return http.ProxyFromEnvironment(r)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// isMalformed reports whether the address of a proxy cannot be parsed. The scheme may be
// missing.
func isMalformed(address string) bool {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	_, err := url.Parse(address)
	return err != nil
}

// setProxy lets proxy choose the proxy, as http.Transport.Proxy does, once for the URL of the
// client.
func (c *Client) setProxy(proxy func(*http.Request) (*url.URL, error)) {
	u, err := proxy(&http.Request{URL: c.URL})
	if err != nil {
		err = errProxyAddress
	}
	c.proxied = u != nil || err != nil
	for _, t := range []*http.Transport{c.pooled, c.unpooled} {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			if p := throughProxyOf(r.Context()); p != nil { // net/http repeats a request without a body by itself
				p.connected = false
				p.conn.Store(nil)
			}
			return u, err
		}
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return proxyRefusal(resp.StatusCode)
			}
			return nil
		}
		t.DialTLSContext = nil
		if u != nil && u.Scheme == "https" {
			t.DialTLSContext = c.dialTLSProxy
		}
	}
}

// dialTLSProxy opens a connection to an https:// proxy. net/http would expect the certificate
// of ECGrid from the proxy. It handshakes with ECGrid by itself, over this connection.
func (c *Client) dialTLSProxy(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, c.proxyTLS(host))
	handshake, cancel := context.WithTimeout(ctx, c.pooled.TLSHandshakeTimeout)
	defer cancel()
	if err := secured.HandshakeContext(handshake); err != nil {
		conn.Close()
		return nil, err
	}
	return c.opened(ctx, secured), nil
}

// proxyTLS expects a certificate for host. The authorities of the system may have issued it,
// as well as those of the CA bundle.
func (c *Client) proxyTLS(host string) *tls.Config {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, NextProtos: []string{"http/1.1"}}
	if c.caCert == "" {
		return conf
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	roots.AppendCertsFromPEM([]byte(c.caCert)) // New checked it
	conf.RootCAs = roots
	return conf
}

// failure classifies the error of a RoundTrip. It returns nil if the proxy is not to blame.
func (p *throughProxy) failure(ctx context.Context, err error) *Failure {
	if !p.used || p.connected || ctx.Err() != nil {
		return nil
	}
	conn := p.conn.Load()
	if conn != nil && conn.handshakes.Load() { // the proxy has connected
		return nil
	}
	var refusal proxyRefusal
	switch {
	case errors.Is(err, errProxyAddress):
		return &Failure{Kind: ecgrid.ErrProxy, Reason: "its address is malformed"}
	case errors.As(err, &refusal):
		return &Failure{Kind: ecgrid.ErrProxy, Reason: refusal.Error(), Transient: IsTransient(int(refusal))}
	}
	reason := proxyReason(err)
	if conn != nil && conn.late.Load() {
		reason = unreachableReason(os.ErrDeadlineExceeded)
	}
	return &Failure{Kind: ecgrid.ErrProxy, Reason: "it is unreachable: " + reason, Transient: true}
}

func proxyReason(err error) string {
	var toProxy *net.OpError
	if errors.As(err, &toProxy) && toProxy.Op == "proxyconnect" { // no text of the proxy is in err
		return cmp.Or(tlsReason(err), unreachableReason(err))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return closedEarly
	}
	return unreachableReason(err)
}

// proxyConn is a connection to a proxy, up to the TLS handshake with ECGrid. Until then its
// read deadline holds, however many bytes the proxy sends. net/http would give a proxy a
// minute to answer, and the connection counts as one of MaxConcurrent meanwhile.
type proxyConn struct {
	net.Conn
	handshakes atomic.Bool // the TLS handshake with ECGrid has begun
	late       atomic.Bool // the deadline has passed
}

// answersWithin returns a connection to a proxy, which must connect with ECGrid within d.
func answersWithin(conn net.Conn, d time.Duration) *proxyConn {
	_ = conn.SetReadDeadline(time.Now().Add(d)) // a connection that is closed fails anyway
	return &proxyConn{Conn: conn}
}

// tlsHandshake is the first byte of a TLS handshake (RFC 8446, section 5.1). No message of
// CONNECT or SOCKS5 to the proxy begins with it.
const tlsHandshake = 22

// Read records that the deadline has passed, since net/http takes what came before for a line.
func (c *proxyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.late.Store(true)
	}
	return n, err
}

func (c *proxyConn) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == tlsHandshake && c.handshakes.CompareAndSwap(false, true) {
		_ = c.SetReadDeadline(time.Time{})
	}
	return c.Conn.Write(b)
}
