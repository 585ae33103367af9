// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"cmp"
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/testcert"
)

func TestConnectRefuses(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]ecgrid.Endpoint{
		"nothing":             {},
		"no scheme":           {URL: "canary/path"},
		"other scheme":        {URL: "ftp://canary/"},
		"no host":             {URL: "https:///canary"},
		"port only":           {URL: "https://:443/canary"},
		"credentials":         {URL: "https://canary:canary@host/"},
		"fragment":            {URL: "https://host/#canary"},
		"bad escape":          {URL: "https://host/%zzcanary"},
		"no PEM":              {URL: "https://host/", CACert: "canary"},
		"PEM of other things": {URL: "https://host/", CACert: "-----BEGIN CANARY-----\nAAAA\n-----END CANARY-----\n"},
		"negative timeout":    {URL: "https://host/", RequestTimeout: -1},
		"negative concurrent": {URL: "https://host/", MaxConcurrent: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) {
				c, err := p.connect(e)
				if err == nil || c != nil {
					t.Fatal("accepted")
				}
				if strings.Contains(strings.ToLower(err.Error()), "canary") {
					t.Error("the error quotes the endpoint")
				}
			})
		})
	}
}

// A successful call leaves its connection to the next one. A failed call does not, not even
// after a fault: it may have been the second copy of an earlier response.
func TestConnectionIsReused(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		var faulty atomic.Bool
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if faulty.Load() {
				p.fault.send(w, r)
				return
			}
			p.respond(w, r)
		}))
		conns := countConnections(s)
		s.Start()
		defer s.Close()
		c := connect(t, p, ecgrid.Endpoint{URL: s.URL})
		defer c.Close()
		for range 3 {
			for _, op := range p.pooled() {
				op.wantSuccess(t, c, session)
			}
		}
		if conns.Load() != 1 {
			t.Errorf("%d connections for reads, want 1", conns.Load())
		}
		for _, op := range p.operations {
			before := conns.Load()
			if op.call(t.Context(), c, session); op.pooled() == (conns.Load() == before+1) {
				t.Errorf("%s: %d new connections", op.name, conns.Load()-before)
			}
		}
		for _, op := range p.pooled() {
			faulty.Store(true)
			_, err := op.call(t.Context(), c, session)
			wantFailure(t, err, p.fault.kind)
			faulty.Store(false)
			before := conns.Load()
			if _, err := op.call(t.Context(), c, session); err != nil || conns.Load() != before+1 {
				t.Errorf("%s after a fault: %v, %d new connections", op.name, err, conns.Load()-before)
			}
		}
		c.Close()
		if _, err := c.Version(t.Context()); err != nil {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		synctest.Test(t, func(t *testing.T) {
			var now, most atomic.Int32
			release := make(chan struct{})
			c, network := serveInMemory(t, p, ecgrid.Endpoint{MaxConcurrent: 2}, func(w http.ResponseWriter, r *http.Request) {
				if n := now.Add(1); n > most.Load() {
					most.Store(n)
				}
				<-release
				now.Add(-1)
				p.respond(w, r)
			})
			var calls sync.WaitGroup
			for range 20 {
				calls.Go(func() {
					if _, err := c.Version(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			synctest.Wait()
			if now.Load() != 4 {
				t.Errorf("%d at once, want 2 and 2 to spare", now.Load())
			}
			close(release)
			calls.Wait()
			if most.Load() != 4 {
				t.Errorf("%d at once, want 2 and 2 to spare", most.Load())
			}
			if n := network.dials.Load(); n < 4 {
				t.Errorf("%d connections", n)
			}
		})
	})
}

func newCA(t *testing.T) *testcert.Authority {
	t.Helper()
	ca, err := testcert.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// tlsServer is a server with a certificate, and the trust of its client.
type tlsServer struct {
	name       string
	endpoint   ecgrid.Endpoint
	signer     *testcert.Authority
	until      time.Duration
	newest     uint16
	plain      bool
	wantReason string
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newCA(t), newCA(t)
	ourPEM, theirPEM := string(ours.PEM), string(theirs.PEM)
	tests := []tlsServer{
		{name: "own authority", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "ecgrid.test"}, signer: ours},
		{name: "two authorities", endpoint: ecgrid.Endpoint{CACert: theirPEM + ourPEM, TLSServerName: "ecgrid.test"}, signer: ours},
		{name: "TLS 1.2", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "ecgrid.test"}, signer: ours, newest: tls.VersionTLS12},
		{name: "TLS 1.1", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "ecgrid.test"}, signer: ours, newest: tls.VersionTLS11, wantReason: "TLS handshake failed"},
		{name: "unknown authority", endpoint: ecgrid.Endpoint{TLSServerName: "ecgrid.test"}, signer: ours, wantReason: "TLS certificate not trusted"},
		{name: "other authority", endpoint: ecgrid.Endpoint{CACert: theirPEM, TLSServerName: "ecgrid.test"}, signer: ours, wantReason: "TLS certificate not trusted"},
		{name: "name of the URL", endpoint: ecgrid.Endpoint{CACert: ourPEM}, signer: ours, wantReason: "TLS certificate is for another name"},
		{name: "other name", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "canary.test"}, signer: ours, wantReason: "TLS certificate is for another name"},
		{name: "expired", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "ecgrid.test"}, signer: ours, until: -time.Hour, wantReason: "TLS certificate expired or not yet valid"},
		{name: "no TLS", endpoint: ecgrid.Endpoint{CACert: ourPEM, TLSServerName: "ecgrid.test"}, plain: true, wantReason: "no TLS on that port"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			eachProtocol(t, func(t *testing.T, p *protocol) { callOverTLS(t, p, test) })
		})
	}
}

// callOverTLS makes each call to the server.
func callOverTLS(t *testing.T, p *protocol, test tlsServer) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(p.respond))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	conns := countConnections(s)
	if test.plain {
		s.Start()
	} else {
		cert, err := test.signer.IssueUntil(time.Now().Add(cmp.Or(test.until, time.Hour)), "ecgrid.test")
		if err != nil {
			t.Fatal(err)
		}
		s.TLS = &tls.Config{
			Certificates: []tls.Certificate{cert},
			MinVersion:   tls.VersionTLS10, MaxVersion: test.newest,
		}
		s.EnableHTTP2 = true // offered, but the client keeps to HTTP/1.1
		s.StartTLS()
	}
	defer s.Close()
	u, _ := url.Parse(s.URL)
	test.endpoint.URL = "https://" + u.Host
	c := connect(t, p, test.endpoint)
	defer c.Close()
	for _, op := range p.operations {
		before := conns.Load()
		_, err := op.call(t.Context(), c, session)
		if test.wantReason == "" {
			if err != nil {
				t.Fatalf("%s: %v", op.name, err)
			}
			continue
		}
		e := wantFailure(t, err, ecgrid.ErrUnreachable)
		if e.Sent || e.Reason != test.wantReason || conns.Load() != before+1 {
			t.Fatalf("%s: %+v after %d connections, want %q after 1", op.name, e, conns.Load()-before, test.wantReason)
		}
	}
}
