package soap

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// retryPolicy says whether a failed attempt may be followed by another.
type retryPolicy struct {
	attempts int // in total
	// newConnection is for calls that must not be retried once they are sent: they do not
	// start on a pooled connection, which may be dead.
	newConnection bool
	allows        func(f *failure, sent bool) bool
}

var (
	// retryRead is for calls that change nothing, or nothing more if they are repeated.
	retryRead = retryPolicy{3, false, func(f *failure, _ bool) bool { return f.transient }}
	// retryUnsent is for calls that ECGrid counts or carries out: only if nothing was sent.
	retryUnsent = retryPolicy{2, true, func(f *failure, sent bool) bool { return f.transient && !sent }}
)

// minBackoff is the longest wait before the second attempt; it doubles for the third.
// Jitter cuts up to a half of each.
const minBackoff = 100 * time.Millisecond

// httpCall is one call and its exchanges. Two exchanges of a read can run at once; the
// first response counts.
type httpCall struct {
	*httpClient
	req *request
	// sent is true once an exchange had a connection. Before that, certainly no byte of
	// the request was sent. After that, nobody can be certain.
	sent atomic.Bool
	// silent is the exchange whose pooled connection was silent for too long. It goes on,
	// since ECGrid may only be slow.
	silent *exchange
}

// send sends req and reads its response. It retries within one deadline. go-retryablehttp
// does not fit: whether a 500 may be retried is known only once its body turned out not to
// be a fault, sent must cover all attempts, and one failed call must not close the idle
// connections of others.
func (c *httpClient) send(ctx context.Context, req *request) error {
	ctx, cancel := context.WithTimeout(ctx, req.timeout)
	defer cancel() // ends exchanges that still run
	call := httpCall{httpClient: c, req: req}
	f := call.run(ctx)
	if call.silent != nil {
		go call.silent.discard()
	}
	if f != nil {
		return &ecgrid.Error{Op: req.name, Kind: f.kind, Reason: f.reason, Sent: call.sent.Load()}
	}
	return nil
}

func (c *httpCall) run(ctx context.Context) *failure {
	var previous *failure
	for attempt := 1; ; attempt++ {
		f := c.attempt(ctx, attempt)
		if f == nil {
			return nil
		}
		if f.kind == ecgrid.ErrTimeout && previous != nil && !c.sent.Load() {
			f = previous // why there was no connection says more than "too slow"
		}
		previous = f
		retry := attempt < c.req.retry.attempts && c.req.retry.allows(f, c.sent.Load())
		if retry && f != silentSoFar && !c.backOff(ctx, attempt) {
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
func (c *httpCall) attempt(ctx context.Context, attempt int) *failure {
	x, f := c.await(ctx, c.start(ctx, c.transport(attempt)))
	if f != nil {
		return f
	}
	return c.read(ctx, x)
}

// transport returns the pooled one for a first attempt only. If that found its connection
// closed by the server, other pooled connections may be closed too.
func (c *httpCall) transport(attempt int) *http.Transport {
	if c.req.retry.newConnection || attempt > 1 {
		return c.unpooled
	}
	return c.pooled
}

// backOff waits before the next attempt. It returns false if ctx has ended, or would end
// before the wait: then the failure so far says more than "too slow".
func (c *httpCall) backOff(ctx context.Context, attempt int) bool {
	longest := minBackoff << (attempt - 1)
	d := longest - rand.N(longest/2)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	return c.sleep(ctx, d)
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
