// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// dialed notes the addresses that a client connects to.
type dialed struct {
	mu    sync.Mutex
	addrs map[string]bool
}

func (d *dialed) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.addrs == nil {
		d.addrs = map[string]bool{}
	}
	d.addrs[addr] = true
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// A server may name other hosts in its response. No client connects to one, so a credential
// never gets there. Nor does a client follow a redirect on the same host.
func TestRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("the second host received something")
		}))
		defer other.Close()
		for _, target := range []string{other.URL, "/elsewhere", "//" + strings.TrimPrefix(other.URL, "http://")} {
			for _, status := range []int{300, 301, 302, 303, 305, 307, 308} {
				redirect(t, p, status, target)
			}
		}
	})
}

// redirect makes all calls to a server that redirects them.
func redirect(t *testing.T, p *protocol, status int, target string) {
	t.Helper()
	var requests atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Redirect(w, r, target, status)
	}))
	defer s.Close()
	c := connect(t, p, ecgrid.Endpoint{URL: s.URL + p.path})
	var to dialed
	c.http.SetDialer(to.dial)
	for _, op := range p.operations {
		for _, by := range []ecgrid.Credential{session, apiKey} {
			requests.Store(0)
			_, err := op.call(t.Context(), c, by)
			if e := wantFailure(t, err, ecgrid.ErrBadAnswer); !e.Sent || requests.Load() != 1 {
				t.Errorf("%s, %d to %s: %+v after %d requests", op.name, status, target, e, requests.Load())
			}
		}
	}
	wantOnly(t, &to, s.URL)
}

// Other headers that name a host have no effect, whatever the status.
func TestOtherHostsAreIgnored(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			t.Error("the second host received something")
		}))
		defer other.Close()
		for _, status := range []int{200, 201, 401, 407, 421, 503} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				for _, name := range []string{"Location", "Content-Location", "Refresh", "Link"} {
					h.Set(name, other.URL)
				}
				h.Set("Alt-Svc", `http/1.1="`+strings.TrimPrefix(other.URL, "http://")+`"`)
				h.Set("WWW-Authenticate", `Basic realm="`+other.URL+`"`)
				h.Set("Proxy-Authenticate", `Basic realm="`+other.URL+`"`)
				if status == 200 {
					p.respond(w, r)
					return
				}
				w.WriteHeader(status)
			}))
			c := connect(t, p, ecgrid.Endpoint{URL: s.URL + p.path})
			var to dialed
			c.http.SetDialer(to.dial)
			for _, op := range p.operations {
				for range 2 {
					if _, err := op.call(t.Context(), c, apiKey); (err == nil) != (status == 200) {
						t.Errorf("%s, %d: %v", op.name, status, err)
					}
				}
			}
			wantOnly(t, &to, s.URL)
			c.Close()
			s.Close()
		}
	})
}

// wantOnly checks that a client has connected to one host and to no other.
func wantOnly(t *testing.T, to *dialed, rawURL string) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if len(to.addrs) != 1 || !to.addrs[u.Host] {
		t.Errorf("connected to %d hosts, want one", len(to.addrs))
	}
}

// Proxies and servers log URLs and common headers, so a credential is in neither.
func TestCredentialIsNotInURL(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		c := serve(t, p, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.RequestURI, "canary") {
				t.Error("a credential is in the URL")
			}
			for name, values := range r.Header {
				isOurs := name == "X-Api-Key" || name == "Authorization"
				if strings.Contains(strings.Join(values, "\n"), "canary") && !isOurs {
					t.Errorf("a credential is in the header %s", name)
				}
			}
			p.respond(w, r)
		})
		for _, op := range p.operations {
			for _, by := range []ecgrid.Credential{session, apiKey} {
				op.wantSuccess(t, c, by)
			}
		}
	})
}
