// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

// protocol is how requests are read and answered: SOAP or REST.
type protocol interface {
	read(s *Server, r *http.Request, body []byte) (*request, error)
	// prepare checks a request when it arrives. What it returns applies the request and
	// formats the answer, and may be called later.
	prepare(s *Server, r *http.Request, q *request) (apply func() response, err error)
	// deny answers an error of Grid or a violation. q is nil for a violation.
	deny(s *Server, r *http.Request, q *request, err error) response
	// fail answers with a failure of ECGrid's own.
	fail(s *Server, r *http.Request, q *request, status int) response
}

func protocolOf(r *http.Request) protocol {
	if r.URL.Path == restBase || strings.HasPrefix(r.URL.Path, restBase+"/") {
		return rest{}
	}
	return soap{}
}

// answer carries out a call, or lets it fail at random.
func (s *Server) answer(r *http.Request, body []byte, ip string) response {
	via, arrived := protocolOf(r), time.Now()
	req, err := via.read(s, r, body)
	if err != nil {
		s.addViolation(err.Error())
		return via.deny(s, r, nil, err)
	}
	req.ip, req.via, req.arrived = ip, via, arrived
	s.addSecrets(req.args["SessionID"], req.args["Password"], req.args["OldPassword"], req.args["NewPassword"])
	o := s.random.outcome(isChange[req.op])
	s.count(req.op)
	s.count(failureNames[o.failure])
	select {
	case <-time.After(o.latency):
	case <-s.done:
	}
	answer := failures[o.failure](s, r, req, o)
	s.orphanInFlight(req)
	return answer
}

var failureNames = map[failure]string{
	none: "no failure", late: "applied late", lost: "answer lost", never: "never applied", twice: "answered twice", silent: "connection silent after",
	serverFault: "server fault", unavailable: "503", page: "HTML", truncated: "truncated", kill: "session killed",
	limited: "rate limited",
}

// failures answers a call for each failure. Some apply the call, some do not.
var failures = map[failure]func(*Server, *http.Request, *request, outcome) response{
	none: (*Server).answerNormally,
	late: (*Server).applyLate,
	lost: func(s *Server, r *http.Request, q *request, o outcome) response {
		s.answerNormally(r, q, o)
		return s.loseAnswer(q)
	},
	never:  func(s *Server, _ *http.Request, q *request, _ outcome) response { s.notApplied(q); return s.noAnswer() },
	twice:  (*Server).answerTwice,
	silent: (*Server).goSilent,
	serverFault: func(s *Server, r *http.Request, q *request, _ outcome) response {
		s.notApplied(q)
		return q.via.fail(s, r, q, http.StatusInternalServerError)
	},
	unavailable: (*Server).unavailable,
	limited: func(s *Server, r *http.Request, q *request, _ outcome) response {
		s.notApplied(q)
		return q.via.fail(s, r, q, http.StatusTooManyRequests)
	},
	page: func(s *Server, r *http.Request, q *request, _ outcome) response {
		s.notApplied(q)
		return s.http(r, pick(s.random, []int{200, 502, 500}), "text/html", []byte("<html><head><title>Maintenance</title></head><body>Back soon.<br></body></html>"))
	},
	truncated: (*Server).truncate,
	kill: func(s *Server, r *http.Request, q *request, o outcome) response {
		s.killSession(q.args["SessionID"])
		return s.answerNormally(r, q, o)
	},
}

func (s *Server) answerNormally(r *http.Request, q *request, _ outcome) response {
	apply, err := q.via.prepare(s, r, q)
	if err != nil {
		return q.via.deny(s, r, q, err)
	}
	return apply()
}

func (s *Server) applyLate(r *http.Request, q *request, o outcome) response {
	apply, err := q.via.prepare(s, r, q)
	if err != nil {
		return q.via.deny(s, r, q, err)
	}
	q.late = true
	s.applyAfter(o.late, func() { _ = apply() }) // the caller does not learn the result
	return s.noAnswer()
}

// loseAnswer marks the session that a call opened as orphaned, and sends nothing.
func (s *Server) loseAnswer(q *request) response {
	s.orphan(q.opened)
	return s.noAnswer()
}

// notApplied marks the session of a failed Logout as orphaned.
func (s *Server) notApplied(q *request) {
	if q.op == "Logout" {
		s.orphan(q.args["SessionID"])
	}
}

func (s *Server) noAnswer() response {
	return response{then: pick(s.random, []ending{closeNormally, hardReset, swallow})}
}

func (s *Server) answerTwice(r *http.Request, q *request, o outcome) response {
	d := s.answerNormally(r, q, o)
	whole := bytes.Join(d.parts, nil)
	d.parts = [][]byte{append(whole, whole...)} // one write: both have arrived when the first is read
	return d
}

func (s *Server) goSilent(r *http.Request, q *request, o outcome) response {
	d := s.answerNormally(r, q, o)
	d.then = swallow
	return d
}

func (s *Server) unavailable(r *http.Request, q *request, _ outcome) response {
	s.notApplied(q)
	if s.random.oneIn(2) {
		return q.via.fail(s, r, q, http.StatusServiceUnavailable)
	}
	return s.http(r, http.StatusServiceUnavailable, "text/plain", []byte("Service Unavailable"))
}

func (s *Server) truncate(r *http.Request, q *request, o outcome) response {
	d := s.answerNormally(r, q, o)
	whole := bytes.Join(d.parts, nil)
	head := bytes.Index(whole, []byte("\r\n\r\n")) + 4
	s.loseAnswer(q)
	return response{parts: [][]byte{whole[:head+(len(whole)-head)/3]}, then: pick(s.random, []ending{closeNormally, hardReset})}
}

type soap struct{}

func (soap) read(_ *Server, r *http.Request, body []byte) (*request, error) { return read(r, body) }

func (p soap) prepare(s *Server, r *http.Request, q *request) (func() response, error) {
	apply, err := handlers[q.op](s, q)
	if err != nil {
		return nil, err
	}
	return func() response {
		results, err := apply()
		if err != nil {
			return p.deny(s, r, q, err)
		}
		return s.http(r, http.StatusOK, "text/xml", s.random.result(q.op, results...))
	}, nil
}

func (soap) deny(s *Server, r *http.Request, _ *request, err error) response {
	return s.http(r, http.StatusInternalServerError, "text/xml", s.random.faultBody(s.random.denial(err)))
}

// fail knows no rate limit: SOAP has none.
func (soap) fail(s *Server, r *http.Request, _ *request, status int) response {
	if status == http.StatusTooManyRequests {
		status = http.StatusServiceUnavailable
	}
	return s.http(r, status, "text/xml", s.random.faultBody(s.random.serverFault()))
}
