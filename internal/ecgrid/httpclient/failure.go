// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Failure is what went wrong in one attempt.
type Failure struct {
	Kind      error  // a sentinel of package ecgrid, or canceled
	Reason    string // a fixed phrase, see ecgrid.Error
	Transient bool   // another attempt may succeed
	// retryAfter is how long ECGrid asks to wait before that attempt.
	retryAfter time.Duration
}

func (f *Failure) Error() string { return f.Reason }

// BadAnswer is the failure of a response that is not a response to the call.
func BadAnswer(reason string) *Failure {
	return &Failure{Kind: ecgrid.ErrBadAnswer, Reason: reason}
}

// OneWord is ecgrid.OneWord for a parser.
func OneWord(text string) (string, error) {
	word, ok := ecgrid.OneWord(text)
	if !ok {
		return "", BadAnswer("credential with spaces or control characters")
	}
	return word, nil
}

const (
	closedEarly = "connection closed without a response"
	incomplete  = "incomplete response"
	notHTTP     = "not HTTP"
	// TooLarge is the reason of a response above a limit.
	TooLarge = "too large"
)

// canceled is the kind of a call that its caller canceled. It is also ErrTimeout, for
// those who look for a sentinel: no response came in the time there was.
type canceled struct{}

func (canceled) Error() string { return "canceled by the caller" }

func (canceled) Is(target error) bool {
	return target == ecgrid.ErrTimeout || target == context.Canceled
}

// contextFailure classifies the end of ctx. It returns nil if ctx has not ended.
func contextFailure(ctx context.Context) *Failure {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return &Failure{Kind: canceled{}}
	default:
		return &Failure{Kind: ecgrid.ErrTimeout}
	}
}

// transportFailure classifies the error of a RoundTrip. It copies none of its text, which
// may quote the URL, names or bytes from upstream. answered tells that the first byte of a
// response came. An error after that is about the response if it is not a net.Error:
// net/http has many texts, but no types, for a header that it cannot read.
func transportFailure(ctx context.Context, err error, answered bool) *Failure {
	if f := contextFailure(ctx); f != nil {
		return f
	}
	if reason := tlsReason(err); reason != "" { // a retry would fail too
		return &Failure{Kind: ecgrid.ErrUnreachable, Reason: reason}
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return &Failure{Kind: ecgrid.ErrBadAnswer, Reason: incomplete, Transient: true}
	}
	if network := net.Error(nil); answered && !errors.As(err, &network) {
		return BadAnswer(headerReason(err))
	}
	return &Failure{Kind: ecgrid.ErrUnreachable, Reason: unreachableReason(err), Transient: true}
}

// headerReason says why the header of a response could not be read.
func headerReason(err error) string {
	if strings.Contains(err.Error(), "response headers exceeded") {
		return "HTTP header too large"
	}
	return notHTTP
}

// unreachableReasons says why no response came. The first match counts.
var unreachableReasons = []struct {
	err    error
	reason string
}{
	{syscall.ECONNREFUSED, "connection refused"},
	{syscall.ECONNRESET, "connection reset"},
	{syscall.EPIPE, "connection reset"},
	{syscall.EHOSTUNREACH, "no route to the host"},
	{syscall.ENETUNREACH, "no route to the host"},
	{io.EOF, closedEarly},
}

func unreachableReason(err error) string {
	for _, r := range unreachableReasons {
		if errors.Is(err, r.err) {
			return r.reason
		}
	}
	var dns *net.DNSError
	var network net.Error
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return "name not found"
	case errors.As(err, &dns):
		return "name not resolved"
	case errors.As(err, &network) && network.Timeout():
		return "connection not opened in time"
	case err.Error() == "http: server closed idle connection": // net/http does not export it
		return closedEarly
	}
	return "connection failed"
}

// tlsReason returns "" if err is not about TLS.
func tlsReason(err error) string {
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &name):
		return "TLS certificate is for another name"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "TLS certificate expired or not yet valid"
	case errors.As(err, &verify), errors.As(err, &unknown), errors.As(err, &invalid):
		return "TLS certificate not trusted"
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return "no TLS on that port"
	case strings.Contains(err.Error(), "tls: "): // crypto/tls has no type for most of its errors
		return "TLS handshake failed"
	}
	return ""
}
