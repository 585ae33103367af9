// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Operation is what all requests of an ECGrid operation share, in any wire format.
type Operation struct {
	Name    string // as in ecgrid.Error
	Method  string // of HTTP
	MaxBody int64  // of the response, in bytes
	Retry   RetryPolicy
	// Unnamed: the response does not name its operation. So one without a key that comes
	// over a pooled connection may be a late copy of another response.
	Unnamed bool
	// Long calls have Endpoint.LoginTimeout instead of Endpoint.RequestTimeout.
	Long bool
}

// Failed is the error of a call whose response was read.
func (o *Operation) Failed(kind error, reason string) error {
	return &ecgrid.Error{Op: o.Name, Kind: kind, Reason: reason, Sent: true}
}

// Request is one call of an operation.
type Request struct {
	*Operation
	URL    *url.URL
	Header http.Header
	Body   []byte // nil: none
	// Parse reads the body of a response, up to maxBody bytes. It replaces what it read in
	// an earlier attempt.
	Parse func(resp *http.Response, maxBody int64) *Failure
	// Key is where Parse stores the API key of UserID; nil if the call reads none.
	Key    *string
	UserID int32
}

// exchange is one HTTP exchange, up to the header of the response.
type exchange struct {
	reused  chan struct{} // receives once the exchange has a connection that was used before
	done    chan struct{} // closed once resp or failure is set
	conn    *watchedConn  // nil if there is none, or another call still uses it
	pooled  bool          // the connection was used before
	resp    *http.Response
	failure *Failure
}

// start begins an exchange, which ends with ctx at the latest.
func (c *httpCall) start(ctx context.Context, transport *http.Transport) *exchange {
	x := &exchange{reused: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(x.done)
		x.resp, x.failure = c.roundTrip(ctx, transport, x)
	}()
	return x
}

func (c *httpCall) roundTrip(ctx context.Context, transport *http.Transport, x *exchange) (*http.Response, *Failure) {
	var answered atomic.Bool
	var unusable bool
	proxy := &throughProxy{used: c.proxied}
	ctx = context.WithValue(ctx, throughProxyKey{}, proxy)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			c.sent.Store(true)
			proxy.connected = true
			x.conn.release(false) // net/http repeats a request without a body by itself
			x.conn, unusable = watchedConnOf(got.Conn), false
			if x.conn != nil && !x.conn.acquire(ctx) {
				x.conn, unusable = nil, true // another call still uses it
				return
			}
			if x.pooled = got.Reused; !x.pooled {
				return
			}
			if unusable = x.conn != nil && !x.conn.checkIdle(); unusable {
				x.conn.Close() // before anything is written
				return
			}
			select {
			case x.reused <- struct{}{}:
			default: // a repeated request
			}
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	// A transport, not an http.Client: no redirects, no cookies, no url.Error that quotes
	// the URL.
	resp, err := transport.RoundTrip(c.req.http().WithContext(ctx))
	if err == nil && !unusable {
		return resp, nil
	}
	if err == nil { // the response came before the request
		resp.Body.Close()
	}
	x.conn.release(false)
	if unusable && ctx.Err() == nil {
		return nil, &Failure{Kind: ecgrid.ErrUnreachable, Reason: "pooled connection not usable", Transient: true}
	}
	if f := proxy.failure(ctx, err); f != nil {
		return nil, f
	}
	return nil, transportFailure(ctx, err, answered.Load())
}

// http returns the HTTP request. net/http does not repeat one that has a body, since there
// is no GetBody.
func (r *Request) http() *http.Request {
	req := &http.Request{
		Method:     r.Method,
		URL:        r.URL,
		Host:       r.URL.Host,
		Header:     r.Header,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
	}
	if r.Body != nil {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
	}
	return req
}

// read reads the response of x. A response that was read to its end leaves the connection
// to the next call. Any other closes it: a malformed response is not read further than
// needed.
func (c *httpCall) read(ctx context.Context, x *exchange) *Failure {
	defer x.resp.Body.Close()
	f, key := readResponse(ctx, c.req, x.resp), c.req.Key
	if f == nil && key != nil && x.conn != nil && x.conn.repeatsKey(*key, c.req.UserID) {
		f = &Failure{Kind: ecgrid.ErrBadAnswer, Reason: "another user's key", Transient: true}
	}
	if f == nil && key != nil && *key == "" && c.req.Unnamed && x.pooled {
		f = &Failure{Kind: ecgrid.ErrBadAnswer, Reason: "no key", Transient: true}
	}
	// A second copy of a response without a key would go unnoticed.
	x.conn.release(f == nil && (key == nil || *key != ""))
	return f
}

// discard closes the response of x when it comes.
func (x *exchange) discard() {
	<-x.done
	if x.resp != nil {
		x.resp.Body.Close()
		x.conn.release(false)
	}
}
