// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// LogEntry is a request as it is logged. It has no credential, and nothing that a request
// sent as text.
type LogEntry struct {
	Time time.Time
	// Transport and Op are "" if the request was no call: for the WSDL, an admin endpoint,
	// or one that violates the WSDL or the REST documentation.
	Transport, Op string
	// Route is the method and path that a request which was no call matched, "" for none.
	Route string
	// UserID is the user that logs in, or whose credential was sent; 0 is an unknown one.
	UserID int32
	// Status is the HTTP status; 0 is no answer, or one that a Fault wrote as raw bytes.
	Status int
	// Outcome is "ok", a Cause, "bad-request", or "none" if a Fault has kept the operation
	// from being applied.
	Outcome string
	// Fault is the Answer or Cause of the Fault that matched, "timing" for one with
	// neither, or "".
	Fault    string
	Duration time.Duration
}

// String is a line of key=value pairs without its end.
func (e LogEntry) String() string {
	var b strings.Builder
	add := func(name, value string) { fmt.Fprintf(&b, " %s=%s", name, cmp.Or(value, "-")) }
	b.WriteString("time=" + e.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	if e.Op != "" {
		add("transport", e.Transport)
		add("op", e.Op)
	} else {
		add("route", strings.ReplaceAll(e.Route, " ", ":"))
	}
	add("user", numberOrNone(int(e.UserID)))
	add("status", numberOrNone(e.Status))
	add("outcome", e.Outcome)
	if e.Fault != "" {
		add("fault", e.Fault)
	}
	add("ms", fmt.Sprintf("%.1f", float64(e.Duration)/float64(time.Millisecond)))
	return b.String()
}

func numberOrNone(n int) string {
	if n == 0 {
		return ""
	}
	return itoa(n)
}

type logKey struct{}

// logEntryOf returns nil if there is no log.
func logEntryOf(r *http.Request) *LogEntry {
	e, _ := r.Context().Value(logKey{}).(*LogEntry)
	return e
}

func (s *Simulator) serveLogged(w http.ResponseWriter, r *http.Request) {
	e := &LogEntry{Time: s.opts.Clock()}
	started := time.Now()
	r = r.WithContext(context.WithValue(r.Context(), logKey{}, e))
	counted := &statusWriter{ResponseWriter: w}
	defer func() { // a Fault may panic, to cut the connection
		e.Duration, e.Status = time.Since(started), counted.status
		if e.Op == "" {
			e.Route = r.Pattern
			e.Outcome = "ok"
			if e.Status >= http.StatusBadRequest {
				e.Outcome = "bad-request"
			}
		}
		s.opts.Log(*e)
	}()
	s.route(counted, r)
}

// beginEntry does nothing without a log, like end. The caller holds mu.
func (s *Simulator) beginEntry(e *LogEntry, x *request, f *Fault) {
	if e == nil {
		return
	}
	e.Transport, e.Op, e.UserID = x.transport, x.op, s.callerOf(x)
	if f != nil {
		e.Fault = cmp.Or(string(f.Answer), string(f.Cause), "timing")
	}
}

func (e *LogEntry) end(rep *reply) {
	switch {
	case e == nil:
	case rep == nil:
		e.Outcome = "none"
	default:
		e.Outcome = cmp.Or(string(rep.cause), "ok")
	}
}

// callerOf returns 0 if the user is not known.
func (s *Simulator) callerOf(x *request) int32 {
	if a := s.userByLogin(x.login); x.login != "" && a != nil {
		return a.UserID
	}
	if a := s.userByKey(x.sessionID); x.sessionID != "" && a != nil {
		return a.UserID
	}
	if n := s.sessions[x.sessionID]; n != nil {
		return n.user.UserID
	}
	return 0
}

// statusWriter keeps the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) WriteHeader(status int) {
	w.status = cmp.Or(w.status, status)
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}
