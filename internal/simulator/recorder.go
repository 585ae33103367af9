// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"bytes"
	"io"
	"net/http"
)

// Exchange is a request and its answer as sent, up to 1 MiB of each body.
type Exchange struct {
	Op             string // "" if it is not a call
	Method         string
	URL            string
	RequestHeader  http.Header
	Request        []byte
	Status         int // 0 if the connection was cut before
	ResponseHeader http.Header
	Response       []byte
}

// Exchanges returns the newest Options.KeepCalls requests and answers, oldest first, if
// Options.Record is set. They include all that a client has received.
func (s *Simulator) Exchanges() []Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := s.journal.exchanges.all()
	all := make([]Exchange, len(kept))
	for i, x := range kept {
		all[i] = *x // later writes append beyond this copy's length
	}
	return all
}

const maxRecorded = 1 << 20

func (s *Simulator) serveRecorded(w http.ResponseWriter, r *http.Request) {
	// If this fails, the handler fails too.
	request, _ := io.ReadAll(io.LimitReader(r.Body, maxRecorded))
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(request), r.Body), r.Body}
	x := &Exchange{Method: r.Method, URL: r.URL.String(), RequestHeader: r.Header.Clone(), Request: request}
	s.mu.Lock()
	s.journal.exchanges.add(x)
	s.mu.Unlock()
	s.mux.ServeHTTP(&recorder{w, s, x}, r)
}

// recorder copies an answer before it is sent.
type recorder struct {
	http.ResponseWriter
	sim *Simulator // its mutex guards x
	x   *Exchange
}

// Unwrap lets http.ResponseController reach the connection.
func (c *recorder) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c *recorder) setOp(op string) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	c.x.Op = op
}

func (c *recorder) WriteHeader(status int) {
	c.record(status, nil)
	c.ResponseWriter.WriteHeader(status)
}

func (c *recorder) Write(p []byte) (int, error) {
	c.record(http.StatusOK, p)
	return c.ResponseWriter.Write(p)
}

func (c *recorder) record(status int, p []byte) {
	c.sim.mu.Lock()
	defer c.sim.mu.Unlock()
	if c.x.Status == 0 {
		c.x.Status, c.x.ResponseHeader = status, c.Header().Clone()
	}
	if left := maxRecorded - len(c.x.Response); left > 0 {
		c.x.Response = append(c.x.Response, p[:min(left, len(p))]...)
	}
}
