// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/testcert"
)

// A proxy has limited time for all of its answer. What comes after the client has begun to
// handshake with ECGrid is not its answer.
func TestAnswersWithin(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		sent string // by the client, after the first byte from the proxy
		want error  // of the read of the second byte, an hour later
	}{
		"CONNECT":   {"CONNECT ecgrid.test:443 HTTP/1.1", os.ErrDeadlineExceeded},
		"its rest":  {"Proxy-Authorization: Basic", os.ErrDeadlineExceeded},
		"SOCKS5":    {"\x05\x01\x00\x03", os.ErrDeadlineExceeded},
		"password":  {"\x01\x02jo", os.ErrDeadlineExceeded},
		"handshake": {"\x16\x03\x01", nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				var proxy sync.WaitGroup
				defer proxy.Wait()
				conn := answersWithin(client, time.Second)
				defer conn.Close()
				proxy.Go(func() {
					server.Write([]byte("a"))
					io.ReadFull(server, make([]byte, len(test.sent)))
					time.Sleep(time.Hour)
					server.Write([]byte("b"))
				})
				if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
					t.Fatalf("read %d bytes, %v", n, err)
				}
				if _, err := io.WriteString(conn, test.sent); err != nil {
					t.Fatal(err)
				}
				if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, test.want) || conn.handshakes.Load() != (test.want == nil) {
					t.Errorf("%v, handshake %t", err, conn.handshakes.Load())
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		conn := answersWithin(client, time.Second)
		defer conn.Close()
		start := time.Now()
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// net/http ignores a proxy whose address it cannot parse. The client does not go past it.
func TestMalformedProxyInEnvironment(t *testing.T) {
	for address, malformed := range map[string]bool{
		"":                                false,
		"proxy.test:3128":                 false,
		"http://jo:canary@proxy.test":     false,
		"http://jo:canary%zz@proxy.test":  true,
		"http://jo:canary@[::1":           true,
		"http://jo:canary@proxy.test:abc": true,
		"proxy.test:abc":                  true,
	} {
		if isMalformed(address) != malformed {
			t.Errorf("%q: malformed %t", address, !malformed)
		}
	}
	t.Setenv("HTTPS_PROXY", "http://jo:canary@[::1")
	c := newClient(t, ecgrid.Endpoint{URL: "https://ecgrid.test/"})
	err := c.Send(t.Context(), get(c))
	if failed := (*ecgrid.Error)(nil); !errors.As(err, &failed) || failed.Kind != ecgrid.ErrProxy || failed.Sent || failed.Reason != "its address is malformed" {
		t.Errorf("%v", err)
	}
}

// A loopback host has no proxy, so a malformed one does not matter to it.
func TestMalformedProxyAndLoopback(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://jo:canary@[::1")
	for address, want := range map[string]error{
		"https://127.0.0.1:8443/":        nil,
		"https://[::1]/":                 nil,
		"https://[::ffff:127.0.0.2]/":    nil,
		"https://localhost/":             nil,
		"https://10.0.0.1/":              errProxyAddress,
		"https://localhost.ecgrid.test/": errProxyAddress,
	} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := proxyFromEnvironment(&http.Request{URL: u}); p != nil || err != want {
			t.Errorf("%s: %v, %v", address, p, err)
		}
	}
}

// ca_cert replaces the system's authorities for ECGrid. For the proxy, it adds to them.
func TestAuthoritiesOfProxy(t *testing.T) {
	t.Parallel()
	ours, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	want, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	want.AppendCertsFromPEM(ours.PEM)
	c := newClient(t, ecgrid.Endpoint{URL: "https://ecgrid.test/", CACert: string(ours.PEM), TLSServerName: "other.test"})
	if conf := c.proxyTLS("proxy.test"); conf.ServerName != "proxy.test" || !conf.RootCAs.Equal(want) {
		t.Errorf("name %q, or other authorities", conf.ServerName)
	}
	c = newClient(t, ecgrid.Endpoint{URL: "https://ecgrid.test/"})
	if conf := c.proxyTLS("proxy.test"); conf.RootCAs != nil {
		t.Error("not the system's authorities")
	}
}
