// SPDX-License-Identifier: MPL-2.0

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

// connection is what a Server knows of a connection. Its requests come one at a time.
type connection struct {
	generation int64
	used       time.Time
}

type connectionKey struct{}

func (s *Server) withConnection(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{s.generation.Load(), s.opts.Clock()})
}

// ForgetConnections makes all open connections silent, as ServerOptions.ForgetAfter does
// with idle ones.
func (s *Server) ForgetConnections() { s.generation.Add(1) }

// Swallowed is how many requests were sent on forgotten connections.
func (s *Server) Swallowed() int { return int(s.swallowed.Load()) }

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	c := r.Context().Value(connectionKey{}).(*connection)
	if s.isForgotten(c) {
		s.swallowed.Add(1)
		_, _ = io.Copy(io.Discard, r.Body) // the context ends only after the body was read
		<-r.Context().Done()
		return
	}
	s.ServeHTTP(w, r)
	c.used = s.opts.Clock()
}

func (s *Server) isForgotten(c *connection) bool {
	idle := s.opts.Clock().Sub(c.used)
	return c.generation != s.generation.Load() || s.forgetAfter > 0 && idle >= s.forgetAfter
}

// fakeIP is one of 65,536 addresses of the network for benchmarks (RFC 2544).
func fakeIP(n uint16) string {
	ip := net.IP{198, 18, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], n)
	return ip.String()
}

// IPOfConnection is an Options.ClientIP. Each connection seems to come from an address of
// its own, as behind several egress addresses. A SessionID is dead on every other
// connection.
func IPOfConnection(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.RemoteAddr) // "" if it is not an address
	n, _ := strconv.ParseUint(port, 10, 16)
	return fakeIP(uint16(n))
}

// NewIPEachTime makes an Options.ClientIP. Each request seems to come from a new address,
// so that a SessionID is dead at its first use.
func NewIPEachTime() func(*http.Request) string {
	var n atomic.Uint32
	return func(*http.Request) string { return fakeIP(uint16(n.Add(1))) }
}
