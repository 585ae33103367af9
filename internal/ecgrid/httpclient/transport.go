// SPDX-License-Identifier: MPL-2.0

// Package httpclient sends the requests of an ECGrid client and reads the responses: trust,
// limits, retries, and whether a request may have been sent. It knows HTTP and neither SOAP
// nor JSON.
//
// ECGrid, or whatever responds in its place, may be broken or hostile. Responses are
// read within limits of size and time, and none of their text gets into an error.
package httpclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	defaultTimeout       = 15 * time.Second
	defaultMaxConcurrent = 8

	// idleTimeout is below the 120 s of IIS and the 60 s of common load balancers. The
	// side that closes first never sends a request on a dead connection.
	idleTimeout = 55 * time.Second
	// maxDialTime bounds opening one connection, and then its TLS handshake.
	maxDialTime = 5 * time.Second
	// maxHeader bounds the header of a response, in bytes.
	maxHeader = 32 << 10
	// connBuffer is for reads and for writes of each connection, in bytes: more than a
	// request and its response, but for lists.
	connBuffer = 2 << 10
)

// Client sends HTTP requests to one endpoint. It is safe for concurrent use.
type Client struct {
	// URL is that of the endpoint.
	URL *url.URL

	timeout, loginTimeout time.Duration
	// pooled reuses connections. unpooled opens one for each exchange: a call that must not
	// be retried does not start on a connection that may be dead.
	pooled, unpooled *http.Transport
	dial             dialer        // takes dialTime at most
	dialTime         time.Duration // the proxy has it again for its answer
	proxied          bool          // a proxy opens the connections
	caCert           string        // see Endpoint.CACert
	// Sleep waits between attempts. It returns false if ctx ends first. Tests replace it.
	Sleep func(ctx context.Context, d time.Duration) bool
}

// New returns a client. It does no I/O. A zero RequestTimeout means 15 s, a zero
// MaxConcurrent 8. It refuses a URL that is not plain http(s)://host[:port]/path, and a
// CACert without a certificate. Its errors quote neither.
func New(e ecgrid.Endpoint) (*Client, error) {
	u, err := parseURL(e.URL)
	if err != nil {
		return nil, err
	}
	trust, err := tlsConfig(e)
	if err != nil {
		return nil, err
	}
	if e.RequestTimeout < 0 || e.LoginTimeout < 0 || e.MaxConcurrent < 0 {
		return nil, errors.New("ECGrid endpoint: timeouts and concurrency must not be negative")
	}
	maxConcurrent := cmp.Or(e.MaxConcurrent, defaultMaxConcurrent)
	timeout := cmp.Or(e.RequestTimeout, defaultTimeout)
	c := &Client{
		URL:          u,
		timeout:      timeout,
		loginTimeout: cmp.Or(e.LoginTimeout, timeout),
		pooled:       newTransport(trust, maxConcurrent),
		unpooled:     newTransport(trust.Clone(), maxConcurrent),
		caCert:       e.CACert,
		Sleep:        sleep,
	}
	c.unpooled.DisableKeepAlives = true
	c.setDialer(c.pooled.DialContext)
	c.setProxy(proxyFromEnvironment)
	return c, nil
}

// RequestTimeout is that of the Endpoint, or its default. An operation that needs two
// requests has it for both.
func (c *Client) RequestTimeout() time.Duration { return c.timeout }

// timeoutOf is the time that a call has, with all its attempts.
func (c *Client) timeoutOf(req *Request) time.Duration {
	if req.Long {
		return c.loginTimeout
	}
	return c.timeout
}

// Close closes idle connections. Running calls continue, and later calls open new
// connections.
func (c *Client) Close() {
	c.pooled.CloseIdleConnections()
	c.unpooled.CloseIdleConnections()
}

type dialer = func(ctx context.Context, network, addr string) (net.Conn, error)

// setDialer opens all connections with dial. Two that get no answer, in TCP or in TLS, end
// within the time of one call. If packets are dropped, it is then certain that a Login was
// not sent.
func (c *Client) setDialer(dial dialer) {
	callTime := min(c.timeout, c.loginTimeout)
	c.dialTime = min(maxDialTime, callTime/4)
	c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, c.dialTime)
		defer cancel()
		return dial(ctx, network, addr)
	}
	for _, t := range []*http.Transport{c.pooled, c.unpooled} {
		t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := c.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return c.opened(ctx, conn), nil
		}
		t.TLSHandshakeTimeout = min(maxDialTime, callTime/5) // leaves time for the backoff between two
	}
}

// opened returns conn as the exchange of ctx uses it. A plain http URL is for a loopback host,
// which has no proxy.
func (c *Client) opened(ctx context.Context, conn net.Conn) net.Conn {
	if p := throughProxyOf(ctx); p != nil && p.used && c.URL.Scheme == "https" {
		toProxy := answersWithin(conn, c.dialTime)
		p.conn.Store(toProxy)
		conn = toProxy
	}
	return watch(conn)
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil: // err quotes the URL
		return nil, errors.New("ECGrid endpoint: the URL cannot be parsed")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("ECGrid endpoint: the URL must start with https:// or http://")
	case u.Hostname() == "":
		return nil, errors.New("ECGrid endpoint: the URL has no host")
	case u.User != nil:
		return nil, errors.New("ECGrid endpoint: the URL must not hold credentials")
	case u.Fragment != "":
		return nil, errors.New("ECGrid endpoint: the URL must not have a fragment")
	}
	return u, nil
}

func tlsConfig(e ecgrid.Endpoint) (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: e.TLSServerName}
	if e.CACert == "" {
		return conf, nil
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM([]byte(e.CACert)) {
		return nil, errors.New("ECGrid endpoint: the CA bundle holds no PEM certificate")
	}
	return conf, nil
}

func newTransport(trust *tls.Config, maxConcurrent int) *http.Transport {
	t := cleanhttp.DefaultPooledTransport()
	// HTTP/1.1 only: an exchange has a connection to itself, so it is known whether
	// anything was sent. HTTP/2 retries requests by itself.
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSClientConfig = trust
	t.DisableCompression = true // the limits count bytes on the wire
	t.MaxResponseHeaderBytes = maxHeader
	t.ReadBufferSize, t.WriteBufferSize = connBuffer, connBuffer
	t.IdleConnTimeout = idleTimeout
	t.MaxIdleConns = maxConcurrent
	t.MaxIdleConnsPerHost = maxConcurrent
	t.MaxConnsPerHost = maxConcurrent + 2 // a Logout need not wait for other calls
	return t
}

// UserAgent is the User-Agent of all requests.
const UserAgent = "vault-plugin-ecgrid"
