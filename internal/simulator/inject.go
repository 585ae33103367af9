// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Fault makes calls fail. All fields can be combined. They apply in this order: Before,
// Delay, the operation (or Cause in its place), After, DelayAnswer, Answer.
type Fault struct {
	// Op is an operation, as in Call.Op; "" is every operation.
	Op string `json:"op,omitempty"`
	// Transport limits the fault to TransportSOAP or TransportREST; "" is both.
	Transport string `json:"transport,omitempty"`
	// Times is how many calls fail; 0 is all until the fault is cleared.
	Times int `json:"times,omitempty"`
	// Skip is how many calls succeed before that.
	Skip int `json:"skip,omitempty"`

	// Delay waits before the operation, DelayAnswer after it. If the client hangs up, the
	// wait ends and the operation is applied, as at ECGrid.
	Delay       time.Duration `json:"delay_ns,omitempty"`
	DelayAnswer time.Duration `json:"delay_answer_ns,omitempty"`
	// ApplyLate applies a ChangePassword or GenerateAPIKey so much later than the call,
	// whatever Cause or Answer say, and even if the client hangs up. The right answer is
	// sent when the change is applied. The caller is checked when the call arrives,
	// OldPassword when the change is applied: if it does not match then, nothing changes.
	ApplyLate time.Duration `json:"apply_late_ns,omitempty"`
	// CheckEarly checks OldPassword when the call arrives, and not when the change is
	// applied.
	CheckEarly bool `json:"check_early,omitempty"`
	// Before and After run around the operation. They may call the Simulator, and may
	// block.
	Before func(*Simulator) `json:"-"`
	After  func(*Simulator) `json:"-"`

	// Cause refuses the call with an ECGrid fault, over REST with an error. The operation
	// is not applied.
	Cause Cause `json:"cause,omitempty"`
	// Shape and Code override the shape and number of a SOAP fault, ErrorCode overrides
	// the errorCode of REST, and Message the text of both.
	Shape     FaultShape `json:"shape,omitempty"`
	Code      int        `json:"code,omitempty"`
	ErrorCode string     `json:"error_code,omitempty"`
	Message   string     `json:"message,omitempty"`

	// Answer is a bad answer; "" is the right one.
	Answer Answer `json:"answer,omitempty"`
	// Apply applies the operation even if Answer alone would not.
	Apply bool `json:"apply,omitempty"`
	// Status is the HTTP status of AnswerHTML, AnswerStatus and AnswerRedirect, and over
	// REST of a Cause: 200 is an error that says success false.
	Status int `json:"status,omitempty"`
	// Header is added to the answer, e.g. Retry-After or Set-Cookie.
	Header http.Header `json:"header,omitempty"`
	// URL is the target of AnswerRedirect.
	URL string `json:"url,omitempty"`
	// Bytes is the size of AnswerHuge; 0 is 50 MB.
	Bytes int64 `json:"bytes,omitempty"`
	// Interval is the pause between two bytes of AnswerDrip (0 is 100 ms), and between
	// the two answers of AnswerTwice (0 is none).
	Interval time.Duration `json:"interval_ns,omitempty"`
	// Echo repeats the request in AnswerHTML and in the text of a fault: over SOAP its
	// body, over REST also its credential. A client must not log it.
	Echo bool `json:"echo,omitempty"`
}

// activeFault is an injected Fault with its remaining counts.
type activeFault struct {
	Fault
	skip, left int
}

// Inject makes calls fail from now on, until clear is called. If several faults match a
// call, the one injected first counts. Inject panics on unknown names.
func (s *Simulator) Inject(f Fault) (clear func()) {
	if err := f.check(); err != nil {
		panic("simulator: " + err.Error())
	}
	a := &activeFault{Fault: f, skip: f.Skip, left: f.Times}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(other *activeFault) bool { return other == a })
	}
}

// ClearFaults clears all faults.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (f Fault) check() error {
	if _, ok := answerByName(f.Answer); f.Answer != "" && !ok {
		return fmt.Errorf("unknown answer %q", f.Answer)
	}
	if _, ok := errorInfos[f.Cause]; f.Cause != "" && !ok {
		return fmt.Errorf("unknown cause %q", f.Cause)
	}
	if _, ok := detailWriters[f.Shape]; f.Shape != "" && !ok {
		return fmt.Errorf("unknown fault shape %q", f.Shape)
	}
	if f.ApplyLate > 0 && !canBeLate(f.Op) {
		return fmt.Errorf("%s cannot be applied late: only %v can", f.Op, lateOps)
	}
	if !slices.Contains([]string{"", TransportSOAP, TransportREST}, f.Transport) {
		return fmt.Errorf("unknown transport %q", f.Transport)
	}
	overREST := f.Op == opRefresh && f.Transport != TransportSOAP
	if f.Op != "" && operationByName(f.Op) == nil && !overREST {
		return fmt.Errorf("unknown operation %q", f.Op)
	}
	return nil
}

func (f *Fault) matches(op, transport string) bool {
	return (f.Op == "" || f.Op == op) && (f.Transport == "" || f.Transport == transport)
}

// takeFault returns the fault for this call, or nil, and counts its use.
func (s *Simulator) takeFault(op, transport string) *Fault {
	for i, a := range s.faults {
		if !a.matches(op, transport) {
			continue
		}
		if a.skip > 0 {
			a.skip--
			continue
		}
		if a.Times > 0 {
			a.left--
		}
		if a.Times > 0 && a.left == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return &a.Fault
	}
	return nil
}

// The values of Call.Transport and Fault.Transport.
const (
	TransportSOAP = "soap"
	TransportREST = "rest"
)

// request is a parsed call, SOAP or REST.
type request struct {
	op        string
	transport string
	sessionID string
	login     string         // the LoginName of a Login
	cred      restCredential // over REST
	ip        string
	echo      []byte // for Fault.Echo
	apply     func(timing) *reply
	fault     func(Cause, Fault) *reply
}

// handle applies a call, or its fault, and sends the answer.
func (s *Simulator) handle(w http.ResponseWriter, r *http.Request, x *request) {
	if rec, ok := w.(*recorder); ok {
		rec.setOp(x.op)
	}
	entry := logEntryOf(r)
	c := &Call{Op: x.op, Transport: x.transport, Time: s.opts.Clock(), SessionID: x.sessionID, ClientIP: x.ip}
	s.mu.Lock()
	s.journal.begin(c)
	fault := s.takeFault(x.op, x.transport)
	c.Injected = fault != nil
	s.beginEntry(entry, x, fault)
	s.mu.Unlock()

	// The call ends before its answer is sent. A client that has the answer finds it
	// counted, and its next call does not overlap.
	end := func(rep *reply) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.journal.end(c, rep.refusedFor())
		entry.end(rep)
	}
	sleep(r, s.opts.Latency.next())
	if fault == nil {
		rep := x.apply(timing{})
		end(rep)
		rep.send(w)
		return
	}
	s.handleWithFault(w, r, x, *fault, end)
}

func (s *Simulator) handleWithFault(w http.ResponseWriter, r *http.Request, x *request, f Fault, end func(*reply)) {
	if f.Before != nil {
		f.Before(s)
	}
	sleep(r, f.Delay)
	bad, isBad := answerByName(f.Answer)
	rep, stays := s.faultReply(r, x, f, !isBad || bad.applies)
	if f.After != nil {
		f.After(s)
	}
	sleep(r, f.DelayAnswer)
	end(rep)
	if !stays {
		return
	}
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if !isBad {
		rep.send(w)
		return
	}
	badAnswer{w, r, x, f, rep}.write(bad)
}

// faultReply is the answer of a call with a fault, or nil if Answer needs none. stays is
// false if the client hung up before there was an answer.
func (s *Simulator) faultReply(r *http.Request, x *request, f Fault, needed bool) (rep *reply, stays bool) {
	var late <-chan *reply
	if f.ApplyLate > 0 {
		if late = s.applyLate(x, f); late == nil {
			f.Cause = SystemError
		}
	}
	switch {
	case f.Cause != "":
		return x.refusal(f), true
	case late != nil && needed:
		rep = awaitReply(r, late)
		return rep, rep != nil
	case late == nil && (needed || f.Apply):
		return x.apply(timing{}), true
	}
	return nil, true
}

// refusal is the answer for Fault.Cause.
func (x *request) refusal(f Fault) *reply {
	if f.Echo {
		f.Message = "Cannot process: " + string(x.echo)
	}
	rep := x.fault(f.Cause, f)
	rep.cause = f.Cause
	return rep
}

func sleep(r *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}
