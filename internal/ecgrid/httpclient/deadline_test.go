// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// A Login may take longer than other calls: its session must become known.
func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			e := ecgrid.Endpoint{RequestTimeout: 2 * time.Second, LoginTimeout: 10 * time.Second}
			c, _ := serveInMemory(t, p, e, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(5 * time.Second)
				p.respond(w, r)
			})
			if _, err := c.Login(t.Context(), "jo", canaryPassword); err != nil {
				t.Error(err)
			}
			_, err := c.Version(t.Context())
			wantFailure(t, err, ecgrid.ErrTimeout)
			time.Sleep(time.Minute) // lets the server finish
		})
	})
}

// hang receives requests and never responds.
func hang(_ http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

// drip sends one byte of body each second.
func drip(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := io.WriteString(w, body[i%len(body):][:1]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second): // of the bubble's clock
			}
		}
	}
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	hangs := func(*protocol) http.HandlerFunc { return hang }
	drips := func(p *protocol) http.HandlerFunc { return drip(p.good("Version").body) }
	busy := func(*protocol) http.HandlerFunc { return answer{status: 503}.send }
	for _, test := range []struct {
		name   string
		h      func(*protocol) http.HandlerFunc
		ctx    time.Duration
		cause  bool // of the caller's ctx
		kind   error
		within time.Duration
	}{
		{"hang", hangs, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"drip", drips, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"hang, caller's deadline", hangs, 3 * time.Second, false, ecgrid.ErrTimeout, 3 * time.Second},
		{"hang, caller's deadline and cause", hangs, 3 * time.Second, true, ecgrid.ErrTimeout, 3 * time.Second},
		{"drip, caller's deadline", drips, 3500 * time.Millisecond, false, ecgrid.ErrTimeout, 3500 * time.Millisecond},
		// no further attempt if there is no time for it
		{"busy", busy, 0, false, ecgrid.ErrUnreachable, 300 * time.Millisecond},
		{"busy, caller's deadline", busy, 10 * time.Millisecond, false, ecgrid.ErrUnreachable, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, test.h(p))
					ctx := t.Context()
					if test.ctx > 0 {
						var cause error
						if test.cause {
							cause = errors.New(canaryUpstream)
						}
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeoutCause(ctx, test.ctx, cause)
						defer cancel()
					}
					start := time.Now()
					_, err := c.Version(ctx)
					took := time.Since(start)
					e := wantFailure(t, err, test.kind)
					if took > test.within || took < test.within/2 || !e.Sent || errors.Is(err, context.Canceled) {
						t.Errorf("took %v, want %v; %+v", took, test.within, e)
					}
				})
			})
		})
	}
}

// dropPackets is a dialer that neither connects nor is refused.
func dropPackets(ctx context.Context, _, _ string) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A caller with little time learns that it was too little, not that ECGrid is unreachable.
func TestDeadlineWithoutConnection(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serveInMemory(t, p, ecgrid.Endpoint{RequestTimeout: 20 * time.Second}, nil)
			c.http.SetDialer(dropPackets)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Login(ctx, "jo", canaryPassword)
			if e := wantFailure(t, err, ecgrid.ErrTimeout); e.Sent {
				t.Error("counts as sent")
			}
			time.Sleep(time.Minute) // lets the dial end
		})
	})
}

// If all packets are dropped, a Login fails as not sent, early enough for each attempt to end
// by itself.
func TestDroppedPackets(t *testing.T) {
	t.Parallel()
	// silent opens connections that never answer a TLS handshake.
	silent := func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go io.Copy(io.Discard, theirs)
		return ours, nil
	}
	// late does too, but takes as long as it may.
	late := func(ctx context.Context, network, addr string) (net.Conn, error) {
		deadline, _ := ctx.Deadline()
		time.Sleep(time.Until(deadline) - time.Millisecond)
		return silent(ctx, network, addr)
	}
	for _, network := range []struct {
		name string
		dial httpclient.Dialer
	}{{"before the connection", dropPackets}, {"before TLS", silent}, {"late, and before TLS", late}} {
		for _, timeout := range []time.Duration{time.Second, 15 * time.Second, 20 * time.Second, time.Minute} {
			t.Run(network.name+"/"+timeout.String(), func(t *testing.T) {
				t.Parallel()
				eachProtocol(t, func(t *testing.T, p *protocol) {
					for _, op := range p.operations {
						if op.read && network.name != "before the connection" {
							continue // there may not be time for three handshakes
						}
						t.Run(op.name, func(t *testing.T) {
							t.Parallel()
							synctest.Test(t, func(t *testing.T) { callIntoTheVoid(t, p, op, timeout, network.dial) })
						})
					}
				})
			})
		}
	}
}

// callIntoTheVoid makes a call for which dial opens no connection in time.
func callIntoTheVoid(t *testing.T, p *protocol, op operation, timeout time.Duration, dial httpclient.Dialer) {
	t.Helper()
	c, err := p.connect(ecgrid.Endpoint{URL: "https://ecgrid.test" + p.path, RequestTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var dials atomic.Int32
	c.http.SetDialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return dial(ctx, network, addr)
	})
	start := time.Now()
	_, err = op.call(t.Context(), c, session)
	took := time.Since(start)
	e := wantFailure(t, err, ecgrid.ErrUnreachable)
	if e.Sent || e.Reason != "connection not opened in time" || dials.Load() < 2 {
		t.Errorf("got %+v after %d dials", e, dials.Load())
	}
	if took > timeout || took == timeout && !op.read || took > 35*time.Second { // there may not be time for a third dial
		t.Errorf("took %v", took)
	}
	time.Sleep(time.Minute)
}

func TestCancel(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, hang)
			for _, op := range p.operations {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(errors.New(canaryUpstream)) })
				_, err := op.call(ctx, c, session)
				if e := wantFailure(t, err, context.Canceled); !e.Sent {
					t.Errorf("%s: counts as unsent", op.name)
				}
				_, err = op.call(ctx, c, session)
				if e := wantFailure(t, err, context.Canceled); e.Sent {
					t.Errorf("%s: counts as sent, with a context that had ended", op.name)
				}
			}
		})
	})
}

func TestCancelDuringBackoff(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, answer{status: 503}.send)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			_, err := c.Version(ctx)
			wantFailure(t, err, context.Canceled)
		})
	})
}

// A caller that gives up while users are listed leaves no goroutine behind, or the bubble fails
// the test.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				list, last := p.users(51), p.users(1)
				io.WriteString(w, list[:len(list)-len(last)/2]) // 50 users and a part of one
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			for range 4 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				users, err := c.UserList(ctx, session)
				wantFailure(t, err, ecgrid.ErrTimeout)
				if users != nil {
					t.Error("got an incomplete list")
				}
				cancel()
			}
		})
	})
}
