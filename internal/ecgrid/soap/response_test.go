// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
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
		{500, html + strings.Repeat(" ", httpclient.MaxSmallBody), ecgrid.ErrBadAnswer, "HTTP status 500", 3},
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
		{503, html + strings.Repeat(" ", httpclient.MaxSmallBody), ecgrid.ErrUnreachable, "HTTP status 503", 3},
		{429, html, ecgrid.ErrUnreachable, "HTTP status 429", 3},
		{429, "", ecgrid.ErrUnreachable, "HTTP status 429", 3},
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
