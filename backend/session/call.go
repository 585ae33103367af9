// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"fmt"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Call is one call to ECGrid.
type Call func(ctx context.Context, c ecgrid.Credential) error

// Use runs call with the credential of a live session, or with the API key. If the
// session is dead, Use opens another and repeats the call once.
func (s *Session) Use(ctx context.Context, call Call) error {
	s.beginRequest()
	defer s.endRequest()
	dead, _, err := s.callOnce(ctx, call)
	if !dead || s.APIKey != "" {
		return err
	}
	if dead, _, err = s.callOnce(ctx, call); !dead || s.Classify(err).Inconclusive {
		return err
	}
	return ecgrid.ErrSessionExpired // the fault of a dead session has no other meaning
}

// UseOnce runs a call that must not be repeated, and returns the call's own error.
// Begun is false if the call was never made.
func (s *Session) UseOnce(ctx context.Context, call Call) (begun bool, err error) {
	s.beginRequest()
	defer s.endRequest()
	var own error
	_, begun, err = s.callOnce(ctx, func(ctx context.Context, c ecgrid.Credential) error {
		own = call(ctx, c)
		return own
	})
	if begun {
		return true, own
	}
	return false, err
}

// Verify tries the credential: it logs in and keeps the session open, or calls WhoAmI
// with an API key. FromWrite is set for the credential of a config write. Only its own
// failed Logins can pause it.
func (s *Session) Verify(ctx context.Context, fromWrite bool) error {
	s.fromWrite.Store(fromWrite)
	defer s.fromWrite.Store(false)
	err := s.Use(ctx, s.WhoAmI)
	if s.APIKey == "" && s.isOpen() { // the Login worked, even if WhoAmI failed
		return nil
	}
	return err
}

func (s *Session) isOpen() bool { return !s.isCurrent(nil) }

func (s *Session) isCurrent(open *openSession) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current == open
}

// WhoAmI is a Call that succeeds if the session or the API key is alive.
func (s *Session) WhoAmI(ctx context.Context, c ecgrid.Credential) error {
	_, err := s.Client.WhoAmI(ctx, c)
	return err
}

// callOnce runs call with the shared session, and drops the session if it is dead.
func (s *Session) callOnce(ctx context.Context, call Call) (dead, begun bool, err error) {
	open := s.apiKey
	for !begun {
		if s.apiKey == nil {
			if open, err = s.acquire(ctx); err != nil {
				return false, false, err
			}
		}
		err = s.limit(ctx, func() error {
			if begun = s.beginCall(open); !begun { // it ended during the wait
				return nil
			}
			defer s.endCall(open)
			return call(ctx, open.credential)
		})
		if err != nil && !begun {
			return false, false, err
		}
	}
	state := sessionAlive
	if err != nil {
		state, err = s.checkLiveness(ctx, open.credential, err)
	}
	switch {
	case state == sessionAlive:
		s.setWorked(open)
	case state == sessionDead && s.apiKey == nil:
		s.drop(open)
	case state == sessionDead && !s.Classify(err).Inconclusive:
		err = fmt.Errorf("%w (api_key)", ErrRefused)
	}
	return state == sessionDead, true, err
}

// limit runs do when fewer than MaxConcurrent calls are in progress.
func (s *Session) limit(ctx context.Context, do func() error) error {
	if err := s.calls.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.calls.Release(1)
	return do()
}

// liveness is the state of a session after a call.
type liveness int

const (
	sessionUnconfirmed liveness = iota
	sessionAlive
	sessionDead
)

// checkLiveness tells whether a call failed because its session is dead. If the
// failure is unclear, it asks WhoAmI. It does so for a new session too, which is dead
// if Vault's egress address changes. The error is the call's, or WhoAmI's if the state
// is unconfirmed: then the call's fault may be that of a dead session.
func (s *Session) checkLiveness(ctx context.Context, c ecgrid.Credential, err error) (liveness, error) {
	verdict := s.Classify(err)
	switch {
	case verdict.Dead:
		return sessionDead, err
	case !verdict.MaybeDead:
		return sessionUnconfirmed, err
	}
	probeErr := s.limit(ctx, func() error { return s.WhoAmI(ctx, c) })
	if probeErr == nil {
		return sessionAlive, err
	}
	if v := s.Classify(probeErr); v.Refusal || v.Inconclusive {
		return sessionDead, err
	}
	return sessionUnconfirmed, probeErr
}

// setWorked records the first successful call with a session.
func (s *Session) setWorked(o *openSession) {
	s.mu.Lock()
	known := o.worked
	o.worked = true
	s.mu.Unlock()
	if !known {
		s.Ledger.callSucceeded(o.entry)
	}
}

func (s *Session) beginRequest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
}

func (s *Session) endRequest() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests--
	if s.requests > 0 {
		return
	}
	if s.drained != nil {
		close(s.drained)
		s.drained = nil
	}
	s.scheduleIdleLogout()
}
