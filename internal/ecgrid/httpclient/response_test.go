// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// An HTTP status without an answer of ECGrid. What it means with one is tested in the
// packages of the clients.
func TestStatus(t *testing.T) {
	t.Parallel()
	html := "<html><body>" + canaryUpstream + "</body></html>"
	long := html + strings.Repeat(" ", httpclient.MaxSmallBody)
	tests := []struct {
		status   int
		body     string
		kind     error
		attempts int32 // of a read
	}{
		{500, html, ecgrid.ErrBadAnswer, 3},
		{500, "", ecgrid.ErrBadAnswer, 3},
		{500, long, ecgrid.ErrBadAnswer, 3},
		{502, html, ecgrid.ErrBadAnswer, 3},
		{504, html, ecgrid.ErrBadAnswer, 3},
		{503, html, ecgrid.ErrUnreachable, 3},
		{503, "", ecgrid.ErrUnreachable, 3},
		{503, long, ecgrid.ErrUnreachable, 3},
		{429, html, ecgrid.ErrUnreachable, 3},
		{429, "", ecgrid.ErrUnreachable, 3},
		{429, long, ecgrid.ErrUnreachable, 3},
		{201, html, ecgrid.ErrBadAnswer, 1},
		{204, "", ecgrid.ErrBadAnswer, 1},
		{302, html, ecgrid.ErrBadAnswer, 1},
		{400, html, ecgrid.ErrBadAnswer, 1},
		{401, html, ecgrid.ErrBadAnswer, 1},
		{403, "", ecgrid.ErrBadAnswer, 1},
		{404, html, ecgrid.ErrBadAnswer, 1},
		{407, html, ecgrid.ErrBadAnswer, 1},
	}
	eachProtocol(t, func(t *testing.T, p *protocol) {
		for _, test := range tests {
			var attempts atomic.Int32
			c := serve(t, p, func(w http.ResponseWriter, r *http.Request) {
				attempts.Add(1)
				answer{status: test.status, body: test.body}.send(w, r)
			})
			for _, op := range p.operations {
				attempts.Store(0)
				_, err := op.call(t.Context(), c, session)
				e := wantFailure(t, err, test.kind)
				want := int32(1)
				if op.read {
					want = test.attempts
				}
				if reason := "HTTP status " + strconv.Itoa(test.status); e.Reason != reason || !e.Sent || attempts.Load() != want {
					t.Errorf("%s, %d with %.40q: %+v after %d attempts, want %q after %d",
						op.name, test.status, test.body, e, attempts.Load(), reason, want)
				}
			}
		}
	})
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		var attempts atomic.Int32
		c := serve(t, p, func(w http.ResponseWriter, r *http.Request) {
			attempts.Add(1)
			p.rateLimited.send(w, r)
		})
		for _, op := range p.operations {
			attempts.Store(0)
			_, err := op.call(t.Context(), c, session)
			want := int32(1)
			if op.read {
				want = 3
			}
			if e := wantFailure(t, err, p.rateLimited.kind); e.Reason != p.rateLimited.reason || !e.Sent || attempts.Load() != want {
				t.Errorf("%s: got %+v after %d attempts, want %d", op.name, e, attempts.Load(), want)
			}
		}
	})
}

func TestCookiesAreNotKept(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		c := serve(t, p, func(w http.ResponseWriter, r *http.Request) {
			if len(r.Cookies()) > 0 {
				t.Error("a cookie came back")
			}
			http.SetCookie(w, &http.Cookie{Name: "ASP.NET_SessionId", Value: "1", Path: "/"})
			p.respond(w, r)
		})
		for range 3 {
			if _, err := c.Version(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestResponseHeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		header, value string // % is the usual media type
		kind          error
	}{
		"charset":        {"Content-Type", "%; charset=UTF-8", nil},
		"usual charset":  {"Content-Type", "%; charset=utf-8", nil},
		"quoted charset": {"Content-Type", `application/other; charset="utf-8"`, nil},
		"no charset":     {"Content-Type", "%", nil},
		"malformed":      {"Content-Type", ";;;", nil},
		"other charset":  {"Content-Type", "%; charset=utf-16", ecgrid.ErrBadAnswer},
		"latin":          {"Content-Type", "%; charset=iso-8859-1", ecgrid.ErrBadAnswer},
		"identity":       {"Content-Encoding", "identity", nil},
		"gzip":           {"Content-Encoding", "gzip", ecgrid.ErrBadAnswer},
		"large":          {"X-Large", strings.Repeat("x", httpclient.MaxHeader+8<<10), ecgrid.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				c := serve(t, p, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set(test.header, strings.ReplaceAll(test.value, "%", p.mediaType))
					io.WriteString(w, p.good("Version").body)
				})
				_, err := c.Version(t.Context())
				if test.kind != nil {
					wantFailure(t, err, test.kind)
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A Content-Length above the limit is refused before the body is read.
func TestAnnouncedLength(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := serveInMemory(t, p, ecgrid.Endpoint{}, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				limit := int64(httpclient.MaxSmallBody)
				if op := p.operationOf(r); op.name == "UserList" {
					limit = p.maxList
				}
				w.Header().Set("Content-Length", strconv.FormatInt(limit+1, 10))
				w.(http.Flusher).Flush()
				<-r.Context().Done()
			})
			for _, op := range p.operations {
				start := time.Now()
				_, err := op.call(t.Context(), c, session)
				if e := wantFailure(t, err, ecgrid.ErrBadAnswer); e.Reason != httpclient.TooLarge || time.Since(start) != 0 {
					t.Errorf("%s: got %+v after %v", op.name, e, time.Since(start))
				}
			}
		})
	})
}
