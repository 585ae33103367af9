// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/clienttest"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// The test kit of this package.
//
// What a client does with HTTP is tested over every protocol: eachProtocol runs a parallel
// test for each entry of protocols (protocols_test.go). An entry knows the operations of a
// client, and for each of them the right response. Tests of unexported things are in the
// files named …_internal_test.go.
//
// A client comes with its server:
//
//   - serve: an HTTP server on a port of its own.
//   - serveInMemory: an HTTP server on an in-memory network, for tests in virtual time
//     (testing/synctest). There a timeout takes no time, a goroutine that is left behind
//     fails the test, and the client really waits between attempts. The other clients do
//     not.
//   - serveTCP, serveOnce: a server that need not speak HTTP.
//   - serveSlowly (silence_test.go): serveInMemory with pooled connections, which a test can
//     make silent.
//
// protocol.respond is an http.HandlerFunc that gives the right response to every operation;
// answer.send gives always the same one. wantFailure checks the kind of a failed call, and
// that its error holds none of the canaries.

// TestMain discards what net/http logs about unsolicited responses, as the plugin does.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// Shared with the other clients.
const (
	canarySession  = clienttest.CanarySession
	canaryPassword = clienttest.CanaryPassword
	canaryUpstream = clienttest.CanaryUpstream
	canaryKey      = clienttest.CanaryKey
)

var wantFailure = clienttest.WantFailure

var (
	session = ecgrid.Credential{Value: canarySession}
	apiKey  = ecgrid.Credential{Value: canaryKey, IsAPIKey: true}
)

// client is a client of one protocol, and the HTTP client in it.
type client struct {
	ecgrid.Client
	http *httpclient.Client
}

// eachProtocol runs a parallel test for each protocol.
func eachProtocol(t *testing.T, test func(t *testing.T, p *protocol)) {
	t.Helper()
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

// eachOperation runs a parallel test in virtual time for each operation of each protocol.
func eachOperation(t *testing.T, test func(t *testing.T, p *protocol, op operation)) {
	t.Helper()
	eachIf(t, func(operation) bool { return true }, test)
}

// eachRead does so for those that may be retried.
func eachRead(t *testing.T, test func(t *testing.T, p *protocol, op operation)) {
	t.Helper()
	eachIf(t, func(op operation) bool { return op.read }, test)
}

// eachPooled does so for those that use pooled connections.
func eachPooled(t *testing.T, test func(t *testing.T, p *protocol, op operation)) {
	t.Helper()
	eachIf(t, operation.pooled, test)
}

func eachIf(t *testing.T, holds func(operation) bool, test func(t *testing.T, p *protocol, op operation)) {
	t.Helper()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		for _, op := range p.operations {
			if !holds(op) {
				continue
			}
			t.Run(op.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { test(t, p, op) })
			})
		}
	})
}

// connect returns a client that does not wait between attempts.
func connect(t testing.TB, p *protocol, e ecgrid.Endpoint) *client {
	t.Helper()
	c, err := p.connect(e)
	if err != nil {
		t.Fatal(err)
	}
	c.http.Sleep = clienttest.NoSleep
	t.Cleanup(c.Close)
	return c
}

// serve returns a client of an HTTP server of its own.
func serve(t testing.TB, p *protocol, h http.HandlerFunc) *client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return connect(t, p, ecgrid.Endpoint{URL: s.URL + p.path})
}

// answer is a response, and what a call returns that gets it.
type answer struct {
	status int
	body   string
	kind   error // nil: success
	reason string
}

// send sends the response, whatever the request.
func (a answer) send(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}

// raw returns the response as it is sent.
func (a answer) raw() []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d OK\r\nContent-Length: %d\r\n\r\n%s", a.status, len(a.body), a.body)
}

// respond gives the right response to every operation. It refuses any other request.
func (p *protocol) respond(w http.ResponseWriter, r *http.Request) {
	op := p.operationOf(r)
	if op == nil {
		http.Error(w, "no operation", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", p.mediaType+"; charset=utf-8")
	answer{status: http.StatusOK, body: op.response}.send(w, r)
}

// wantSuccess makes a call and checks its result.
func (op operation) wantSuccess(t testing.TB, c *client, by ecgrid.Credential) {
	t.Helper()
	got, err := op.call(t.Context(), c, by)
	if err != nil || !reflect.DeepEqual(got, op.want) {
		t.Fatalf("%s: got %+v, %v, want %+v", op.name, got, err, op.want)
	}
}
