package soap

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// operation is what all requests of an ECGrid operation share, in any wire format.
type operation struct {
	name    string
	header  http.Header
	maxBody int64 // of the response, in bytes
	retry   retryPolicy
}

// request is one call of an operation.
type request struct {
	*operation
	body    []byte
	timeout time.Duration // of all attempts together
	// parse reads the body of a response, up to maxBody bytes. It replaces what it read in
	// an earlier attempt.
	parse func(resp *http.Response, maxBody int64) *failure
	// key is where parse stores the API key of userID; nil if the call reads none.
	key    *string
	userID int32
}

// exchange is one HTTP exchange, up to the header of the response.
type exchange struct {
	reused  chan struct{} // receives once the exchange has a connection that was used before
	done    chan struct{} // closed once resp or failure is set
	conn    *watchedConn  // nil if it cannot be watched, as behind an HTTPS proxy
	resp    *http.Response
	failure *failure
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

func (c *httpCall) roundTrip(ctx context.Context, transport *http.Transport, x *exchange) (*http.Response, *failure) {
	var answered atomic.Bool
	var unusable bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(got httptrace.GotConnInfo) {
			c.sent.Store(true)
			x.conn = watchedConnOf(got.Conn)
			if x.conn != nil && !x.conn.acquire(ctx) {
				x.conn, unusable = nil, true // another call still uses it
				return
			}
			if !got.Reused {
				return
			}
			if unusable = x.conn != nil && !x.conn.checkIdle(); unusable {
				x.conn.Close() // before anything is written
				return
			}
			x.reused <- struct{}{}
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	// A transport, not an http.Client: no redirects, no cookies, no url.Error that quotes
	// the URL. It retries nothing, since the request has no GetBody.
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           c.url,
		Host:          c.url.Host,
		Header:        c.req.header,
		Body:          io.NopCloser(bytes.NewReader(c.req.body)),
		ContentLength: int64(len(c.req.body)),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
	}).WithContext(ctx)
	resp, err := transport.RoundTrip(req)
	if err == nil && !unusable {
		return resp, nil
	}
	if err == nil { // the response came before the request
		resp.Body.Close()
	}
	x.conn.release(false)
	if unusable && ctx.Err() == nil {
		return nil, &failure{kind: ecgrid.ErrUnreachable, reason: "pooled connection not usable", transient: true}
	}
	return nil, transportFailure(ctx, err, answered.Load())
}

// read reads the response of x. A response that was read to its end leaves the connection
// to the next call. Any other closes it: a malformed response is not read further than
// needed.
func (c *httpCall) read(ctx context.Context, x *exchange) *failure {
	defer x.resp.Body.Close()
	f, key := readResponse(ctx, c.req, x.resp), c.req.key
	if f == nil && key != nil && x.conn != nil && x.conn.repeatsKey(*key, c.req.userID) {
		f = &failure{kind: ecgrid.ErrBadAnswer, reason: "another user's key", transient: true}
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
