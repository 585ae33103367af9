// SPDX-License-Identifier: MPL-2.0

// Package rest is an ECGrid client over the REST API v2.6, the vendor's successor of SOAP.
// It keeps no session and no credential: its caller holds both.
//
// A session is a bearer token. The operations have the names of ECGridOS, so that an error
// reads the same over either transport. Responses are read as a stream within limits of
// size and depth, and none of their text gets into an error. HTTP is left to package
// httpclient.
package rest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// Client calls one endpoint, such as https://rest.ecgrid.io/v2. It is safe for concurrent
// use.
type Client struct{ *httpclient.Client }

// Connect returns a client, as httpclient.New does.
func Connect(e ecgrid.Endpoint) (*Client, error) {
	h, err := httpclient.New(e)
	if err != nil {
		return nil, err
	}
	if h.URL.Path == "" {
		h.URL.Path = "/" // JoinPath keeps a relative path relative
	}
	return &Client{h}, nil
}

// call is one call.
type call struct {
	*operation
	by     ecgrid.Credential // zero: none is sent
	userID int32             // appended to the path; 0: none
	body   any               // sent as JSON; nil: none
}

// send makes the call and parses the data of the response. found is false if it has none.
func send[T any](ctx context.Context, c *Client, call call, parse parseFunc[T]) (result T, found bool, err error) {
	var none T
	req := &httpclient.Request{
		Operation: &call.Operation,
		URL:       call.url(c.URL),
		Header:    call.header(),
		UserID:    call.userID,
	}
	if call.body != nil {
		if req.Body, err = json.Marshal(call.body); err != nil {
			return none, false, &ecgrid.Error{Op: call.Name, Kind: ecgrid.ErrFault, Reason: "cannot be sent in JSON"}
		}
	}
	if key, ok := any(&result).(*string); ok && call.operation == opUserGetAPIKey {
		req.Key = key
	}
	req.Parse = func(resp *http.Response, maxBody int64) (f *httpclient.Failure) {
		result = none // an earlier attempt may have set it
		body := httpclient.NewBody(resp.Body, maxBody)
		var in io.Reader = &body
		if req.Key != nil && resp.StatusCode == http.StatusOK {
			key, plain, rest, release := plainKey(&body)
			defer release()
			if *req.Key, found = key, plain; plain {
				return nil
			}
			in = rest
		}
		found, f = parseResponse(in, resp.StatusCode, call, func(p *parser) (err error) {
			result, err = parse(p, resp)
			return err
		})
		if stopped := body.Failure(); stopped != nil { // why reading stopped says more than where it stopped
			return stopped
		}
		return f
	}
	if err := c.Send(ctx, req); err != nil {
		return none, false, err
	}
	return result, found, nil
}

// parseFunc reads the data of a response.
type parseFunc[T any] func(p *parser, resp *http.Response) (T, error)

// data is a parseFunc that needs only the data.
func data[T any](parse func(*parser) (T, error)) parseFunc[T] {
	return func(p *parser, _ *http.Response) (T, error) { return parse(p) }
}

// skipped is a parseFunc of a call whose data does not matter.
func skipped(p *parser, _ *http.Response) (struct{}, error) { return struct{}{}, p.skip() }

// header returns the header of the request, with the credential.
func (call call) header() http.Header {
	h := http.Header{"Accept": mediaType, "User-Agent": userAgent}
	if call.body != nil {
		h["Content-Type"] = mediaType
	}
	switch {
	case call.by == ecgrid.Credential{}:
	case call.by.IsAPIKey:
		h["X-API-Key"] = []string{call.by.Value} // capitalized as in the documentation
	default:
		h["Authorization"] = []string{"Bearer " + call.by.Value}
	}
	return h
}

var (
	mediaType = []string{"application/json"}
	userAgent = []string{httpclient.UserAgent}
)
