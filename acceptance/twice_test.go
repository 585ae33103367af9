// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/simulator"
)

// doubleAnswerServer sends each answer of an ECGrid twice.
type doubleAnswerServer struct {
	addr    string
	handler http.Handler
	answers atomic.Int32 // each counted once
	hangUps atomic.Int32 // connections that the client closed after an answer
	conns   sync.WaitGroup
}

func newDoubleAnswerServer(t *testing.T, handler http.Handler) *doubleAnswerServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &doubleAnswerServer{addr: l.Addr().String(), handler: handler}
	s.conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); s.conns.Wait() })
	return s
}

func (s *doubleAnswerServer) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute)) // the client may not close it
	in := bufio.NewReader(conn)
	answered := false
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			if answered {
				s.hangUps.Add(1)
			}
			return
		}
		r.RemoteAddr = conn.RemoteAddr().String()
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, r)
		answer := fmt.Appendf(nil, "HTTP/1.1 %d Answer\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			rec.Code, rec.Header().Get("Content-Type"), rec.Body.Len(), rec.Body)
		s.answers.Add(1)
		answered = true
		if _, err := conn.Write(bytes.Repeat(answer, 2)); err != nil {
			return
		}
	}
}

// net/http prints data that arrives on a connection that expects none. A second answer
// with a key must not get into the log that way.
func TestSecondAnswerIsNotLogged(t *testing.T) {
	t.Parallel()
	v := ownVault(t, inmem)
	m := newMount(t, v)
	s := newDoubleAnswerServer(t, m.Server)
	config := m.loginConfigWith("url", "http://"+s.addr+byTransport(simulator.SOAPPath, simulator.RESTPath))
	delete(config, "ca_cert")
	m.ok(t, http.MethodPost, m.at("config"), config)
	for range 5 {
		m.readKey(t, simulator.UserID5001)
		m.readKey(t, simulator.UserID5002)
	}
	m.ok(t, "LIST", m.at("keys"), nil)
	m.read(t, m.at("status"))
	m.disable(t)
	eventually(t, 10*time.Second, "the client closes each connection with a second answer", func() bool { return s.hangUps.Load() >= 10 })
	v.stop()

	for _, leak := range v.leaks(m.secrets()) {
		t.Error("a secret is in", leak)
	}
	// The positive control: there were answers, and a log at this level.
	if s.answers.Load() < 10 || !bytes.Contains(readAll(v.logPath()), []byte("[TRACE]")) {
		t.Error("the search proves nothing")
	}
}
