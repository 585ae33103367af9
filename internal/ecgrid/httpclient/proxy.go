// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	used      atomic.Bool // a proxy is to open the connection
	connected bool        // the exchange has a connection
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
// none, and connects without a proxy.
func proxyFromEnvironment(r *http.Request) (*url.URL, error) {
	if r.URL.Scheme == "https" && isMalformed(cmp.Or(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))) {
		return nil, errProxyAddress
	}
	return http.ProxyFromEnvironment(r)
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

// setProxy lets proxy choose the proxy of each connection, as http.Transport.Proxy does.
func (c *Client) setProxy(proxy func(*http.Request) (*url.URL, error)) {
	for _, t := range []*http.Transport{c.pooled, c.unpooled} {
		t.Proxy = func(r *http.Request) (*url.URL, error) {
			u, err := proxy(r)
			if err != nil {
				err = errProxyAddress
			}
			if p := throughProxyOf(r.Context()); p != nil {
				p.used.Store(u != nil || err != nil)
				p.connected = false // net/http repeats a request without a body by itself
			}
			return u, err
		}
		t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return proxyRefusal(resp.StatusCode)
			}
			return nil
		}
	}
}

// failure classifies the error of a RoundTrip. It returns nil if the proxy is not to blame.
func (p *throughProxy) failure(ctx context.Context, err error) *Failure {
	if !p.used.Load() || p.connected || ctx.Err() != nil {
		return nil
	}
	var refusal proxyRefusal
	var toProxy *net.OpError // net/http names connections to a proxy like this
	switch {
	case errors.Is(err, errProxyAddress):
		return &Failure{Kind: ecgrid.ErrProxy, Reason: "its address is malformed"}
	case errors.As(err, &refusal):
		return &Failure{Kind: ecgrid.ErrProxy, Reason: refusal.Error(), Transient: IsTransient(int(refusal))}
	case errors.As(err, &toProxy) && toProxy.Op == "proxyconnect":
	case tlsReason(err) != "": // the proxy has connected
		return nil
	}
	return &Failure{Kind: ecgrid.ErrProxy, Reason: "it is unreachable: " + proxyReason(err), Transient: true}
}

func proxyReason(err error) string {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return closedEarly
	}
	if reason := tlsReason(err); reason != "" {
		return reason
	}
	return unreachableReason(err)
}

// answersWithin returns a connection whose first bytes must come within d. net/http would
// give a proxy a minute to answer, and the connection counts as one of MaxConcurrent
// meanwhile.
func answersWithin(conn net.Conn, d time.Duration) net.Conn {
	_ = conn.SetReadDeadline(time.Now().Add(d)) // a connection that is closed fails anyway
	return &proxyConn{Conn: conn}
}

type proxyConn struct {
	net.Conn
	answered bool
}

func (c *proxyConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && !c.answered {
		c.answered = true
		_ = c.Conn.SetReadDeadline(time.Time{})
	}
	return n, err
}
