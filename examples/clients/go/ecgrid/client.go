// SPDX-License-Identifier: MPL-2.0

// Package ecgrid calls ECGrid's REST API with a key that Vault holds.
package ecgrid

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	timeout   = 10 * time.Second // of a request to ECGrid, and of a read of the key
	maxAnswer = 1 << 20          // bytes
)

var (
	errRefused = errors.New("ECGrid refused the key (HTTP 401): check in Vault that it is the right user's, and at ECGrid that the user is active")
	errSameKey = errors.New("ECGrid refused the key (HTTP 401), and reading it again gave the same one: " +
		"Vault Agent may need a moment to write a new key; otherwise check at ECGrid that the user is active")
)

// User is the ECGrid user that a key belongs to.
type User struct {
	Login string `json:"login"`
}

// Client keeps the key in memory between calls. It is safe for concurrent use.
type Client struct {
	url  string
	http *http.Client
	read KeyReader

	mu      sync.Mutex
	key     string // the last one that was read
	reading singleflight.Group
}

// NewClient makes a Client for an address such as https://rest.ecgrid.io/v2.
func NewClient(url string, read KeyReader) *Client {
	return &Client{
		url:  strings.TrimSuffix(url, "/"),
		read: read,
		http: &http.Client{
			Timeout: timeout,
			// A redirect would send the key to another server.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Me calls GET /users/me. If ECGrid refuses the key, Me reads it again. It repeats the call
// once, and only with another key.
func (c *Client) Me(ctx context.Context) (User, error) {
	key, err := c.keyOtherThan(ctx, "")
	if err != nil {
		return User{}, err
	}
	user, err := c.me(ctx, key)
	if !errors.Is(err, errRefused) {
		return user, err
	}
	newKey, err := c.keyOtherThan(ctx, key)
	if err != nil {
		return User{}, fmt.Errorf("ECGrid refused the key (HTTP 401): %w", err)
	}
	if newKey == key {
		return User{}, errSameKey
	}
	return c.me(ctx, newKey)
}

// keyOtherThan returns the key in memory, or reads it if that is the refused one. Callers
// that need it at the same time share one read.
func (c *Client) keyOtherThan(ctx context.Context, refused string) (string, error) {
	if key := c.inMemory(); key != refused {
		return key, nil
	}
	// The read is not only this caller's, so it does not end with its context.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	key, err, _ := c.reading.Do("", func() (any, error) {
		if key := c.inMemory(); key != refused {
			return key, nil // another caller has just read it
		}
		key, err := c.read(ctx)
		if err != nil {
			return "", fmt.Errorf("cannot read the key: %w", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.key = key
		return key, nil
	})
	return key.(string), err
}

func (c *Client) inMemory() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.key
}

// me makes one call.
func (c *Client) me(ctx context.Context, key string) (User, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+"/users/me", nil)
	if err != nil {
		return User{}, err
	}
	req.Header.Set("X-API-Key", key)
	resp, err := c.http.Do(req)
	if err != nil {
		return User{}, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return User{}, errRefused
	default:
		return User{}, fmt.Errorf("ECGrid answered HTTP %d to GET /users/me: try again later", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return User{}, fmt.Errorf("GET /users/me of ECGrid: %w", err)
	}
	var answer struct{ Data User }
	if json.Unmarshal(body, &answer) != nil || answer.Data.Login == "" {
		return User{}, fmt.Errorf("malformed answer of ECGrid to GET /users/me: check the address %s", c.url)
	}
	return answer.Data, nil
}
