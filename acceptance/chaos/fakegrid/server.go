// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bufio"
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"vault-plugin-ecgrid/internal/testcert"
)

const (
	maxRequest = 1 << 20
	maxSilence = 25 * time.Second // of a connection that is left open
)

// Server is a Grid behind TLS on a loopback port. It reads and writes HTTP itself, since
// most of its failures are below the level of net/http.
type Server struct {
	*Grid
	URL     string // of SOAP
	RESTURL string
	CA      []byte // PEM

	random   *random
	traffic  *traffic
	listener *listener
	tls      *tls.Config
	done     chan struct{}
	served   sync.WaitGroup

	connMu sync.Mutex // guards conns and counts; Grid has its own
	conns  map[net.Conn]struct{}
	counts map[string]int
}

// Options of Start.
type Options struct {
	Limits Limits
	Users  []User
	Seed   uint64
	REST   RESTReading // what the REST documentation leaves open

	// ManyClients ask for the same at once. So what looks like a repetition may be another
	// client, and the order of requests breaks no rule.
	ManyClients bool
}

// Start serves until Close.
func Start(o Options) (*Server, error) {
	authority, err := testcert.NewAuthority()
	if err != nil {
		return nil, err
	}
	cert, err := authority.Issue("localhost", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	l, err := newListener()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Grid:     newGrid(o.Limits, o.Users),
		URL:      "https://" + l.addr + endpoint,
		RESTURL:  "https://" + l.addr + restBase,
		CA:       authority.PEM,
		random:   newRandom(o.Seed),
		traffic:  newTraffic(),
		listener: l,
		tls:      &tls.Config{Certificates: []tls.Certificate{cert}},
		conns:    map[net.Conn]struct{}{},
		done:     make(chan struct{}),
		counts:   map[string]int{},
	}
	s.rest = o.REST
	s.traffic.unordered = o.ManyClients
	s.served.Go(s.accept)
	return s, nil
}

// Close ends all connections and waits for them.
func (s *Server) Close() {
	close(s.done)
	s.listener.close()
	s.resetConnections()
	s.served.Wait()
}

// SetRates changes how often calls fail from now on.
func (s *Server) SetRates(r Rates) { s.random.setRates(r) }

// Counts counts calls by operation, and failures by name.
func (s *Server) Counts() map[string]int {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	return maps.Clone(s.counts)
}

func (s *Server) count(what string) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	s.counts[what]++
}

// TakeDown resets all connections. For the duration d, new ones are refused, or accepted
// and not answered.
func (s *Server) TakeDown(d time.Duration, hang bool) {
	s.count("down")
	s.listener.pause(hang)
	s.resetConnections()
	s.OrphanSessions(time.Time{})
	select {
	case <-time.After(d):
	case <-s.done:
	}
	s.listener.resume()
}

func (s *Server) resetConnections() {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	for c := range s.conns {
		reset(c)
	}
}

func (s *Server) accept() {
	for {
		c, err := s.listener.accept()
		if err != nil {
			return
		}
		s.served.Go(func() { s.serve(c) })
	}
}

func (s *Server) track(c net.Conn) (untrack func()) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	s.conns[c] = struct{}{}
	return func() {
		s.connMu.Lock()
		defer s.connMu.Unlock()
		delete(s.conns, c)
	}
}

func (s *Server) serve(raw net.Conn) {
	defer raw.Close()
	defer s.track(raw)()
	select {
	case <-s.done:
		return
	default:
	}
	c := tls.Server(raw, s.tls)
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest))
		if err != nil {
			return
		}
		ip, _, _ := net.SplitHostPort(raw.RemoteAddr().String())
		if !s.answer(r, body, ip).send(c, raw) {
			return
		}
	}
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
