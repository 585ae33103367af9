// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// RetryPolicy says whether a failed attempt may be followed by another.
type RetryPolicy struct {
	attempts int // in total
	// newConnection is for calls that must not be retried once they are sent: they do not
	// start on a pooled connection, which may be dead. Nor is their connection pooled.
	newConnection bool
	allows        func(f *Failure, sent bool) bool
}

var (
	// RetryRead is for calls that change nothing, or nothing more if they are repeated.
	RetryRead = RetryPolicy{3, false, func(f *Failure, _ bool) bool { return f.Transient }}
	// RetryReadAlone is RetryRead for calls whose response could be taken for that of another
	// call, if a second copy of it comes late: they leave no connection to it.
	RetryReadAlone = RetryPolicy{3, true, RetryRead.allows}
	// RetryUnsent is for calls that ECGrid counts or carries out: only if nothing was sent.
	RetryUnsent = RetryPolicy{2, true, func(f *Failure, sent bool) bool { return f.Transient && !sent }}
)

// minBackoff is the longest wait before the second attempt; it doubles for the third.
// Jitter cuts up to a half of each.
const minBackoff = 100 * time.Millisecond

// httpCall is one call and its exchanges. Two exchanges of a read can run at once; the
// first response counts.
type httpCall struct {
	*Client
	req *Request
	// sent is true once an exchange had a connection. Before that, certainly no byte of
	// the request was sent. After that, nobody can be certain.
	sent atomic.Bool
	// silent is the exchange whose pooled connection was silent for too long. It goes on,
	// since ECGrid may only be slow.
	silent *exchange
}

// Send sends req and reads its response. It retries within one deadline. go-retryablehttp
// does not fit: whether a 500 may be retried is known only once its body turned out not to
// be a fault, sent must cover all attempts, and one failed call must not close the idle
// connections of others.
func (c *Client) Send(ctx context.Context, req *Request) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeoutOf(req))
	defer cancel() // ends exchanges that still run
	call := httpCall{Client: c, req: req}
	f := call.run(ctx)
	if call.silent != nil {
		go call.silent.discard()
	}
	if f != nil {
		return &ecgrid.Error{Op: req.Name, Kind: f.Kind, Reason: f.Reason, Sent: call.sent.Load()}
	}
	return nil
}

func (c *httpCall) run(ctx context.Context) *Failure {
	var previous *Failure
	for attempt := 1; ; attempt++ {
		f := c.attempt(ctx, attempt)
		if f == nil {
			return nil
		}
		if f.Kind == ecgrid.ErrTimeout && previous != nil && !c.sent.Load() {
			f = previous // why there was no connection says more than "too slow"
		}
		previous = f
		retry := attempt < c.req.Retry.attempts && c.req.Retry.allows(f, c.sent.Load())
		if retry && f != silentSoFar && !c.backOff(ctx, attempt, f.retryAfter) {
			retry = false
			f = cmp.Or(contextFailure(ctx), f)
		}
		if !retry {
			return c.awaitSilent(ctx, f)
		}
	}
}

// attempt starts an exchange and reads its response, or that of the silent exchange if it
// comes first.
func (c *httpCall) attempt(ctx context.Context, attempt int) *Failure {
	x, f := c.await(ctx, c.start(ctx, c.transport(attempt)))
	if f != nil {
		return f
	}
	return c.read(ctx, x)
}

// transport returns the pooled one for a first attempt only. If that found its connection
// closed by the server, other pooled connections may be closed too.
func (c *httpCall) transport(attempt int) *http.Transport {
	if c.req.Retry.newConnection || attempt > 1 {
		return c.unpooled
	}
	return c.pooled
}

// backOff waits before the next attempt, and as long as ECGrid asked. It returns false if
// ctx has ended, or would end before the wait: then the failure so far says more than "too
// slow".
func (c *httpCall) backOff(ctx context.Context, attempt int, asked time.Duration) bool {
	longest := minBackoff << (attempt - 1)
	d := max(asked, longest-rand.N(longest/2))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	return c.Sleep(ctx, d)
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
