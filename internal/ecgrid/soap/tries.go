package soap

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// maxSilence is how long a kept connection may be silent before a read tries a
// fresh one beside it; a third of the time that is left, where that is less. A
// firewall that has forgotten a connection says so to neither side.
const maxSilence = 2 * time.Second

// tries are the HTTP exchanges of one call. Two of a read may be under way at
// once; the first to be answered counts.
type tries struct {
	*Client
	op     *operation
	body   []byte
	userID int32
	to     result
	// sent is true as soon as one of them had a connection: before that no byte of
	// the request can have left, after that nobody can be certain.
	sent atomic.Bool
	// silent is the one whose kept connection said nothing for too long. It goes
	// on, since ECGrid may only be slow.
	silent *attempt
}

// attempt is one HTTP exchange, up to the head of its answer.
type attempt struct {
	reused  chan struct{} // told when it has a connection that was used before
	done    chan struct{} // closed when resp or failure is set
	conn    *watched
	resp    *http.Response
	failure *failure
}

// call sends the request of e and reads the answer into to. It repeats within
// one deadline, by a loop of its own rather than go-retryablehttp's: whether a
// 500 may be repeated is known only once its body turned out not to be a fault,
// Sent must span the tries, and one failed call must not close the idle
// connections of the others.
func (c *Client) call(ctx context.Context, op *operation, e *envelope, to result) error {
	body, unsendable := e.close()
	if unsendable != "" {
		return &ecgrid.Error{Op: op.name, Kind: ecgrid.ErrFault, Reason: unsendable + " cannot be sent in XML"}
	}
	timeout := c.timeout
	if op == opLogin {
		timeout = c.loginTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel() // and with it whatever is still under way
	t := tries{Client: c, op: op, body: body, userID: e.userID, to: to}
	f := t.run(ctx)
	if t.silent != nil {
		go t.silent.discard()
	}
	if f != nil {
		return &ecgrid.Error{Op: op.name, Kind: f.kind, Reason: f.reason, Sent: t.sent.Load()}
	}
	return nil
}

func (t *tries) run(ctx context.Context) *failure {
	var before *failure
	for try := 1; ; try++ {
		f := t.one(ctx, try)
		if f == nil {
			return nil
		}
		if f.kind == ecgrid.ErrTimeout && before != nil && !t.sent.Load() {
			f = before // no connection came about: why says more than "too slow"
		}
		before = f
		again := try < t.op.again.tries && t.op.again.may(f, t.sent.Load())
		if again && f != stillSilent && !t.pause(ctx, try) {
			again = false
			if ended := ctxFailure(ctx); ended != nil {
				f = ended
			}
		}
		if !again {
			return t.last(ctx, f)
		}
	}
}

// one is one more exchange, or the end of the silent one if that comes sooner.
func (t *tries) one(ctx context.Context, try int) *failure {
	a, f := t.await(ctx, t.start(ctx, t.transport(t.op, try)))
	if f != nil {
		return f
	}
	return t.read(ctx, a)
}

// last waits for the silent exchange, if there is one, when all others failed for
// a reason that need not be its own.
func (t *tries) last(ctx context.Context, f *failure) *failure {
	s := t.silent
	if s == nil || !f.transient {
		return f
	}
	<-s.done // at the latest with ctx
	t.silent = nil
	switch {
	case s.failure == nil:
		return t.read(ctx, s)
	case s.failure.kind == canceled{}:
		return s.failure
	}
	return f
}

func (t *tries) read(ctx context.Context, a *attempt) *failure {
	// An answer read to its end leaves the connection to the next call. One that
	// is not, closes it: who answers nonsense is not read for longer than needed.
	defer a.resp.Body.Close()
	f := read(ctx, t.op, a.resp, t.to)
	if f == nil {
		f = t.refuseAnothers(a)
	}
	a.leave(f == nil)
	return f
}

// refuseAnothers refuses a key that is known to be another user's.
func (t *tries) refuseAnothers(a *attempt) *failure {
	key, ok := t.to.(*value[string])
	if !ok || t.op != opUserGetAPIKey || a.conn == nil || !a.conn.isAnothers(key.v, t.userID) {
		return nil
	}
	return &failure{kind: ecgrid.ErrBadAnswer, reason: "another user's key", transient: true}
}

// stillSilent is the failure, for now, of an exchange that goes on.
var stillSilent = &failure{kind: ecgrid.ErrTimeout, transient: true}

// await waits for a or for the silent exchange, whichever is answered first.
func (t *tries) await(ctx context.Context, a *attempt) (*attempt, *failure) {
	var silence <-chan time.Time
	reused := a.reused
	for {
		select {
		case <-a.done:
			if t.silent != nil && a.failure == nil {
				// The network does work: the other kept connections are no better.
				t.kept.CloseIdleConnections()
			}
			return a, a.failure
		case <-t.silent.ended():
			s := t.silent
			t.silent = nil
			if s.failure == nil {
				go a.discard() // once ctx ends
				return s, nil
			}
		case <-reused:
			reused = nil
			timer := time.NewTimer(patience(ctx))
			defer timer.Stop()
			silence = timer.C
		case <-silence:
			t.silent = a
			return nil, stillSilent
		}
	}
}

// ended is never for nil.
func (a *attempt) ended() <-chan struct{} {
	if a == nil {
		return nil
	}
	return a.done
}

func (a *attempt) discard() {
	<-a.done
	if a.resp != nil {
		a.resp.Body.Close()
		a.leave(false)
	}
}

func (a *attempt) leave(well bool) {
	if a.conn != nil {
		a.conn.leave(well)
	}
}

func patience(ctx context.Context) time.Duration {
	deadline, _ := ctx.Deadline() // call sets one
	return min(maxSilence, time.Until(deadline)/3)
}

// transport is the kept one for a first try only: where that met a connection that
// the server has closed, the next kept one may be no better.
func (c *Client) transport(op *operation, try int) *http.Transport {
	if op.fresh || try > 1 {
		return c.fresh
	}
	return c.kept
}

// pause waits before the next try. It is false when ctx has ended, or would
// before the wait is over: then the failure there is says more than "too slow".
func (c *Client) pause(ctx context.Context, try int) bool {
	most := backoffStart << (try - 1)
	d := most - rand.N(most/2)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	return c.wait(ctx, d)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// start begins an HTTP exchange, which ends with ctx at the latest.
func (t *tries) start(ctx context.Context, transport *http.Transport) *attempt {
	a := &attempt{reused: make(chan struct{}, 1), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.resp, a.failure = t.exchange(ctx, transport, a)
	}()
	return a
}

func (t *tries) exchange(ctx context.Context, transport *http.Transport, a *attempt) (*http.Response, *failure) {
	var answered atomic.Bool
	var unusable bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(conn httptrace.GotConnInfo) {
			t.sent.Store(true)
			a.conn = watchedOf(conn.Conn)
			if a.conn != nil && !a.conn.take(ctx) {
				a.conn, unusable = nil, true // it is another's
				return
			}
			if !conn.Reused {
				return
			}
			if unusable = a.conn != nil && !a.conn.quiet(); unusable {
				a.conn.Close() // before anything is written
				return
			}
			a.reused <- struct{}{}
		},
		GotFirstResponseByte: func() { answered.Store(true) },
	})
	// The transport itself, not an http.Client: no redirects, no cookies, and no
	// url.Error that quotes the URL. Without GetBody it replays nothing.
	req := (&http.Request{
		Method:        http.MethodPost,
		URL:           t.url,
		Host:          t.url.Host,
		Header:        t.op.header,
		Body:          io.NopCloser(bytes.NewReader(t.body)),
		ContentLength: int64(len(t.body)),
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
	}).WithContext(ctx)
	resp, err := transport.RoundTrip(req)
	if err == nil && !unusable {
		return resp, nil
	}
	if err == nil { // the answer was there before the question
		resp.Body.Close()
	}
	a.leave(false)
	if unusable && ctx.Err() == nil {
		return nil, &failure{kind: ecgrid.ErrUnreachable, reason: "kept connection of no use", transient: true}
	}
	return nil, transportFailure(ctx, err, answered.Load())
}
