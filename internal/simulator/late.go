// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"net/http"
	"slices"
	"sync"
	"time"
)

// lateOps can be applied after their call.
var lateOps = []string{"ChangePassword", "GenerateAPIKey"}

// timing says when a change is applied. The zero value is at once.
type timing struct {
	after time.Duration
	early bool   // the old password is checked when the call arrives
	taken func() // called when the call is accepted
}

// delayEffect waits with the simulator unlocked.
func (s *Simulator) delayEffect(l timing) {
	if l.after <= 0 {
		return
	}
	l.taken()
	s.mu.Unlock()
	defer s.mu.Lock()
	time.Sleep(l.after)
}

// generateKey replaces a user's key.
func (s *Simulator) generateKey(a *account, l timing) (string, Cause) {
	s.delayEffect(l)
	if s.users[a.UserID] != a {
		return "", NotFound
	}
	return s.replaceKey(a), ""
}

// changePassword compares and sets.
func (s *Simulator) changePassword(a *account, old, password string, l timing) Cause {
	if !l.early {
		s.delayEffect(l)
	}
	if old != a.Password || s.users[a.UserID] != a {
		return AccessDenied
	}
	if !PasswordAllowed(password) {
		return InvalidParameter
	}
	if l.early {
		s.delayEffect(l)
	}
	s.changeAccount(a, func() { a.Password = password })
	return ""
}

// maxLanding bounds the changes that wait for their time.
const maxLanding = 1000

// applyLate applies a call in the background. The channel gets its answer and need not be
// read. It is nil if too many changes wait.
func (s *Simulator) applyLate(x *request, f Fault) <-chan *reply {
	if !s.countLanding(1) {
		return nil
	}
	taken, done := make(chan struct{}), make(chan *reply, 1)
	take := sync.OnceFunc(func() { close(taken) })
	go func() {
		rep := x.apply(timing{after: f.ApplyLate, early: f.CheckEarly, taken: take})
		take() // the operation was refused, or cannot be late
		s.countLanding(-1)
		done <- rep
	}()
	<-taken
	return done
}

// countLanding returns false, and counts nothing, if there would be too many.
func (s *Simulator) countLanding(change int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.landing+change > maxLanding {
		return false
	}
	s.journal.landing += change
	s.journal.notify()
	return true
}

// awaitReply returns nil if the client hangs up first.
func awaitReply(r *http.Request, done <-chan *reply) *reply {
	select {
	case rep := <-done:
		return rep
	case <-r.Context().Done():
		return nil
	}
}

func canBeLate(op string) bool { return op == "" || slices.Contains(lateOps, op) }
