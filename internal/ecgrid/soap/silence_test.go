package soap

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// fill leaves n kept connections behind.
func fill(t *testing.T, c *Client, gate *gate, n int) {
	t.Helper()
	gate.hold()
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			if _, err := c.Version(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Wait()
	gate.open()
	calls.Wait()
	time.Sleep(settle)
}

// gate is a handler that answers when it is open, after a while of its own.
type gate struct {
	mu       sync.Mutex
	held     chan struct{}
	slow     atomic.Int64 // time.Duration
	requests atomic.Int32
}

func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.held)
	g.held = nil
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.requests.Add(1)
	g.mu.Lock()
	held := g.held
	g.mu.Unlock()
	if held != nil {
		<-held
	}
	time.Sleep(time.Duration(g.slow.Load()))
	strict(w, r)
}

// reads are the operations that may go on with another connection.
func reads() (ops []opCase) {
	for _, op := range everyOp {
		if op.read {
			ops = append(ops, op)
		}
	}
	return ops
}

// A firewall has forgotten all kept connections: the first read notices, the
// others in the row pay nothing.
func TestSilentConnectionsInARow(t *testing.T) {
	t.Parallel()
	for _, op := range reads() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := &gate{}
				c, wall := serveFirewalled(t, 15*time.Second, g.ServeHTTP)
				fill(t, c, g, 16)
				wall.forget()
				start := time.Now()
				for i := range 16 {
					got, err := op.call(t.Context(), c)
					if err != nil || !reflect.DeepEqual(got, op.want) {
						t.Fatalf("read %d: %v", i, err)
					}
				}
				if took := time.Since(start); took > maxSilence+16*settle {
					t.Errorf("16 reads took %v", took)
				}
				if n := wall.dialled(); n != 16+2 {
					t.Errorf("%d connections, want 2 new ones", n)
				}
			})
		})
	}
}

// The same for reads at once, and for one whose caller has little time.
func TestSilentConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	for _, deadline := range []time.Duration{15 * time.Second, 3 * time.Second, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			g := &gate{}
			c, wall := serveFirewalled(t, 0, g.ServeHTTP)
			fill(t, c, g, 16)
			wall.forget()
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			start := time.Now()
			var calls sync.WaitGroup
			for range 16 {
				calls.Go(func() {
					if _, err := c.UserGetAPIKey(ctx, canarySession, 5001); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if took := time.Since(start); took > min(maxSilence, deadline/2) {
				t.Errorf("took %v of %v", took, deadline)
			}
		})
	}
}

// A server that is slow is not dead: the first call goes on and its answer counts.
func TestSlowIsNotSilent(t *testing.T) {
	t.Parallel()
	for _, op := range everyOp {
		for _, slow := range []time.Duration{time.Second, 5 * time.Second, 14 * time.Second} {
			t.Run(op.name+"/"+slow.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					g := &gate{}
					c, _ := serveFirewalled(t, 15*time.Second, g.ServeHTTP)
					fill(t, c, g, 1)
					g.slow.Store(int64(slow))
					before, start := g.requests.Load(), time.Now()
					got, err := op.call(t.Context(), c)
					if err != nil || !reflect.DeepEqual(got, op.want) {
						t.Fatalf("got %+v, %v", got, err)
					}
					if took := time.Since(start); took != slow {
						t.Errorf("took %v, want %v", took, slow)
					}
					most := int32(1)
					if op.read && slow > maxSilence {
						most = 2
					}
					if calls := g.requests.Load() - before; calls != most {
						t.Errorf("%d calls, want %d", calls, most)
					}
					time.Sleep(time.Minute)
				})
			})
		}
	}
}

// On a connection of its own a call waits, however long it is silent.
func TestFreshConnectionIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		c, _ := serveFirewalled(t, 15*time.Second, g.ServeHTTP)
		g.slow.Store(int64(10 * time.Second))
		if _, err := c.Version(t.Context()); err != nil || g.requests.Load() != 1 {
			t.Errorf("%v after %d calls", err, g.requests.Load())
		}
	})
}

// What becomes of a read on a silent connection when there is trouble with the
// fresh one, too.
func TestSilentAndThenTrouble(t *testing.T) {
	t.Parallel()
	refused := errors.New(canaryUpstream)
	const kept = 1 // connections before the trouble
	tests := []struct {
		name   string
		forget bool
		slow   time.Duration
		onDial func(dials int) error
		kind   error // nil: it succeeds
		within time.Duration
	}{
		{"the second fresh one works", true, 0, func(n int) error {
			if n == kept+1 {
				return refused
			}
			return nil
		}, nil, maxSilence + time.Second},
		{"no fresh one, but the first answers", false, 5 * time.Second, func(n int) error {
			if n > kept {
				return refused
			}
			return nil
		}, nil, 5 * time.Second},
		{"nothing works", true, 0, func(n int) error {
			if n > kept {
				return refused
			}
			return nil
		}, ecgrid.ErrUnreachable, 15 * time.Second},
		{"all silent", false, time.Minute, nil, ecgrid.ErrTimeout, 15 * time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				g := &gate{}
				c, wall := serveFirewalled(t, 15*time.Second, g.ServeHTTP)
				fill(t, c, g, kept)
				if wall.onDial = test.onDial; test.forget {
					wall.forget()
				}
				g.slow.Store(int64(test.slow))
				start := time.Now()
				_, err := c.UserGetAPIKey(t.Context(), canarySession, 5001)
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
	}
}

// A caller that hangs up while two calls are under way leaves none behind.
func TestCancelWhileTwoAreUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := &gate{}
		c, wall := serveFirewalled(t, 15*time.Second, g.ServeHTTP)
		fill(t, c, g, 1)
		wall.forget()
		g.slow.Store(int64(10 * time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Second, cancel)
		start := time.Now()
		_, err := c.Version(ctx)
		if e := wantFailure(t, err, context.Canceled); !e.Sent || time.Since(start) != 5*time.Second {
			t.Errorf("got %+v after %v", e, time.Since(start))
		}
		time.Sleep(time.Minute)
	})
}
