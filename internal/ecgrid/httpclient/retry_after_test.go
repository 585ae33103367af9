// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	minFirstBackoff = 50 * time.Millisecond
	maxFirstBackoff = 100 * time.Millisecond
)

// serverTime is the time of a server whose clock is wrong, plus d.
func serverTime(d time.Duration) string {
	return time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC).Add(d).Format(http.TimeFormat)
}

// retryAfterCase is what a busy server asks for, and what the client does.
type retryAfterCase struct {
	name, date, after string
	// ctx is the time that the caller has; 0: more than the client's 15 s.
	ctx time.Duration
	// least and most bound the wait before the second attempt. Both 0: there is none.
	least, most time.Duration
}

var retryAfterCases = []retryAfterCase{
	{"absent", "", "", 0, minFirstBackoff, maxFirstBackoff},
	{"seconds", "", "5", 0, 5 * time.Second, 5 * time.Second},
	{"zero", "", "0", 0, minFirstBackoff, maxFirstBackoff},
	{"date", serverTime(0), serverTime(5 * time.Second), 0, 5 * time.Second, 5 * time.Second},
	{"date, local clock", "-", "Sat, 01 Jan 2000 00:00:05 GMT", 0, 5 * time.Second, 5 * time.Second}, // of the bubble
	{"past date", serverTime(0), serverTime(-5 * time.Second), 0, minFirstBackoff, maxFirstBackoff},
	{"garbage", "", canaryUpstream, 0, minFirstBackoff, maxFirstBackoff},
	{"negative", "", "-5", 0, minFirstBackoff, maxFirstBackoff},
	{"just in time", "", "14", 0, 14 * time.Second, 14 * time.Second},
	{"at the deadline", "", "15", 0, 0, 0},
	{"after the deadline", "", "3600", 0, 0, 0},
	{"too large", "", "99999999999999999999", 0, 0, 0},
	{"date after the deadline", serverTime(0), serverTime(16 * time.Second), 0, 0, 0},
	{"date in centuries", serverTime(0), "Fri, 31 Dec 9999 23:59:59 GMT", 0, 0, 0},
	{"before the caller's deadline", "", "2", 3 * time.Second, 2 * time.Second, 2 * time.Second},
	{"after the caller's deadline", "", "4", 3 * time.Second, 0, 0},
}

// A client waits as long as ECGrid asks. If it has less time, it returns what ECGrid answered,
// at once.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, test := range retryAfterCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				for _, busy := range []answer{p.rateLimited, {503, "", ecgrid.ErrUnreachable, "HTTP status 503"}} {
					for _, op := range p.operations {
						t.Run(op.name, func(t *testing.T) {
							t.Parallel()
							synctest.Test(t, func(t *testing.T) { callBusyServer(t, p, op, busy, test) })
						})
					}
				}
			})
		})
	}
}

// callBusyServer makes a call to a server that is busy once.
func callBusyServer(t *testing.T, p *protocol, op operation, busy answer, test retryAfterCase) {
	t.Helper()
	var requests atomic.Int32
	c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1) > 1 {
			p.respond(w, r)
			return
		}
		test.setHeader(w.Header())
		busy.send(w, r)
	})
	ctx := t.Context()
	if test.ctx > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, test.ctx)
		defer cancel()
	}
	start := time.Now()
	_, err := op.call(ctx, c, session)
	took := time.Since(start)
	if !op.read || test.most == 0 {
		if e := wantFailure(t, err, busy.kind); e.Reason != busy.reason || !e.Sent || took != 0 || requests.Load() != 1 {
			t.Errorf("got %+v after %v and %d requests, want %q at once", e, took, requests.Load(), busy.reason)
		}
		return
	}
	if err != nil || took < test.least || took > test.most || requests.Load() != 2 {
		t.Errorf("got %v after %v and %d requests, want a success after %v to %v", err, took, requests.Load(), test.least, test.most)
	}
}

func (test retryAfterCase) setHeader(h http.Header) {
	switch test.date {
	case "": // that of the bubble
	case "-":
		h["Date"] = nil // keeps net/http from setting it
	default:
		h.Set("Date", test.date)
	}
	if test.after != "" {
		h.Set("Retry-After", test.after)
	}
}

// Each answer may ask for its own wait, and together they must fit.
func TestRetryAfterTwice(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		for asked, want := range map[string]struct {
			requests int32
			took     time.Duration
		}{
			"7": {3, 14 * time.Second},
			"8": {2, 8 * time.Second},
		} {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					w.Header().Set("Retry-After", asked)
					p.rateLimited.send(w, r)
				})
				start := time.Now()
				_, err := c.Version(t.Context())
				wantFailure(t, err, p.rateLimited.kind)
				if took := time.Since(start); took != want.took || requests.Load() != want.requests {
					t.Errorf("%s s: %d requests in %v, want %d in %v", asked, requests.Load(), took, want.requests, want.took)
				}
			})
		}
	})
}
