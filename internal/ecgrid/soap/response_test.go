package soap

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	html := "<html><body>" + canaryUpstream + "</body></html>"
	fault := soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>")
	good := response("Version", "<VersionResult>4</VersionResult>")
	tests := []struct {
		status   int
		body     string
		kind     error
		reason   string
		attempts int
	}{
		{200, html, ecgrid.ErrBadAnswer, "not a SOAP envelope", 1},
		{200, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{500, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{400, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{502, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{500, html, ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, "", ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, good, ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{500, html + strings.Repeat(" ", maxSmallBody), ecgrid.ErrBadAnswer, "HTTP status 500", 3},
		{502, html, ecgrid.ErrBadAnswer, "HTTP status 502", 3},
		{504, html, ecgrid.ErrBadAnswer, "HTTP status 504", 3},
		{503, html, ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{429, fault, ecgrid.ErrAccessDenied, "code 2", 1},
		{503, soapFault("soap:Server", ""), ecgrid.ErrServerFault, "no code", 1},
		{503, "", ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, good, ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault[:len(fault)-9], ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, fault + "x", ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{503, html + strings.Repeat(" ", maxSmallBody), ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{429, html, ecgrid.ErrUnreachable, "HTTP status 429", 1},
		{429, "", ecgrid.ErrUnreachable, "HTTP status 429", 1},
		{201, good, ecgrid.ErrBadAnswer, "HTTP status 201", 1},
		{202, fault, ecgrid.ErrBadAnswer, "HTTP status 202", 1},
		{204, "", ecgrid.ErrBadAnswer, "HTTP status 204", 1},
		{302, good, ecgrid.ErrBadAnswer, "HTTP status 302", 1},
		{401, html, ecgrid.ErrBadAnswer, "HTTP status 401", 1},
		{404, html, ecgrid.ErrBadAnswer, "HTTP status 404", 1},
		{404, good, ecgrid.ErrBadAnswer, "HTTP status 404", 1},
	}
	for _, test := range tests {
		var attempts atomic.Int32
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			attempts.Add(1)
			if test.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			respondWith(test.status, test.body)(w, r)
		})
		_, err := c.Version(t.Context())
		e := wantFailure(t, err, test.kind)
		if e.Reason != test.reason || !e.Sent || int(attempts.Load()) != test.attempts {
			t.Errorf("%d with %.40q: %+v after %d attempts, want %q after %d", test.status, test.body, e, attempts.Load(), test.reason, test.attempts)
		}
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the second host received something")
	}))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		for _, op := range allOps {
			_, err := op.call(t.Context(), c)
			wantFailure(t, err, ecgrid.ErrBadAnswer)
		}
	}
}

func TestCookiesAreNotKept(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Cookies()) > 0 {
			t.Error("a cookie came back")
		}
		http.SetCookie(w, &http.Cookie{Name: "ASP.NET_SessionId", Value: "1", Path: "/"})
		strict(w, r)
	})
	for range 3 {
		if _, err := c.Version(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResponseHeader(t *testing.T) {
	t.Parallel()
	good := response("Version", "<VersionResult>4</VersionResult>")
	for name, test := range map[string]struct {
		header, value string
		kind          error
	}{
		"charset":        {"Content-Type", "text/xml; charset=UTF-8", nil},
		"quoted charset": {"Content-Type", `application/xml; charset="utf-8"`, nil},
		"no charset":     {"Content-Type", "text/xml", nil},
		"malformed":      {"Content-Type", ";;;", nil},
		"other charset":  {"Content-Type", "text/xml; charset=utf-16", ecgrid.ErrBadAnswer},
		"latin":          {"Content-Type", "text/xml; charset=iso-8859-1", ecgrid.ErrBadAnswer},
		"identity":       {"Content-Encoding", "identity", nil},
		"gzip":           {"Content-Encoding", "gzip", ecgrid.ErrBadAnswer},
		"large":          {"X-Large", strings.Repeat("x", maxHeader+8<<10), ecgrid.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(test.header, test.value)
				io.WriteString(w, good)
			})
			_, err := c.Version(t.Context())
			if test.kind != nil {
				wantFailure(t, err, test.kind)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A server that notices that the client has closed the connection may end its response
// properly. If it is incomplete, the client has canceled the call. If it is complete, it counts.
func TestResponseThatEndsWithTheContext(t *testing.T) {
	t.Parallel()
	parseVersion := func(resp *http.Response, maxBody int64) *failure {
		return parseResponse("Version", resp, newBoundedReader(resp.Body, maxBody), into(new(string), (*parser).text))
	}
	for body, want := range map[string]error{
		"<soap:Envelope": context.Canceled,
		soapFault("soap:Client", "<detail><ErrorCode>2</ErrorCode></detail>"): ecgrid.ErrAccessDenied,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		f := readResponse(ctx, &request{operation: opVersion, parse: parseVersion}, &http.Response{
			StatusCode:    http.StatusOK,
			ProtoMajor:    1,
			ContentLength: -1,
			Body:          io.NopCloser(io.MultiReader(strings.NewReader(body), callAtEnd(cancel))),
		})
		if f == nil || !errors.Is(f.kind, want) {
			t.Errorf("%s: got %+v", body, f)
		}
	}
}

type callAtEnd func()

func (f callAtEnd) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}
