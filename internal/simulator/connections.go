package simulator

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// connection is what a Server remembers of one. Its requests come one by one.
type connection struct {
	generation int64
	used       time.Time
}

type connectionKey struct{}

func (s *Server) withConnection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{s.generation.Load(), s.opts.Clock()})
}

// ForgetConnections has every connection that is open now go silent, as
// ServerOptions.ForgetAfter does those that were idle.
func (s *Server) ForgetConnections() { s.generation.Add(1) }

// Swallowed is how many requests were sent on forgotten connections.
func (s *Server) Swallowed() int { return int(s.swallowed.Load()) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connectionKey{}).(*connection)
	if s.forgot(c) {
		s.swallowed.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // only behind it does the client's leaving show
		<-r.Context().Done()
		return
	}
	s.ServeHTTP(w, r)
	c.used = s.opts.Clock()
}

func (s *Server) forgot(c *connection) bool {
	idle := s.opts.Clock().Sub(c.used)
	return c.generation != s.generation.Load() || s.forgetAfter > 0 && idle >= s.forgetAfter
}

// seemingIP is an address of the network for benchmarks (RFC 2544), one for each of
// 65,536 numbers.
func seemingIP(n uint16) string {
	ip := net.IP{198, 18, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], n)
	return ip.String()
}

// IPOfConnection is an Options.ClientIP: each connection seems to come from an address
// of its own, as behind an egress with many. A SessionID is dead on every other one.
func IPOfConnection(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.RemoteAddr) // "" where it is no address
	n, _ := strconv.ParseUint(port, 10, 16)
	return seemingIP(uint16(n))
}

// NewIPEachTime makes an Options.ClientIP: each request seems to come from another
// address than the one before, so that a SessionID is dead on arrival.
func NewIPEachTime() func(*http.Request) string {
	var n atomic.Uint32
	return func(*http.Request) string { return seemingIP(uint16(n.Add(1))) }
}
