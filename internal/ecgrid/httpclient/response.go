// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// MaxSmallBody bounds the body of a response that holds one value, one record or an error,
// in bytes.
const MaxSmallBody = 64 << 10

// readResponse checks the header of a response and reads its body.
func readResponse(ctx context.Context, req *Request, resp *http.Response) *Failure {
	maxBody := req.MaxBody
	if resp.StatusCode != http.StatusOK {
		maxBody = MaxSmallBody
	}
	f := checkHeader(resp, maxBody)
	if f == nil {
		f = req.Parse(resp, maxBody)
		// The end of ctx closes the connection, and a server that notices may end its
		// response properly. An incomplete response is then the caller's doing.
		if ended := contextFailure(ctx); f != nil && f.Kind == ecgrid.ErrBadAnswer && ended != nil {
			return ended
		}
	}
	if f != nil && f.Kind == ecgrid.ErrBadAnswer && resp.StatusCode != http.StatusOK {
		f = statusFailure(resp.StatusCode) // without an error of ECGrid, the status says more
	}
	if f != nil {
		f.retryAfter = retryAfter(resp.Header)
	}
	return f
}

// checkHeader refuses responses whose body need not be read.
func checkHeader(resp *http.Response, maxBody int64) *Failure {
	status := resp.StatusCode
	switch {
	case resp.ProtoMajor != 1 || hasSpaceInName(resp.Header): // net/http accepts both
		return BadAnswer(notHTTP)
	case status != http.StatusOK && status < 400:
		return statusFailure(status)
	case resp.ContentLength > maxBody:
		return BadAnswer(TooLarge)
	case !isPlainUTF8(resp.Header):
		return BadAnswer("compressed or not in UTF-8")
	}
	return nil
}

func hasSpaceInName(h http.Header) bool {
	for name := range h {
		if strings.ContainsRune(name, ' ') {
			return true
		}
	}
	return false
}

// isPlainUTF8 reports whether the body is neither compressed nor in another character set.
// The media type does not matter: the body decides.
func isPlainUTF8(h http.Header) bool {
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return false
	}
	if isUsual(h.Get("Content-Type")) {
		return true
	}
	_, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return true
	}
	switch strings.ToLower(params["charset"]) {
	case "", "utf-8", "utf8", "us-ascii":
		return true
	}
	return false
}

// isUsual saves the work to parse what ASP.NET writes.
func isUsual(contentType string) bool {
	return contentType == "text/xml; charset=utf-8" || contentType == "application/json; charset=utf-8"
}

// retryAfter returns how long a Retry-After header asks to wait, in either of its forms. A
// date is compared with the server's own, since the clocks may differ. It is 0 if there is
// none or it cannot be read.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil || errors.Is(err, strconv.ErrRange) { // the largest number then
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return max(0, at.Sub(ServerTime(h)))
}

// ServerTime returns when a response was sent by the clock of its server, or the time here
// if it does not say.
func ServerTime(h http.Header) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return time.Now()
}

// StatusReason is the reason of a failure of which only the status says more.
func StatusReason(status int) string { return "HTTP status " + strconv.Itoa(status) }

// IsTransient reports whether another attempt may succeed after this status. The REST
// documentation says to retry after 429, 500 and 503.
func IsTransient(status int) bool { return status >= 500 || status == http.StatusTooManyRequests }

// statusFailure classifies an HTTP status that came without an error of ECGrid.
func statusFailure(status int) *Failure {
	f := BadAnswer(StatusReason(status))
	f.Transient = IsTransient(status)
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		f.Kind = ecgrid.ErrUnreachable
	}
	return f
}
