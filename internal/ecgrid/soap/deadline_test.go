package soap

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A Login may take longer than other calls: its session must become known.
func TestLoginTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := serveInMemory(t, 2*time.Second, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second)
			strict(w, r)
		})
		c.loginTimeout = 10 * time.Second
		if _, err := c.Login(t.Context(), "jo", canaryPassword); err != nil {
			t.Error(err)
		}
		_, err := c.Version(t.Context())
		wantFailure(t, err, ecgrid.ErrTimeout)
		time.Sleep(time.Minute) // lets the server finish
	})
}

func TestDeadline(t *testing.T) {
	t.Parallel()
	good := response("Version", "<VersionResult>4</VersionResult>")
	hang := func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() }
	drip := func(w http.ResponseWriter, r *http.Request) {
		for i := 0; r.Context().Err() == nil; i++ {
			if _, err := io.WriteString(w, good[i%len(good):][:1]); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(time.Second): // of the bubble's clock
			}
		}
	}
	busy := respondWith(503, "")
	tests := []struct {
		name   string
		h      http.HandlerFunc
		ctx    time.Duration
		cause  bool // of the caller's ctx
		kind   error
		within time.Duration
	}{
		{"hang", hang, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"drip", drip, 0, false, ecgrid.ErrTimeout, 15 * time.Second},
		{"hang, caller's deadline", hang, 3 * time.Second, false, ecgrid.ErrTimeout, 3 * time.Second},
		{"hang, caller's deadline and cause", hang, 3 * time.Second, true, ecgrid.ErrTimeout, 3 * time.Second},
		{"drip, caller's deadline", drip, 3500 * time.Millisecond, false, ecgrid.ErrTimeout, 3500 * time.Millisecond},
		// no further attempt if there is no time for it
		{"busy", busy, 0, false, ecgrid.ErrUnreachable, 300 * time.Millisecond},
		{"busy, caller's deadline", busy, 10 * time.Millisecond, false, ecgrid.ErrUnreachable, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c, _ := serveInMemory(t, 0, test.h)
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
	synctest.Test(t, func(t *testing.T) {
		c, _ := serveInMemory(t, 20*time.Second, nil)
		c.setDialer(dropPackets)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Login(ctx, "jo", canaryPassword)
		if e := wantFailure(t, err, ecgrid.ErrTimeout); e.Sent {
			t.Error("counts as sent")
		}
		time.Sleep(time.Minute) // lets the dial end
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
		dial dialer
	}{{"before the connection", dropPackets}, {"before TLS", silent}, {"late, and before TLS", late}} {
		for _, timeout := range []time.Duration{time.Second, 15 * time.Second, 20 * time.Second, time.Minute} {
			for _, op := range allOps {
				if op.read && network.name != "before the connection" {
					continue // there may not be time for three handshakes
				}
				t.Run(network.name+"/"+timeout.String()+"/"+op.name, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						c, err := Connect(ecgrid.Endpoint{URL: "https://ecgrid.test/", RequestTimeout: timeout})
						if err != nil {
							t.Fatal(err)
						}
						defer c.Close()
						var dials atomic.Int32
						c.setDialer(func(ctx context.Context, n, addr string) (net.Conn, error) {
							dials.Add(1)
							return network.dial(ctx, n, addr)
						})
						start := time.Now()
						_, err = op.call(t.Context(), c)
						took := time.Since(start)
						e := wantFailure(t, err, ecgrid.ErrUnreachable)
						if e.Sent || e.Reason != "connection not opened in time" || dials.Load() < 2 {
							t.Errorf("got %+v after %d dials", e, dials.Load())
						}
						if took > timeout || took == timeout && !op.read || took > 35*time.Second { // there may not be time for a third dial
							t.Errorf("took %v", took)
						}
						time.Sleep(time.Minute)
					})
				})
			}
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := serveInMemory(t, 0, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		})
		for _, op := range allOps {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(errors.New(canaryUpstream)) })
			_, err := op.call(ctx, c)
			if e := wantFailure(t, err, context.Canceled); !e.Sent {
				t.Errorf("%s: counts as unsent", op.name)
			}
			_, err = op.call(ctx, c)
			if e := wantFailure(t, err, context.Canceled); e.Sent {
				t.Errorf("%s: counts as sent, with a context that had ended", op.name)
			}
		}
	})
}

func TestCancelDuringBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := serveInMemory(t, 0, respondWith(503, ""))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		_, err := c.Version(ctx)
		wantFailure(t, err, context.Canceled)
	})
}

// A caller that gives up while users are listed leaves no goroutine behind, or the bubble fails
// the test.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := serveInMemory(t, 0, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			head, _, _ := strings.Cut(response("UserList", "<UserListResult>"), "</UserListResponse")
			io.WriteString(w, head)
			for range 50 {
				io.WriteString(w, "<UserIDInfo>"+userInfo+"</UserIDInfo>")
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
		for range 4 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			users, err := c.UserList(ctx, "s", "")
			wantFailure(t, err, ecgrid.ErrTimeout)
			if users != nil {
				t.Error("got an incomplete list")
			}
			cancel()
		}
	})
}
