// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// rest is ECGrid's REST API v2.6.
type rest struct{}

func (p rest) prepare(s *Server, r *http.Request, q *request) (func() response, error) {
	apply, err := q.rest.prepare(s, q)
	if err != nil {
		return nil, err
	}
	return func() response {
		data, err := apply()
		if err != nil {
			return p.deny(s, r, q, err)
		}
		out := s.json(r, http.StatusOK, nil, s.success(data))
		if q.op == "Logout" && q.rest.bearer {
			out.before = func() { s.traffic.loggedOut(q) }
		}
		return out
	}, nil
}

func (rest) deny(s *Server, r *http.Request, q *request, err error) response {
	d := s.restDenial(err)
	if d.Status == http.StatusTooManyRequests {
		return s.retryLater(r, q, d)
	}
	out := s.json(r, d.Status, nil, s.failure(d.Code, q))
	if q != nil {
		out.before = func() { s.traffic.deny(q, d.Status) }
	}
	return out
}

// fail has Retry-After with each 429 and with some 503.
func (rest) fail(s *Server, r *http.Request, q *request, status int) response {
	if status == http.StatusTooManyRequests {
		return s.retryLater(r, q, RateLimited)
	}
	d := Denial{status, "InternalError"}
	if status == http.StatusServiceUnavailable && s.random.oneIn(2) {
		return s.retryLater(r, q, d)
	}
	return s.json(r, status, nil, s.failure(d.Code, q))
}

// retryLater sends Retry-After in seconds or as a date.
func (s *Server) retryLater(r *http.Request, q *request, d Denial) response {
	wait := s.rest.retryAfter()
	until := time.Now().Add(wait)
	value := strconv.Itoa(int(wait / time.Second))
	if s.rest.ServerClock == 0 && s.random.oneIn(2) {
		until = until.Add(time.Second - time.Nanosecond).Truncate(time.Second) // a date has no fractions
		value = until.UTC().Format(http.TimeFormat)
	}
	out := s.json(r, d.Status, []string{"Retry-After: " + value}, s.failure(d.Code, q))
	out.before = func() { s.traffic.postponed(q, until) }
	return out
}

// restDenials are the answers to Grid's errors. Others depend on the reading.
var restDenials = map[error]Denial{errNotFound: ObjectNotFound, errInvalid: InvalidParameter, errLevel: AccessDenied}

func (s *Server) restDenial(err error) Denial {
	var broken brokenRule
	var d Denial
	switch {
	case errors.As(err, &broken):
		return broken.answer
	case errors.As(err, &d):
		return d
	case errors.Is(err, errOldPassword):
		return cmp.Or(s.rest.WrongPassword, InvalidParameter)
	}
	return cmp.Or(restDenials[err], s.rest.Inaccessible, ObjectNotFound)
}

// success is the envelope of data.
func (s *Server) success(data any) object {
	out := object{{"success", true}}
	if data != (any)(absent{}) {
		out = append(out, member{"data", data})
	}
	for _, name := range []string{"errorCode", "message"} {
		switch s.rest.Codes {
		case Plain:
			out = append(out, member{name, ""})
		case Null:
			out = append(out, member{name, nil})
		}
	}
	return out
}

// failure is the envelope of an error. Its message may contain the credential, as those of
// some services do.
func (s *Server) failure(code string, q *request) object {
	message := pick(s.random, []string{"", "The request could not be completed.", code + ": 'Zoë' & <others> \"failed\""})
	if q != nil && s.random.oneIn(4) {
		secret := cmp.Or(q.rest.credential, q.args["Password"], q.args["SessionID"])
		message = fmt.Sprintf("%s: the credential %q was used for %s.", code, secret, q.op)
	}
	return object{{"success", false}, {"data", nil}, {"errorCode", code}, {"message", message}}
}
