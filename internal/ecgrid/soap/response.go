package soap

import (
	"context"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// maxSmallBody bounds the body of a response that holds one value, one record or an error,
// in bytes.
const maxSmallBody = 64 << 10

// readResponse checks the header of a response and reads its body.
func readResponse(ctx context.Context, req *request, resp *http.Response) *failure {
	maxBody := req.maxBody
	if resp.StatusCode != http.StatusOK {
		maxBody = maxSmallBody
	}
	f := checkHeader(resp, maxBody)
	if f == nil {
		f = req.parse(resp, maxBody)
		// The end of ctx closes the connection, and a server that notices may end its
		// response properly. An incomplete response is then the caller's doing.
		if ended := contextFailure(ctx); f != nil && f.kind == ecgrid.ErrBadAnswer && ended != nil {
			return ended
		}
	}
	if f != nil && f.kind == ecgrid.ErrBadAnswer && resp.StatusCode != http.StatusOK {
		return statusFailure(resp.StatusCode) // without a fault, the status says more
	}
	return f
}

// checkHeader refuses responses whose body need not be read.
func checkHeader(resp *http.Response, maxBody int64) *failure {
	status := resp.StatusCode
	switch {
	case resp.ProtoMajor != 1 || hasSpaceInName(resp.Header): // net/http accepts both
		return badAnswer(notHTTP)
	case status != http.StatusOK && status < 400:
		return statusFailure(status)
	case resp.ContentLength > maxBody:
		return badAnswer(tooLarge)
	case !isPlainUTF8(resp.Header):
		return badAnswer("compressed or not in UTF-8")
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
	if h.Get("Content-Type") == "text/xml; charset=utf-8" { // as ASP.NET writes it
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

// statusFailure classifies an HTTP status that came without a fault.
func statusFailure(status int) *failure {
	f := badAnswer("HTTP status " + strconv.Itoa(status))
	f.transient = status >= 500
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		f.kind = ecgrid.ErrUnreachable
	}
	return f
}
