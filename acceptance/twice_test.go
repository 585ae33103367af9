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

// twice is an ECGrid that says everything two times over.
type twice struct {
	addr    string
	handler http.Handler
	said    atomic.Int32 // answers, each counted once
	heard   atomic.Int32 // connections that the client has closed after one
	conns   sync.WaitGroup
}

func newTwice(t *testing.T, handler http.Handler) *twice {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &twice{addr: l.Addr().String(), handler: handler}
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

func (s *twice) serve(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute)) // whatever becomes of the client
	in := bufio.NewReader(conn)
	answered := false
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			if answered {
				s.heard.Add(1)
			}
			return
		}
		r.RemoteAddr = conn.RemoteAddr().String()
		said := httptest.NewRecorder()
		s.handler.ServeHTTP(said, r)
		answer := fmt.Appendf(nil, "HTTP/1.1 %d Said\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
			said.Code, said.Header().Get("Content-Type"), said.Body.Len(), said.Body)
		s.said.Add(1)
		answered = true
		if _, err := conn.Write(bytes.Repeat(answer, 2)); err != nil {
			return
		}
	}
}

// TestSecondAnswerIsNotLogged reads keys from an ECGrid that gives each of them
// twice. What comes on a connection that waits for nothing, net/http prints.
func TestSecondAnswerIsNotLogged(t *testing.T) {
	t.Parallel()
	v := own(t, inmem)
	m := mounted(t, v)
	s := newTwice(t, m.Server)
	config := m.withLogin("url", "http://"+s.addr+simulator.SOAPPath)
	delete(config, "ca_cert")
	m.ok(t, http.MethodPost, m.at("config"), config)
	for range 5 {
		m.readKey(t, simulator.UserID5001)
		m.readKey(t, simulator.UserID5002)
	}
	m.ok(t, "LIST", m.at("keys"), nil)
	m.read(t, m.at("status"))
	m.disable(t)
	eventually(t, 10*time.Second, "the client hangs up on who answers twice", func() bool { return s.heard.Load() >= 10 })
	v.stop()

	for _, leak := range v.leaks(m.secrets()) {
		t.Error("a secret is in", leak)
	}
	// The positive control: there is a log at this level, and secrets to find in it.
	if s.said.Load() < 10 || !bytes.Contains(readAll(v.logPath()), []byte("[TRACE]")) {
		t.Error("the search proves nothing")
	}
}
