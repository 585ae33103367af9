// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"net"
	"net/http"
	"net/url"
)

// What the tests of this package measure the clients against.
const (
	MaxSilence = maxSilence
	QuietTime  = quietTime
	MaxHeader  = maxHeader
)

// Dialer and SetDialer replace the network.
type Dialer = dialer

func (c *Client) SetDialer(dial Dialer) { c.setDialer(dial) }

// SetProxy replaces the proxy of the environment.
func (c *Client) SetProxy(proxy func(*http.Request) (*url.URL, error)) { c.setProxy(proxy) }

// IsWatched reports whether unsolicited data on the connection is noticed.
func IsWatched(conn net.Conn) bool { return watchedConnOf(conn) != nil }
