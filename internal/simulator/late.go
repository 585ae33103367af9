package simulator

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// lateOps are the operations whose effect may land after their call.
var lateOps = []string{"ChangePassword", "GenerateAPIKey", RESTPassword, RESTKeyGenerate}

// landing is when a change takes effect; the zero value is at once.
type landing struct {
	after time.Duration
	early bool   // judged when the call came in, not when it lands
	taken func() // tells that the call has been taken: now it lands, whoever has left
}

// land waits for the landing, with the simulator unlocked.
func (s *Simulator) land(l landing) {
	if l.after <= 0 {
		return
	}
	l.taken()
	s.mu.Unlock()
	defer s.mu.Lock()
	time.Sleep(l.after)
}

// generateKey gives a user a new key when it lands.
func (s *Simulator) generateKey(a *account, l landing) (string, Cause) {
	s.land(l)
	if s.users[a.UserID] != a {
		return "", NotFound
	}
	return s.replaceKey(a), ""
}

// changePassword compares and sets: both when it lands, or the comparison before.
func (s *Simulator) changePassword(a *account, old, password string, l landing) Cause {
	if !l.early {
		s.land(l)
	}
	if old != a.Password || s.users[a.UserID] != a {
		return AccessDenied
	}
	if !PasswordAllowed(password) {
		return InvalidParameter
	}
	if l.early {
		s.land(l)
	}
	s.change(a, func() { a.Password = password })
	return ""
}

// applyLate takes a call and has it land by itself. What it answers comes from the
// channel, which nobody has to read.
func (s *Simulator) applyLate(x *exchange, f Fault) <-chan *reply {
	s.underWay(1)
	taken, landed := make(chan struct{}), make(chan *reply, 1)
	take := sync.OnceFunc(func() { close(taken) })
	go func() {
		rep := x.apply(landing{after: f.ApplyLate, early: f.JudgeEarly, taken: take})
		take() // an operation that was refused, or is never late
		s.underWay(-1)
		landed <- rep
	}()
	<-taken
	return landed
}

func (s *Simulator) underWay(change int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen.landing += change
	s.seen.notify()
}

// awaitLanding is the answer once it is known; nil where the client left before.
func awaitLanding(r *http.Request, landed <-chan *reply) *reply {
	select {
	case rep := <-landed:
		return rep
	case <-r.Context().Done():
		return nil
	}
}

func mayLandLate(op string) bool { return op == "" || slices.Contains(lateOps, op) }
