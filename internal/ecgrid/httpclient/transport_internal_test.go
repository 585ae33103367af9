// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"bufio"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/testcert"
)

// newClient returns a client that does not wait between attempts.
func newClient(t *testing.T, e ecgrid.Endpoint) *Client {
	t.Helper()
	c, err := New(e)
	if err != nil {
		t.Fatal(err)
	}
	c.Sleep = func(ctx context.Context, _ time.Duration) bool { return ctx.Err() == nil }
	t.Cleanup(c.Close)
	return c
}

// get returns a request of a read that has a credential.
func get(c *Client) *Request {
	return &Request{
		Operation: &Operation{Name: "Version", Method: http.MethodGet, MaxBody: MaxSmallBody, Retry: RetryRead},
		URL:       c.URL,
		Header:    http.Header{"X-API-Key": {"canary"}},
		Parse: func(resp *http.Response, _ int64) *Failure {
			if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "ok" {
				return BadAnswer("not ok")
			}
			return nil
		},
	}
}

func sendOK(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }

// ca_cert replaces the system's authorities.
func TestOwnAuthorityIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	ours, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	want := x509.NewCertPool()
	want.AppendCertsFromPEM(ours.PEM)
	c := newClient(t, ecgrid.Endpoint{URL: "https://ecgrid.test/", CACert: string(ours.PEM)})
	for _, transport := range []*http.Transport{c.pooled, c.unpooled} {
		if !transport.TLSClientConfig.RootCAs.Equal(want) || transport.TLSClientConfig.InsecureSkipVerify {
			t.Error("other authorities are trusted too")
		}
	}
}

// A second attempt does not use the pooled transport, even if that cannot connect.
func TestSecondAttemptIsUnpooled(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(sendOK))
	defer s.Close()
	c := newClient(t, ecgrid.Endpoint{URL: s.URL})
	c.pooled.DialContext = func(context.Context, string, string) (net.Conn, error) { // not that of unpooled
		ours, theirs := net.Pipe()
		theirs.Close()
		return ours, nil
	}
	if err := c.Send(t.Context(), get(c)); err != nil {
		t.Error(err)
	}
}

// A proxy that opens the tunnel to ECGrid learns the name of its host, and no credential.
func TestProxyGetsNoCredential(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		in := bufio.NewReader(conn)
		var request strings.Builder
		for line := ""; line != "\r\n"; request.WriteString(line) {
			if line, err = in.ReadString('\n'); err != nil {
				break
			}
		}
		got <- request.String()
		io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
	}()
	c := newClient(t, ecgrid.Endpoint{URL: "https://ecgrid.test/canary"})
	proxy, _ := url.Parse("http://" + l.Addr().String())
	c.pooled.Proxy = http.ProxyURL(proxy)
	req := get(c)
	req.Operation.Retry = RetryPolicy{attempts: 1, allows: RetryRead.allows}
	if err := c.Send(t.Context(), req); err == nil || strings.Contains(err.Error(), "canary") {
		t.Errorf("got %v", err)
	}
	if request := <-got; !strings.HasPrefix(request, "CONNECT ecgrid.test:443 ") || strings.Contains(request, "canary") {
		t.Error("the proxy did not get a CONNECT, or got the credential")
	}
}
