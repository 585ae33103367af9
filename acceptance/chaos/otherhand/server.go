package otherhand

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	largest  = 1 << 20
	patience = 25 * time.Second // for how long a call is left hanging
)

// Server is a Grid behind TLS on a loopback port. It reads and writes HTTP itself,
// since most of what it does wrong is below net/http.
type Server struct {
	*Grid
	URL string
	CA  []byte // PEM

	dice *dice
	door *door
	tls  *tls.Config

	connMu  sync.Mutex // of what follows; Grid has its own
	conns   map[net.Conn]struct{}
	done    chan struct{}
	served  sync.WaitGroup
	tallied map[string]int
}

// Options of Start.
type Options struct {
	Limits Limits
	Users  []User
	Seed   uint64
}

// Start serves until Close.
func Start(o Options) (*Server, error) {
	authority, err := NewAuthority()
	if err != nil {
		return nil, err
	}
	pair, err := authority.Issue()
	if err != nil {
		return nil, err
	}
	d, err := newDoor()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Grid:    newGrid(o.Limits, o.Users),
		URL:     "https://" + d.addr + endpoint,
		CA:      authority.PEM,
		dice:    newDice(o.Seed),
		door:    d,
		tls:     &tls.Config{Certificates: []tls.Certificate{pair}},
		conns:   map[net.Conn]struct{}{},
		done:    make(chan struct{}),
		tallied: map[string]int{},
	}
	s.served.Go(s.accept)
	return s, nil
}

// Close ends all connections and waits for them.
func (s *Server) Close() {
	close(s.done)
	s.door.close()
	s.hangUp()
	s.served.Wait()
}

// Set changes how bad it is from now on.
func (s *Server) Set(r Rates) { s.dice.set(r) }

// Tally counts calls by operation, and what they met by name.
func (s *Server) Tally() map[string]int {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	all := map[string]int{}
	for k, n := range s.tallied {
		all[k] = n
	}
	return all
}

func (s *Server) tally(what string) {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	s.tallied[what]++
}

// Down takes the service away for d: connections are refused, or accepted and
// left hanging. What is open is reset.
func (s *Server) Down(d time.Duration, hang bool) {
	s.tally("down")
	s.Excuse(time.Time{})
	s.door.shut(hang)
	s.hangUp()
	select {
	case <-time.After(d):
	case <-s.done:
	}
	s.door.reopen()
}

func (s *Server) hangUp() {
	s.connMu.Lock()
	defer s.connMu.Unlock()
	for c := range s.conns {
		reset(c)
	}
}

func (s *Server) accept() {
	for {
		c, err := s.door.accept()
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
		body, err := io.ReadAll(io.LimitReader(r.Body, largest))
		if err != nil {
			return
		}
		ip, _, _ := net.SplitHostPort(raw.RemoteAddr().String())
		if !s.deliver(c, raw, s.answer(r, body, ip)) {
			return
		}
	}
}

// ending is what becomes of the connection after an answer.
type ending int

const (
	keep ending = iota
	fin
	hardReset
	swallow
)

// delivery is an answer on its way.
type delivery struct {
	parts [][]byte // written one after the other
	then  ending
}

func (s *Server) deliver(c *tls.Conn, raw net.Conn, d delivery) bool {
	for _, part := range d.parts {
		if _, err := c.Write(part); err != nil {
			return false
		}
	}
	switch d.then {
	case keep:
		return true
	case hardReset:
		reset(raw)
	case fin:
		_ = c.Close()
	case swallow:
		_ = raw.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, raw)
	}
	return false
}

func reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// answer decides what happens to a call, and does it.
func (s *Server) answer(r *http.Request, body []byte, ip string) delivery {
	req, err := read(r, body)
	if err != nil {
		s.violated(err.Error())
		return s.faulty(r, s.dice.denial(err))
	}
	req.ip = ip
	s.sent(req.args["SessionID"], req.args["Password"], req.args["OldPassword"], req.args["NewPassword"])
	f := s.dice.fate(changes[req.op])
	s.tally(req.op)
	s.tally(names[f.what])
	select {
	case <-time.After(f.latency):
	case <-s.done:
	}
	return misfortunes[f.what](s, r, req, f)
}

var names = map[misfortune]string{
	none: "as it should be", late: "landed late", lost: "answer lost", never: "never done", twice: "answered twice", silent: "connection silent after",
	serverFault: "server fault", unavailable: "503", page: "HTML", truncated: "truncated", kill: "session killed",
}

// misfortunes say what each of them does; every row either has the effect or not.
var misfortunes = map[misfortune]func(*Server, *http.Request, *request, fate) delivery{
	none: (*Server).proper,
	late: (*Server).landLate,
	lost: func(s *Server, r *http.Request, q *request, f fate) delivery {
		s.proper(r, q, f)
		return s.unanswered(q)
	},
	never:  func(s *Server, _ *http.Request, q *request, _ fate) delivery { s.undone(q); return s.noAnswer() },
	twice:  (*Server).answerTwice,
	silent: (*Server).thenSilent,
	serverFault: func(s *Server, r *http.Request, q *request, _ fate) delivery {
		s.undone(q)
		return s.faulty(r, s.dice.serverFault())
	},
	unavailable: (*Server).unavailable,
	page: func(s *Server, r *http.Request, q *request, _ fate) delivery {
		s.undone(q)
		return s.http(r, pick(s.dice, []int{200, 502, 500}), "text/html", []byte("<html><head><title>Maintenance</title></head><body>Back soon.<br></body></html>"))
	},
	truncated: (*Server).truncate,
	kill: func(s *Server, r *http.Request, q *request, f fate) delivery {
		s.killSession(q.args["SessionID"])
		return s.proper(r, q, f)
	},
}

func (s *Server) proper(r *http.Request, q *request, _ fate) delivery {
	do, err := handlers[q.op](s, q)
	if err != nil {
		return s.faulty(r, s.dice.denial(err))
	}
	results, err := do()
	if err != nil {
		return s.faulty(r, s.dice.denial(err))
	}
	q.results = results
	return s.http(r, http.StatusOK, "text/xml", s.dice.response(q.op, results...))
}

func (s *Server) landLate(r *http.Request, q *request, f fate) delivery {
	do, err := handlers[q.op](s, q)
	if err != nil {
		return s.faulty(r, s.dice.denial(err))
	}
	q.late = true
	s.later(f.late, func() { _, _ = do() }) // whoever asked is not told
	return s.noAnswer()
}

// unanswered notes a session that nobody can know of, and sends nothing.
func (s *Server) unanswered(q *request) delivery {
	if q.op == "Login" && len(q.results) > 0 {
		s.excuse(q.results[0].Value)
	}
	return s.noAnswer()
}

// undone notes a session that its holder tried to end in vain.
func (s *Server) undone(q *request) {
	if q.op == "Logout" {
		s.excuse(q.args["SessionID"])
	}
}

func (s *Server) noAnswer() delivery {
	return delivery{then: pick(s.dice, []ending{fin, hardReset, swallow})}
}

func (s *Server) answerTwice(r *http.Request, q *request, f fate) delivery {
	d := s.proper(r, q, f)
	whole := bytes.Join(d.parts, nil)
	d.parts = [][]byte{append(whole, whole...)} // in one write: both are there when the first is read
	return d
}

func (s *Server) thenSilent(r *http.Request, q *request, f fate) delivery {
	d := s.proper(r, q, f)
	d.then = swallow
	return d
}

func (s *Server) unavailable(r *http.Request, q *request, _ fate) delivery {
	s.undone(q)
	if s.dice.one(2) {
		return s.http(r, http.StatusServiceUnavailable, "text/xml", s.dice.faultBody(s.dice.serverFault()))
	}
	return s.http(r, http.StatusServiceUnavailable, "text/plain", []byte("Service Unavailable"))
}

func (s *Server) truncate(r *http.Request, q *request, f fate) delivery {
	d := s.proper(r, q, f)
	whole := bytes.Join(d.parts, nil)
	head := bytes.Index(whole, []byte("\r\n\r\n")) + 4
	s.unanswered(q)
	return delivery{parts: [][]byte{whole[:head+(len(whole)-head)/3]}, then: pick(s.dice, []ending{fin, hardReset})}
}

func (s *Server) faulty(r *http.Request, f fault) delivery {
	return s.http(r, http.StatusInternalServerError, "text/xml", s.dice.faultBody(f))
}

// http writes an answer with the habits of several servers.
func (s *Server) http(r *http.Request, status int, media string, body []byte) delivery {
	d := s.dice
	headers := []string{
		"Content-Type: " + media + pick(d, []string{"; charset=utf-8", ";charset=\"UTF-8\"", "; Charset=utf-8"}),
		"Cache-Control: private, max-age=0",
		"X-AspNet-Version: 4.0.30319",
		"Date: " + time.Now().UTC().Format(http.TimeFormat),
	}
	out := delivery{}
	if r.Close || d.one(25) {
		headers = append(headers, "Connection: close")
		out.then = fin
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && d.one(5) {
		headers = append(headers, "Content-Encoding: gzip")
		body = zipped(body)
	}
	chunked := d.one(3)
	if chunked {
		headers = append(headers, "transfer-encoding: chunked")
	} else {
		headers = append(headers, fmt.Sprintf("content-length: %d", len(body)))
	}
	d.mu.Lock()
	d.rng.Shuffle(len(headers), func(i, j int) { headers[i], headers[j] = headers[j], headers[i] })
	d.mu.Unlock()
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\n%s\r\n\r\n", status, http.StatusText(status), strings.Join(headers, "\r\n"))
	if !chunked {
		out.parts = [][]byte{append([]byte(head), body...)}
		return out
	}
	out.parts = [][]byte{[]byte(head)}
	for len(body) > 0 {
		n := min(len(body), 1+d.n(400))
		out.parts = append(out.parts, fmt.Appendf(nil, "%x\r\n%s\r\n", n, body[:n]))
		body = body[n:]
	}
	out.parts = append(out.parts, []byte("0\r\n\r\n"))
	return out
}

func zipped(body []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(body) // a buffer takes everything
	_ = w.Close()
	return b.Bytes()
}

// door is a listener on one port that can be shut and opened again.
type door struct {
	addr string

	mu     sync.Mutex
	l      net.Listener
	hang   bool
	closed bool
	opened *sync.Cond
}

func newDoor() (*door, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &door{addr: l.Addr().String(), l: l}
	d.opened = sync.NewCond(&d.mu)
	return d, nil
}

// accept waits for a connection that is to be served.
func (d *door) accept() (net.Conn, error) {
	var hung []net.Conn
	defer func() {
		for _, c := range hung {
			_ = c.Close()
		}
	}()
	for {
		l, err := d.listener()
		if err != nil {
			return nil, err
		}
		c, err := l.Accept()
		if err != nil {
			continue // shut, or closed: listener tells
		}
		if !d.hangs() {
			return c, nil
		}
		hung = append(hung, c)
	}
}

func (d *door) listener() (net.Listener, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.l == nil && !d.closed {
		d.opened.Wait()
	}
	if d.closed {
		return nil, errors.New("closed")
	}
	return d.l, nil
}

func (d *door) hangs() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hang
}

func (d *door) shut(hang bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hang = hang; hang || d.l == nil {
		return
	}
	_ = d.l.Close()
	d.l = nil
}

func (d *door) reopen() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hang = false
	for tries := 0; d.l == nil && !d.closed && tries < 100; tries++ {
		l, err := net.Listen("tcp", d.addr)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // an outgoing connection may have taken the port for a moment
			continue
		}
		d.l = l
	}
	d.opened.Broadcast()
}

func (d *door) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.l != nil {
		_ = d.l.Close()
	}
	d.opened.Broadcast()
}
