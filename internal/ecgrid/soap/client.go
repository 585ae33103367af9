// Package soap is an ECGrid client over SOAP 1.1, for the operations of the ECGridOS
// v4.1 WSDL that the engine needs. It keeps no session and no credential: its caller
// holds both.
//
// ECGrid, or whatever responds in its place, may be broken or hostile. Responses are
// read as a stream within limits of size, depth and time, and none of their text gets
// into an error.
//
// The files transport.go, connection.go, exchange.go, retry.go, response.go and
// failure.go know HTTP, but neither SOAP nor XML.
package soap

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Client calls one ECGridOS endpoint. It is safe for concurrent use.
type Client struct{ *httpClient }

// Connect returns a client. It does no I/O. A zero RequestTimeout means 15 s, a zero
// MaxConcurrent 8. It refuses a URL that is not plain http(s)://host[:port]/path, and a
// CACert without a certificate. Its errors quote neither.
func Connect(e ecgrid.Endpoint) (*Client, error) {
	h, err := newHTTPClient(e)
	if err != nil {
		return nil, err
	}
	return &Client{h}, nil
}

// call sends e and parses the result of the response. found is false if the response
// has no result.
func call[T any](ctx context.Context, c *Client, e *envelope, parse func(*parser) (T, error)) (result T, found bool, err error) {
	op := e.op
	body, invalid := e.close()
	if invalid != "" {
		return result, false, &ecgrid.Error{Op: op.name, Kind: ecgrid.ErrFault, Reason: invalid + " cannot be sent in XML"}
	}
	req := &request{operation: op, body: body, timeout: c.timeout}
	if op == opLogin {
		req.timeout = c.loginTimeout
	}
	if key, ok := any(&result).(*string); ok && op == opUserGetAPIKey {
		req.key, req.userID = key, e.userID
	}
	var none T
	req.parse = func(resp *http.Response, maxBody int64) *failure {
		result, found = none, false // an earlier attempt may have set them
		in := newBoundedReader(resp.Body, maxBody)
		defer in.release()
		if req.key != nil && in.holdsAll(resp) {
			if *req.key, found = plainResult(op.name, in.buffered()); found {
				return nil
			}
		}
		return parseResponse(op.name, resp, in, func(p *parser) (err error) {
			found = true
			result, err = parse(p)
			return err
		})
	}
	if err := c.send(ctx, req); err != nil {
		return none, false, err
	}
	return result, found, nil
}

// callForText makes a call whose result is a string that must not be blank.
func callForText(ctx context.Context, c *Client, e *envelope, parse func(*parser) (string, error)) (string, error) {
	text, _, err := call(ctx, c, e, parse)
	if err == nil && strings.Trim(text, xmlSpace) == "" {
		return "", emptyResult(e.op)
	}
	return text, err
}

func emptyResult(op *operation) error {
	return &ecgrid.Error{Op: op.name, Kind: ecgrid.ErrEmptyResult, Sent: true}
}

// parseResponse reads the body of a response to op. parseResult is called with the
// result element, if there is one.
func parseResponse(op string, resp *http.Response, in *boundedReader, parseResult func(*parser) error) *failure {
	err := newParser(in).parse(op, resp.StatusCode == http.StatusOK, parseResult)
	var f *failure
	switch {
	case err == nil:
		return nil
	case in.err != nil: // why reading stopped says more than where it stopped
		return in.failure()
	case errors.As(err, &f):
		return f
	}
	return badAnswer("not well-formed XML")
}
