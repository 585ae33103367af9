// Package soap talks SOAP 1.1 to ECGridOS v4.1, as its WSDL has it, and to
// nothing else. It keeps no session and no credential: who calls holds both.
//
// Its answers come from a party that may be broken or hostile. They are read as
// a stream within fixed bounds of size, depth and time, and no text of theirs
// gets into an error.
package soap

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-cleanhttp"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// idleTimeout is below IIS's own 120 s and the 60 s of common load balancers:
	// the side that closes first never finds a request on a dead connection.
	idleTimeout = 55 * time.Second
	// maxHeader bounds the head of an answer, in bytes.
	maxHeader = 32 << 10
	// backoffStart is the longest wait before the second try, in front of the
	// third it is twice that. Both are cut by jitter of up to a half.
	backoffStart = 100 * time.Millisecond

	// maxDial bounds the opening of one connection, and the TLS handshake on it.
	maxDial = 5 * time.Second

	defaultTimeout    = 15 * time.Second
	defaultConcurrent = 8
)

// Client calls one ECGridOS endpoint. It is safe for concurrent use.
type Client struct {
	url                   *url.URL
	timeout, loginTimeout time.Duration
	// kept reuses its connections. fresh opens one for each call: a call that
	// must not be repeated does not start on a connection that may be dead.
	kept, fresh *http.Transport
	// wait is how time passes between tries: false when ctx ended first.
	wait func(ctx context.Context, d time.Duration) bool
}

// Connect makes a client; it does no I/O. Zero RequestTimeout means 15 s, zero
// MaxConcurrent 8. It refuses a URL that is not plain http(s)://host[:port]/path
// and a CACert without a certificate; what it says of them quotes neither.
func Connect(e ecgrid.Endpoint) (*Client, error) {
	u, err := parseURL(e.URL)
	if err != nil {
		return nil, err
	}
	trust, err := tlsConfig(e)
	if err != nil {
		return nil, err
	}
	if e.RequestTimeout < 0 || e.LoginTimeout < 0 || e.MaxConcurrent < 0 {
		return nil, errors.New("ECGrid endpoint: negative timeout or concurrency")
	}
	concurrent := orDefault(e.MaxConcurrent, defaultConcurrent)
	timeout := orDefault(e.RequestTimeout, defaultTimeout)
	c := &Client{
		url:          u,
		timeout:      timeout,
		loginTimeout: orDefault(e.LoginTimeout, timeout),
		kept:         newTransport(trust, concurrent),
		fresh:        newTransport(trust.Clone(), concurrent),
		wait:         sleep,
	}
	c.fresh.DisableKeepAlives = true
	c.dialThrough(c.kept.DialContext)
	return c, nil
}

// dialThrough has all connections opened by dial. Two that are not answered, in
// TCP or in TLS, end within the time of one call: what dropped packets do to a
// Login then is known to be no Login.
func (c *Client) dialThrough(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	whole := min(c.timeout, c.loginTimeout)
	within := min(maxDial, whole/4)
	bounded := func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return watch(conn), nil
	}
	for _, t := range []*http.Transport{c.kept, c.fresh} {
		t.DialContext = bounded
		t.TLSHandshakeTimeout = min(maxDial, whole/5) // less, to leave room for the pause between two
	}
}

// Close closes the idle connections. Calls under way go on, later ones open new
// connections.
func (c *Client) Close() {
	c.kept.CloseIdleConnections()
	c.fresh.CloseIdleConnections()
}

func orDefault[T comparable](v, ifZero T) T {
	var zero T
	if v == zero {
		return ifZero
	}
	return v
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil: // err quotes the URL
		return nil, errors.New("ECGrid endpoint: the URL cannot be parsed")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("ECGrid endpoint: the URL is neither https nor http")
	case u.Hostname() == "":
		return nil, errors.New("ECGrid endpoint: the URL has no host")
	case u.User != nil:
		return nil, errors.New("ECGrid endpoint: the URL holds credentials")
	case u.Fragment != "":
		return nil, errors.New("ECGrid endpoint: the URL has a fragment")
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

func newTransport(trust *tls.Config, concurrent int) *http.Transport {
	t := cleanhttp.DefaultPooledTransport()
	// HTTP/1.1 only: one call has one connection, so it is known exactly whether
	// anything was sent. HTTP/2 replays requests on its own.
	t.ForceAttemptHTTP2 = false
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP1(true)
	t.TLSClientConfig = trust
	t.DisableCompression = true // limits are of bytes on the wire
	t.MaxResponseHeaderBytes = maxHeader
	t.IdleConnTimeout = idleTimeout
	t.MaxIdleConns = concurrent
	t.MaxIdleConnsPerHost = concurrent
	t.MaxConnsPerHost = concurrent + 2 // a Logout need not wait for the rest
	return t
}

// repeats says whether a failed try may be followed by another.
type repeats struct {
	tries int // in all
	may   func(f *failure, sent bool) bool
}

var (
	// asRead is for what changes nothing, or nothing more when it is repeated.
	asRead = repeats{3, func(f *failure, _ bool) bool { return f.transient }}
	// ifUnsent is for what ECGrid counts or carries out: nothing of it may have left.
	ifUnsent = repeats{2, func(f *failure, sent bool) bool { return f.transient && !sent }}
)

// failure is what went wrong in one try.
type failure struct {
	kind      error  // a sentinel of package ecgrid, or canceled
	reason    string // our own phrase
	transient bool   // another try may succeed
}

func (f *failure) Error() string { return f.reason }

func badAnswer(reason string) *failure {
	return &failure{kind: ecgrid.ErrBadAnswer, reason: reason}
}

// canceled is the kind of a call that its caller gave up. For who looks for a
// sentinel only, it is ErrTimeout: no answer came in the time there was.
type canceled struct{}

func (canceled) Error() string { return "given up by the caller" }

func (canceled) Is(target error) bool {
	return target == ecgrid.ErrTimeout || target == context.Canceled
}

// result is where an answer is read to.
type result interface {
	reset()             // what a failed try left behind
	read(*answer) error // the element at hand, to its end
}

// read turns an HTTP response into a result or a failure.
func read(ctx context.Context, op *operation, resp *http.Response, to result) *failure {
	f := refuseHead(op, resp)
	if f == nil {
		f = readBody(ctx, op, resp, to)
	}
	if f != nil && f.kind == ecgrid.ErrBadAnswer && resp.StatusCode != http.StatusOK {
		return statusFailure(resp.StatusCode) // no fault in it: the status says more
	}
	return f
}

func readBody(ctx context.Context, op *operation, resp *http.Response, to result) *failure {
	in := newInput(resp.Body, limitOf(op, resp))
	defer in.release()
	to.reset()
	err := newAnswer(in).read(op.name, resp.StatusCode == http.StatusOK, to)
	if err == nil {
		return nil
	}
	var f *failure
	switch {
	case in.err != nil: // what stopped the reading says more than where it stopped
		f = in.failure()
	case !errors.As(err, &f):
		f = badAnswer("not well-formed")
	}
	// At the end of ctx the connection is closed, and a server that sees it may
	// end its answer in good order: half an answer is then our own doing.
	if ended := ctxFailure(ctx); ended != nil && f.kind == ecgrid.ErrBadAnswer {
		return ended
	}
	return f
}

// limitOf is what the body may have: with an error there is a fault or nothing.
func limitOf(op *operation, resp *http.Response) int64 {
	if resp.StatusCode != http.StatusOK {
		return maxSmall
	}
	return op.limit
}

// refuseHead refuses what need not be read.
func refuseHead(op *operation, resp *http.Response) *failure {
	status := resp.StatusCode
	switch {
	case resp.ProtoMajor != 1 || hasBlankInName(resp.Header): // net/http lets them pass
		return badAnswer(notHTTP)
	case status != http.StatusOK && status < 400:
		return statusFailure(status)
	case resp.ContentLength > limitOf(op, resp):
		return badAnswer(tooLarge)
	case !plainUTF8(resp.Header):
		return badAnswer("compressed or not in UTF-8")
	}
	return nil
}

func hasBlankInName(h http.Header) bool {
	for name := range h {
		if strings.ContainsRune(name, ' ') {
			return true
		}
	}
	return false
}

// statusFailure is a status that came without a SOAP body to go by.
func statusFailure(status int) *failure {
	f := badAnswer("HTTP status " + strconv.Itoa(status))
	f.transient = status >= 500
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		f.kind = ecgrid.ErrUnreachable
	}
	return f
}

// plainUTF8 is false when the head says that the body is compressed or in
// another character set. The media type does not matter: the body decides.
func plainUTF8(h http.Header) bool {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return false
	}
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return true
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}

// ctxFailure is what the end of ctx means, or nil while it lasts.
func ctxFailure(ctx context.Context) *failure {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &failure{kind: canceled{}}
	default:
		return &failure{kind: ecgrid.ErrTimeout}
	}
}

const (
	closedEarly = "connection closed without an answer"
	halfAnswer  = "half an answer"
	notHTTP     = "not HTTP"
	tooLarge    = "too large"
)

// noAnswer tells by error value why no answer came, first match first.
var noAnswer = []struct {
	is     error
	reason string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.ECONNRESET, "connection reset"},
	{syscall.EPIPE, "connection reset"},
	{syscall.EHOSTUNREACH, "no route to the host"},
	{syscall.ENETUNREACH, "no route to the host"},
	{io.EOF, closedEarly},
}

// transportFailure gives the error of a RoundTrip its meaning. It copies none of
// its text, which may quote the URL, names or bytes from upstream. Where a first
// byte has come, what is not the network's failure is the answer's: net/http has
// no types, and many texts, for a head that it cannot read.
func transportFailure(ctx context.Context, err error, answered bool) *failure {
	if f := ctxFailure(ctx); f != nil {
		return f
	}
	if reason := tlsReason(err); reason != "" { // as it was, so it will be
		return &failure{kind: ecgrid.ErrUnreachable, reason: reason}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &failure{kind: ecgrid.ErrBadAnswer, reason: halfAnswer, transient: true}
	}
	if network := net.Error(nil); answered && !errors.As(err, &network) {
		return badAnswer(headReason(err))
	}
	return &failure{kind: ecgrid.ErrUnreachable, reason: unreachableReason(err), transient: true}
}

// headReason says why the head of an answer could not be read.
func headReason(err error) string {
	if strings.Contains(err.Error(), "response headers exceeded") {
		return "head of the answer too large"
	}
	return notHTTP
}

func unreachableReason(err error) string {
	for _, n := range noAnswer {
		if errors.Is(err, n.is) {
			return n.reason
		}
	}
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "name not found"
	case errors.As(err, &dns):
		return "name not resolved"
	case errors.As(err, &network) && network.Timeout():
		return "connection not opened in time"
	case err.Error() == "http: server closed idle connection": // net/http keeps the value to itself
		return closedEarly
	}
	return "connection failed"
}

// tlsReason is "" for an error that is not about TLS.
func tlsReason(err error) string {
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return "TLS certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS certificate expired or not yet valid"
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &invalid):
		return "TLS certificate not trusted"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "no TLS on that port"
	case strings.Contains(err.Error(), "tls: "): // crypto/tls has no type for most of its errors
		return "TLS handshake failed"
	}
	return ""
}
