// SPDX-License-Identifier: MPL-2.0

// Package soap is an ECGrid client over SOAP 1.1, for the operations of the ECGridOS
// v4.1 WSDL that the engine needs. It keeps no session and no credential: its caller
// holds both.
//
// Responses are read as a stream within limits of size and depth, and none of their text
// gets into an error. HTTP is left to package httpclient.
package soap

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// Client calls one ECGridOS endpoint. It is safe for concurrent use.
type Client struct{ *httpclient.Client }

// Connect returns a client, as httpclient.New does.
func Connect(e ecgrid.Endpoint) (*Client, error) {
	h, err := httpclient.New(e)
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
		return result, false, &ecgrid.Error{Op: op.Name, Kind: ecgrid.ErrFault, Reason: invalid + " cannot be sent in XML"}
	}
	req := &httpclient.Request{Operation: &op.Operation, URL: c.URL, Header: op.header, Body: body}
	if key, ok := any(&result).(*string); ok && op == opUserGetAPIKey {
		req.Key, req.UserID = key, e.userID
	}
	var none T
	req.Parse = func(resp *http.Response, maxBody int64) *httpclient.Failure {
		result, found = none, false // an earlier attempt may have set them
		in := newBoundedReader(resp.Body, maxBody)
		defer in.release()
		if req.Key != nil && in.holdsAll(resp) {
			if *req.Key, found = plainResult(op.Name, in.buffered()); found {
				return nil
			}
		}
		return parseResponse(op.Name, resp, in, func(p *parser) (err error) {
			found = true
			result, err = parse(p)
			return err
		})
	}
	if err := c.Send(ctx, req); err != nil {
		return none, false, err
	}
	return result, found, nil
}

// callForText makes a call whose result is a string that must not be blank.
func callForText(ctx context.Context, c *Client, e *envelope, parse func(*parser) (string, error)) (string, error) {
	text, _, err := call(ctx, c, e, parse)
	if err == nil && strings.Trim(text, ecgrid.Space) == "" {
		return "", e.op.Failed(ecgrid.ErrEmptyResult, "")
	}
	return text, err
}

// parseResponse reads the body of a response to op. parseResult is called with the
// result element, if there is one.
func parseResponse(op string, resp *http.Response, in *boundedReader, parseResult func(*parser) error) *httpclient.Failure {
	err := newParser(in).parse(op, resp.StatusCode == http.StatusOK, parseResult)
	if err == nil {
		return nil
	}
	if stopped := in.Failure(); stopped != nil { // why reading stopped says more than where it stopped
		return stopped
	}
	var f *httpclient.Failure
	if errors.As(err, &f) {
		return f
	}
	return badAnswer("not well-formed XML")
}

func badAnswer(reason string) *httpclient.Failure { return httpclient.BadAnswer(reason) }
