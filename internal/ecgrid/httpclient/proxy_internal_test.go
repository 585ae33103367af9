// SPDX-License-Identifier: MPL-2.0

package httpclient

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A proxy has limited time for its answer. What comes after that is not its answer.
func TestAnswersWithin(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		conn := answersWithin(client, time.Second)
		defer conn.Close()
		go func() {
			server.Write([]byte("a"))
			time.Sleep(time.Hour)
			server.Write([]byte("b"))
		}()
		for range 2 {
			if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("read %d bytes, %v", n, err)
			}
		}
	})
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
