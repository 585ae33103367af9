// SPDX-License-Identifier: MPL-2.0

package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
)

// Client sends requests to Vault's HTTP API with one token.
type Client struct {
	HTTP  *http.Client
	Addr  string // https://host:port
	Token string
}

// Response is what Vault answered. A field that the answer does not have is empty.
type Response struct {
	Status        int            `json:"-"`
	LeaseID       string         `json:"lease_id"`
	LeaseDuration int            `json:"lease_duration"` // seconds
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
	Errors        []string       `json:"errors"`
	Auth          struct {
		ClientToken string `json:"client_token"`
	} `json:"auth"`
	Keys      []string `json:"keys"`       // of sys/init
	RootToken string   `json:"root_token"` // of sys/init
	Body      []byte   `json:"-"`
}

// OK reports whether the status is 2xx.
func (r Response) OK() bool { return r.Status/100 == 2 }

// Do sends one request. The path is sent as it is, %-escapes included.
func (c Client) Do(method, path string, body any) (Response, error) {
	return c.DoContext(context.Background(), method, path, body)
}

// DoContext is Do with a context.
func (c Client) DoContext(ctx context.Context, method, path string, body any) (Response, error) {
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return Response{}, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Addr+"/v1/"+path, bytes.NewReader(payload))
	if err != nil {
		return Response{}, err
	}
	req.Header.Set("X-Vault-Token", c.Token)
	req.Header.Set("X-Vault-Request", "true")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	r := Response{Status: resp.StatusCode}
	if r.Body, err = io.ReadAll(resp.Body); err != nil {
		return r, err
	}
	_ = json.Unmarshal(r.Body, &r) // not every answer has this form
	return r, nil
}
