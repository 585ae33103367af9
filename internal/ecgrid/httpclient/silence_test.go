// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// slowServer answers after a delay.
type slowServer struct {
	delay    atomic.Int64 // time.Duration
	requests atomic.Int32
	hangUp   atomic.Bool // instead of answering
}

// serveSlowly returns a client that has n pooled connections to a slowServer. The delay is 0.
func serveSlowly(t *testing.T, p *protocol, n int) (*client, *network, *slowServer) {
	t.Helper()
	s := &slowServer{}
	c, network := serveInMemory(t, p, ecgrid.Endpoint{RequestTimeout: 15 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		time.Sleep(time.Duration(s.delay.Load()))
		if s.hangUp.Load() {
			io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
		p.respond(w, r)
	})
	s.delay.Store(int64(time.Second)) // so that each call opens a connection
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	s.delay.Store(0)
	time.Sleep(httpclient.QuietTime)
	return c, network, s
}

// A firewall has forgotten all pooled connections: the first of several reads notices, and
// costs the others nothing.
func TestSilentConnectionsInARow(t *testing.T) {
	t.Parallel()
	eachPooled(t, func(t *testing.T, p *protocol, op operation) {
		c, network, _ := serveSlowly(t, p, 16)
		network.forget()
		start := time.Now()
		for range 16 {
			op.wantSuccess(t, c, session)
		}
		if took := time.Since(start); took > httpclient.MaxSilence+16*httpclient.QuietTime {
			t.Errorf("16 reads took %v", took)
		}
		if n := network.dials.Load(); n != 16+2 {
			t.Errorf("%d connections, want 2 new ones", n)
		}
	})
}

// The same for concurrent reads, also if their caller has little time.
func TestSilentConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		for _, deadline := range []time.Duration{15 * time.Second, 3 * time.Second, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				c, network, _ := serveSlowly(t, p, 16)
				network.forget()
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				start := time.Now()
				var calls sync.WaitGroup
				for range 16 {
					calls.Go(func() {
						if _, err := c.UserGetAPIKey(ctx, session, 5001); err != nil {
							t.Error(err)
						}
					})
				}
				calls.Wait()
				if took := time.Since(start); took > min(httpclient.MaxSilence, deadline/2) {
					t.Errorf("took %v of %v", took, deadline)
				}
			})
		}
	})
}

// A slow server is not dead: the first exchange goes on, and its response counts.
func TestSlowIsNotSilent(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		for _, op := range p.operations {
			for _, slow := range []time.Duration{time.Second, 5 * time.Second, 14 * time.Second} {
				t.Run(op.name+"/"+slow.String(), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { callSlowly(t, p, op, slow) })
				})
			}
		}
	})
}

// callSlowly makes a call that takes that long on a pooled connection.
func callSlowly(t *testing.T, p *protocol, op operation, slow time.Duration) {
	t.Helper()
	c, _, s := serveSlowly(t, p, 1)
	s.delay.Store(int64(slow))
	before, start := s.requests.Load(), time.Now()
	op.wantSuccess(t, c, session)
	if took := time.Since(start); took != slow {
		t.Errorf("took %v, want %v", took, slow)
	}
	most := int32(1)
	if op.pooled() && slow > httpclient.MaxSilence {
		most = 2
	}
	if calls := s.requests.Load() - before; calls != most {
		t.Errorf("%d calls, want %d", calls, most)
	}
	time.Sleep(time.Minute)
}

// A call on a new connection waits, however long that is silent.
func TestNewConnectionIsWaitedFor(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _, s := serveSlowly(t, p, 0)
			s.delay.Store(int64(10 * time.Second))
			if _, err := c.Version(t.Context()); err != nil || s.requests.Load() != 1 {
				t.Errorf("%v after %d calls", err, s.requests.Load())
			}
		})
	})
}

// A read on a silent connection, if the new connection is in trouble too.
func TestSilentConnectionAndFailedNewOne(t *testing.T) {
	t.Parallel()
	refused := errors.New(canaryUpstream)
	refuseAll := func(dial int32) error { // but the first, which is pooled
		if dial > 1 {
			return refused
		}
		return nil
	}
	tests := []struct {
		name   string
		forget bool
		slow   time.Duration
		refuse func(dial int32) error
		kind   error // nil: it succeeds
		within time.Duration
	}{
		{"the second new one works", true, 0, func(dial int32) error {
			if dial == 2 {
				return refused
			}
			return nil
		}, nil, httpclient.MaxSilence + time.Second},
		{"no new one, but the first responds", false, 5 * time.Second, refuseAll, nil, 5 * time.Second},
		{"nothing works", true, 0, refuseAll, ecgrid.ErrUnreachable, 15 * time.Second},
		{"all silent", false, time.Minute, nil, ecgrid.ErrTimeout, 15 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				synctest.Test(t, func(t *testing.T) {
					c, network, s := serveSlowly(t, p, 1)
					if network.refuse = test.refuse; test.forget {
						network.forget()
					}
					s.delay.Store(int64(test.slow))
					start := time.Now()
					_, err := c.UserGetAPIKey(t.Context(), session, 5001)
					if took := time.Since(start); took > test.within {
						t.Errorf("took %v", took)
					}
					if test.kind == nil {
						if err != nil {
							t.Error(err)
						}
					} else if e := wantFailure(t, err, test.kind); !e.Sent {
						t.Error("counts as unsent")
					}
					time.Sleep(2 * time.Minute)
				})
			})
		})
	}
}

// A caller that cancels while two exchanges run leaves none behind.
func TestCancelWithTwoExchanges(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, network, s := serveSlowly(t, p, 1)
			network.forget()
			s.delay.Store(int64(10 * time.Second))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(5*time.Second, cancel)
			start := time.Now()
			_, err := c.Version(ctx)
			if e := wantFailure(t, err, context.Canceled); !e.Sent || time.Since(start) != 5*time.Second {
				t.Errorf("got %+v after %v", e, time.Since(start))
			}
			time.Sleep(time.Minute)
		})
	})
}
