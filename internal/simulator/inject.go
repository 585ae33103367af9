package simulator

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// Fault makes calls go wrong. All fields may be combined; in this order:
// Before, Delay, the operation (or Cause in its place), After, DelayAnswer,
// Answer.
type Fault struct {
	// Op is the operation that is met, as in Call.Op; "" is every one.
	Op string `json:"op,omitempty"`
	// Times is how many calls are met; 0 is all until cleared.
	Times int `json:"times,omitempty"`
	// Skip is how many calls are let through before that.
	Skip int `json:"skip,omitempty"`

	// Delay waits before the operation, DelayAnswer after it. A client that hangs
	// up ends the wait, not the operation: ECGrid would carry it out too.
	Delay       time.Duration `json:"delay_ns,omitempty"`
	DelayAnswer time.Duration `json:"delay_answer_ns,omitempty"`
	// ApplyLate has a ChangePassword or GenerateAPIKey, and REST's, take effect so much
	// later than the call, whatever Cause or Answer says meanwhile and whether or not
	// the client waits. An answer that is the operation's own comes when it landed. Who
	// calls is judged when the call comes in, OldPassword when it lands; where it does
	// not match by then, nothing happens.
	ApplyLate time.Duration `json:"apply_late_ns,omitempty"`
	// JudgeEarly judges OldPassword when the call comes in too, and sets the new one
	// unasked when it lands.
	JudgeEarly bool `json:"judge_early,omitempty"`
	// Before and After run around the operation and may call the Simulator, or
	// block until a test is ready.
	Before func(*Simulator) `json:"-"`
	After  func(*Simulator) `json:"-"`

	// Cause refuses the call with an ECGrid fault, without carrying it out.
	Cause Cause `json:"cause,omitempty"`
	// Shape, Code and Message override the fault's shape, number and text.
	Shape   FaultShape `json:"shape,omitempty"`
	Code    int        `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`

	// Answer is how the answer is broken; "" is not at all.
	Answer Answer `json:"answer,omitempty"`
	// Apply carries the operation out even where Answer alone would not.
	Apply bool `json:"apply,omitempty"`
	// Status is the HTTP status of AnswerHTML, AnswerStatus and AnswerRedirect.
	Status int `json:"status,omitempty"`
	// Header is added to the answer, e.g. Retry-After or Set-Cookie.
	Header http.Header `json:"header,omitempty"`
	// URL is where AnswerRedirect points.
	URL string `json:"url,omitempty"`
	// Bytes is the size of AnswerHuge; 0 is 50 MB.
	Bytes int64 `json:"bytes,omitempty"`
	// Interval is the pause between two bytes of AnswerDrip, 0 is 100 ms; and between
	// the two answers of AnswerTwice, 0 is none.
	Interval time.Duration `json:"interval_ns,omitempty"`
	// Echo repeats the request in AnswerHTML and in the fault's text, as careless
	// servers do: a client must not let it reach a log.
	Echo bool `json:"echo,omitempty"`
}

// armed is a Fault and how often it may still be met.
type armed struct {
	Fault
	skip, left int
}

// Inject makes calls go wrong from now on; clear takes it back. Of several
// faults for one call the one injected first wins. It panics on names that are
// not in this package.
func (s *Simulator) Inject(f Fault) (clear func()) {
	if err := f.check(); err != nil {
		panic("simulator: " + err.Error())
	}
	a := &armed{Fault: f, skip: f.Skip, left: f.Times}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, a)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(other *armed) bool { return other == a })
	}
}

// ClearFaults takes back every fault.
func (s *Simulator) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (f Fault) check() error {
	if _, ok := breakers[f.Answer]; f.Answer != "" && !ok {
		return fmt.Errorf("no answer %q", f.Answer)
	}
	if _, ok := reasons[f.Cause]; f.Cause != "" && !ok {
		return fmt.Errorf("no cause %q", f.Cause)
	}
	if _, ok := details[f.Shape]; f.Shape != "" && !ok {
		return fmt.Errorf("no fault shape %q", f.Shape)
	}
	if f.ApplyLate > 0 && !mayLandLate(f.Op) {
		return fmt.Errorf("no late effect of %s: only of %v", f.Op, lateOps)
	}
	if f.Op != "" && operationByName(f.Op) == nil && !slices.Contains(restOps, f.Op) {
		return fmt.Errorf("no operation %q", f.Op)
	}
	return nil
}

// meet is the fault for this call, or nil, and uses it up by one.
func (s *Simulator) meet(op string) *Fault {
	for i, a := range s.faults {
		if a.Op != "" && a.Op != op {
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

// exchange is one call, SOAP or REST, between its parsing and its answer.
type exchange struct {
	op        string
	sessionID string
	ip        string
	body      []byte
	apply     func(landing) *reply
	fault     func(Cause, Fault) *reply
}

// perform carries a call out, with whatever fault awaits it.
func (s *Simulator) perform(w http.ResponseWriter, r *http.Request, x *exchange) {
	if rec, ok := w.(*recorder); ok {
		rec.named(x.op)
	}
	c := &Call{Op: x.op, Time: s.opts.Clock(), SessionID: x.sessionID, ClientIP: x.ip}
	s.mu.Lock()
	s.seen.begin(c)
	met := s.meet(x.op)
	c.Injected = met != nil
	s.mu.Unlock()

	// The call ends before its answer is sent: a client that has the answer must
	// find it counted, and its next call must not seem to overlap this one.
	end := func(refused Cause) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.seen.end(c, refused)
	}
	if met == nil {
		rep := x.apply(landing{})
		end(rep.cause)
		rep.send(w)
		return
	}
	s.misbehave(w, r, x, *met, end)
}

func (s *Simulator) misbehave(w http.ResponseWriter, r *http.Request, x *exchange, f Fault, end func(Cause)) {
	if f.Before != nil {
		f.Before(s)
	}
	wait(r, f.Delay)
	b, broken := breakers[f.Answer]
	rep, stays := s.replyTo(r, x, f, !broken || b.applies)
	if f.After != nil {
		f.After(s)
	}
	wait(r, f.DelayAnswer)
	end(rep.refusal())
	if !stays {
		return
	}
	for name, values := range f.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	if !broken {
		rep.send(w)
		return
	}
	b.write(w, r, f, rep, x)
}

// replyTo is what an injected call is answered with, carried out or not: nil where
// Answer needs nothing of it. The client does not stay where it left before there
// was an answer.
func (s *Simulator) replyTo(r *http.Request, x *exchange, f Fault, needed bool) (rep *reply, stays bool) {
	var landed <-chan *reply
	if f.ApplyLate > 0 {
		landed = s.applyLate(x, f)
	}
	switch {
	case f.Cause != "":
		return x.refuse(f), true
	case landed != nil && needed:
		rep = awaitLanding(r, landed)
		return rep, rep != nil
	case landed == nil && (needed || f.Apply):
		return x.apply(landing{}), true
	}
	return nil, true
}

// refuse is the answer of Fault.Cause.
func (x *exchange) refuse(f Fault) *reply {
	if f.Echo {
		f.Message = "Cannot process: " + string(x.body)
	}
	rep := x.fault(f.Cause, f)
	rep.cause = f.Cause
	return rep
}

// refusal is the cause an answer tells; no answer tells none.
func (rep *reply) refusal() Cause {
	if rep == nil {
		return ""
	}
	return rep.cause
}

func wait(r *http.Request, d time.Duration) {
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

func (rep *reply) send(w http.ResponseWriter) {
	rep.describe(w.Header())
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body) // a client that left is its own affair
}

func (rep *reply) describe(h http.Header) {
	h.Set("Content-Type", rep.contentType)
	h.Set("Cache-Control", "private, max-age=0")
}
