// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"bufio"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// Pooled connections that fail. net/http repeats a request without a body by itself: a GET
// always, a POST if nothing of it was written. REST has both. The same must hold for requests
// with a body, which only the client repeats.

var errRefused = errors.New(canaryUpstream)

func refuseAll(int32) error { return errRefused }

// If all pooled connections were closed while they were idle, and there is no new one, nothing
// was sent.
func TestClosedWhileIdle(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		c, network, s := serveSlowly(t, p, 4)
		before := s.requests.Load()
		network.closeIdle()
		synctest.Wait()
		op.wantSuccess(t, c, session)
		if n := s.requests.Load() - before; n != 1 {
			t.Errorf("%d requests", n)
		}
		network.closeIdle()
		synctest.Wait()
		network.refuse = refuseAll
		dials := network.dials.Load()
		_, err := op.call(t.Context(), c, session)
		want := int32(2)
		if op.read {
			want = 3
		}
		if e := wantFailure(t, err, ecgrid.ErrUnreachable); e.Sent || network.dials.Load()-dials != want {
			t.Errorf("got %+v after %d dials, want %d, unsent", e, network.dials.Load()-dials, want)
		}
	})
}

// If all pooled connections break when they are used, a call uses a new one. A call that must
// not be retried does not try a pooled one.
func TestClosedWhenUsed(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		c, network, s := serveSlowly(t, p, 4)
		network.hangUp.Store(4)
		before := s.requests.Load()
		op.wantSuccess(t, c, session)
		if n := s.requests.Load() - before; n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// The request may have been sent on a connection that broke, also if no further connection is
// opened.
func TestSentIfClosedWhenUsed(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		c, network, _ := serveSlowly(t, p, 4)
		network.hangUp.Store(4)
		network.refuse = refuseAll
		_, err := op.call(t.Context(), c, session)
		if e := wantFailure(t, err, ecgrid.ErrUnreachable); e.Sent != op.pooled() {
			t.Errorf("got %+v, want Sent: %v", e, op.pooled())
		}
	})
}

// A server that never responds gets a call that must not be retried once, and a read a few
// times.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	eachOperation(t, func(t *testing.T, p *protocol, op operation) {
		c, network, s := serveSlowly(t, p, 1)
		s.hangUp.Store(true) // after it has read the request
		before, dials := s.requests.Load(), network.dials.Load()
		_, err := op.call(t.Context(), c, session)
		e := wantFailure(t, err, ecgrid.ErrUnreachable)
		if !e.Sent || e.Reason != "connection closed without a response" {
			t.Errorf("got %+v, want sent", e)
		}
		least, most := int32(1), int32(1)
		if op.read {
			least, most = 3, 4 // net/http repeats a GET on a pooled connection once
		}
		if n := s.requests.Load() - before; n < least || n > most {
			t.Errorf("%d requests, want %d to %d", n, least, most)
		}
		if n := network.dials.Load() - dials; n > 3 {
			t.Errorf("%d new connections", n)
		}
	})
}

// A response that no request asked for is not taken for that to the next request, and nothing
// is sent on its connection.
func TestUnsolicitedResponse(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]struct{ pause, idle time.Duration }{
		"at once":                   {0, 0},
		"before the next request":   {httpclient.QuietTime - 1, 0},
		"while idle":                {time.Second, 2 * time.Second},
		"at once, used after a bit": {0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachRead(t, func(t *testing.T, p *protocol, op operation) {
				var requests atomic.Int32
				n := newNetwork()
				wait := serveConns(n, func(conn net.Conn) {
					in := bufio.NewReader(conn)
					for first := true; ; first = false {
						if _, _, err := readRequest(in); err != nil {
							return
						}
						if requests.Add(1); !first {
							t.Error("a second request on the connection")
						}
						right, surplus := answer{status: 200, body: op.response}.raw(), p.fault.raw()
						if when.pause == 0 {
							conn.Write(append(right, surplus...))
							continue
						}
						conn.Write(right)
						time.Sleep(when.pause)
						conn.Write(surplus)
					}
				})
				c := connect(t, p, ecgrid.Endpoint{URL: "http://ecgrid.test" + p.path})
				c.http.SetDialer(n.dial)
				defer func() { c.Close(); n.Close(); wait() }()
				for range 5 {
					op.wantSuccess(t, c, session)
					time.Sleep(when.idle)
				}
				if requests.Load() != 5 {
					t.Errorf("%d requests for 5 calls", requests.Load())
				}
			})
		})
	}
}

// One pooled connection breaks, and the next that net/http tries is silent.
func TestBrokenAndSilentConnections(t *testing.T) {
	t.Parallel()
	eachRead(t, func(t *testing.T, p *protocol, op operation) {
		c, network, _ := serveSlowly(t, p, 4)
		network.hangUpOnce.Store(true)
		network.forget()
		start := time.Now()
		op.wantSuccess(t, c, session)
		if took := time.Since(start); took > httpclient.MaxSilence+time.Second {
			t.Errorf("took %v", took)
		}
		if n := network.dials.Load(); n != 4+1 {
			t.Errorf("%d connections, want 1 new one", n)
		}
	})
}

// A pooled connection breaks, and the response over the new one takes long. It counts.
func TestBrokenConnectionAndSlowResponse(t *testing.T) {
	t.Parallel()
	eachRead(t, func(t *testing.T, p *protocol, op operation) {
		c, network, s := serveSlowly(t, p, 1)
		network.hangUp.Store(1)
		s.delay.Store(int64(5 * time.Second))
		before, start := s.requests.Load(), time.Now()
		op.wantSuccess(t, c, session)
		if took := time.Since(start); took < 5*time.Second || took > 5*time.Second+maxFirstBackoff+httpclient.QuietTime {
			t.Errorf("took %v, want 5 s", took)
		}
		if n := s.requests.Load() - before; n > 2 {
			t.Errorf("%d requests", n)
		}
		time.Sleep(time.Minute)
	})
}
