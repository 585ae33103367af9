// SPDX-License-Identifier: MPL-2.0

package clients

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/internal/testcert"
)

// front is what the programs call in ECGrid's place, each below a path of its own. So the
// test knows who calls.
type front struct {
	url    string
	caFile string
	busy   sync.RWMutex // held for writing: calls wait

	mu       sync.Mutex
	handlers map[string]http.Handler // by the name of the program
	calls    map[string][]call
}

// call is a request that has been answered.
type call struct {
	path, key string
	status    int // 0: the connection was cut
	at        time.Time
}

func newFront(t *testing.T) *front {
	t.Helper()
	f := &front{handlers: map[string]http.Handler{}, calls: map[string][]call{}}
	authority, err := testcert.NewAuthority()
	consumertest.Must(t, err)
	cert, err := authority.Issue("127.0.0.1", "localhost")
	consumertest.Must(t, err)
	server := httptest.NewUnstartedServer(f)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of killed programs
	server.StartTLS()
	t.Cleanup(server.Close)
	f.url, f.caFile = server.URL, filepath.Join(t.TempDir(), "front-ca.pem")
	consumertest.Must(t, os.WriteFile(f.caFile, authority.PEM, 0o600))
	return f
}

// urlOf is the address below which a program calls.
func (f *front) urlOf(p program, name string) string {
	if p.byName {
		return strings.Replace(f.url, "127.0.0.1", "localhost", 1) + "/" + name
	}
	return f.url + "/" + name
}

// forwardTo is a handler for calls that a server itself answers.
func forwardTo(t *testing.T, server string, ca []byte) http.Handler {
	t.Helper()
	target, err := url.Parse(server)
	consumertest.Must(t, err)
	transport := &http.Transport{TLSClientConfig: testcert.ClientConfig(ca)}
	t.Cleanup(transport.CloseIdleConnections)
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		// What the server does to a connection is done to the program's.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
}

func (f *front) handle(name string, h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handlers[name] = h
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.busy.RLock()
	defer f.busy.RUnlock()
	name, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	f.mu.Lock()
	handler := f.handlers[name]
	f.mu.Unlock()
	answer := &statusWriter{ResponseWriter: w}
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.calls[name] = append(f.calls[name], call{path, r.Header.Get("X-API-Key"), answer.status, time.Now()})
	}()
	if handler == nil {
		http.NotFound(answer, r)
		return
	}
	http.StripPrefix("/"+name, handler).ServeHTTP(answer, r)
}

// while keeps all programs waiting for f.
func (f *front) while(do func()) {
	f.busy.Lock()
	defer f.busy.Unlock()
	do()
}

// callsOf returns the calls of a program that were answered, without the first ones.
func (f *front) callsOf(name string, without int) []call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]call(nil), f.calls[name][without:]...)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
