package ecgrid

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

// rollback is what Vault does about once a minute, and with what is in the
// write-ahead log no matter how young it is.
func (m *testMount) rollback() (*logical.Response, error) {
	return m.backend.HandleRequest(m.t.Context(), &logical.Request{
		Operation: logical.RollbackOperation,
		Data:      map[string]any{"immediate": true},
		Storage:   m.storage,
	})
}

func (m *testMount) initialize() error {
	return m.backend.Initialize(m.t.Context(), &logical.InitializationRequest{Storage: m.storage})
}

// settlers are the ways in which a rotate-root that did not end is settled; alive
// tells those that can be the first thing to happen in the same process.
var settlers = map[string]struct {
	alive  bool
	settle func(m *testMount) error
}{
	"a rollback": {true, func(m *testMount) error {
		resp, err := m.rollback()
		if err == nil && resp.IsError() {
			err = resp.Error()
		}
		return err
	}},
	"initialize": {false, (*testMount).initialize},
	"a read": {false, func(m *testMount) error {
		_, err := m.do(logical.ReadOperation, "keys/5001", nil)
		return err
	}},
	"a write to config": {true, func(m *testMount) error {
		_, err := m.do(logical.UpdateOperation, "config", map[string]any{fieldTTL: "1h"})
		return err
	}},
	"a rotate-root": {true, func(m *testMount) error {
		_, err := m.do(logical.UpdateOperation, "rotate-root", nil)
		return err
	}},
}

// broken runs a rotate-root in which something goes wrong, and then what settles
// it; it tells whether it came to that.
func (m *testMount) broken(arm func(), came func() bool, settler string) bool {
	m.t.Helper()
	old := m.user(simulator.AdminUserID).Password
	arm()
	resp, err := m.do(logical.UpdateOperation, "rotate-root", nil)
	broke := came()
	m.noSecrets(resp, err)
	changed := m.user(simulator.AdminUserID).Password != old
	dead := m.process.isDead()
	switch status := statusOf(resp, err); {
	case dead:
	case status == http.StatusOK && !changed:
		m.t.Error("a password that was not rotated is said to be")
	case status >= 400 && status < 500 && status != http.StatusConflict && changed:
		m.t.Errorf("a password that was rotated is said not to be: %v", err)
	}
	if !broke && !changed {
		m.t.Errorf("nothing went wrong and nothing was done: %v", err)
	}
	if n := m.sim.Count("ChangePassword"); n > 1 {
		m.t.Errorf("ChangePassword was called %d times", n)
	}
	if dead || !settlers[settler].alive {
		m.restart()
	}
	if err := settlers[settler].settle(m); err != nil {
		m.t.Errorf("%s: %v", settler, err)
	}
	m.settled()
	m.restart()
	m.settled()
	if n := m.sim.State().RefusedLogins; n > 1 || n > 0 && changed {
		m.t.Errorf("%d refused logins", n)
	}
	if changed && m.stored().Root.Last.IsZero() {
		m.t.Error("a rotation is not remembered")
	}
	return broke
}

// Every write to storage goes wrong in every way, until there is none left.
func TestRotateRootStorageCrashes(t *testing.T) {
	t.Parallel()
	for _, how := range mishaps {
		for settler := range settlers {
			t.Run(fmt.Sprintf("%s, then %s", how, settler), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					m := newTestMount(t)
					m.configure(nil)
					m.must(logical.ReadOperation, "keys/5001", nil)
					if !m.broken(func() { m.process.breakAt(n, how) }, m.process.heal, settler) {
						if n < 4 {
							t.Errorf("only %d writes to break", n-1)
						}
						return
					}
				}
			})
		}
	}
}

// upsets are the ways in which a call to ECGrid goes wrong.
var upsets = map[string]func(m *testMount) simulator.Fault{
	"is cut before it is carried out": func(*testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerReset}
	},
	"is carried out and its answer lost": func(*testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerResetAfter}
	},
	"is cut, and all after it": func(*testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerReset, After: silence}
	},
	"is carried out, and then there is silence": func(*testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerResetAfter, After: silence}
	},
	"fails": func(*testMount) simulator.Fault {
		return simulator.Fault{Cause: simulator.SystemError, Echo: true}
	},
	"is carried out and answered with nonsense": func(*testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerHTML, Apply: true, Echo: true}
	},
	"kills the plugin before it is carried out": func(m *testMount) simulator.Fault {
		return simulator.Fault{Answer: simulator.AnswerReset, Before: func(*simulator.Simulator) { m.process.kill() }}
	},
	"kills the plugin when it is carried out": func(m *testMount) simulator.Fault {
		return simulator.Fault{After: func(*simulator.Simulator) { m.process.kill() }}
	},
	"kills the plugin and storage goes down": func(m *testMount) simulator.Fault {
		return simulator.Fault{After: func(*simulator.Simulator) { m.process.breakAt(1, killedBefore) }}
	},
}

// silence is an ECGrid that cuts every connection from now on.
func silence(s *simulator.Simulator) { s.Inject(simulator.Fault{Answer: simulator.AnswerReset}) }

// upset makes the call after skip others go wrong, whichever it is; came tells
// whether there was such a call, and ends all faults.
func (m *testMount) upset(how string, skip int) (arm func(), came func() bool) {
	met := false
	f := upsets[how](m)
	before := f.Before
	f.Skip, f.Times = skip, 1
	f.Before = func(s *simulator.Simulator) {
		met = true
		if before != nil {
			before(s)
		}
	}
	return func() { m.sim.Inject(f) }, func() bool {
		m.sim.ClearFaults()
		m.process.heal()
		return met
	}
}

// Every call to ECGrid goes wrong in every way, from a Login on, until there is
// none left.
func TestRotateRootECGridCrashes(t *testing.T) {
	t.Parallel()
	for how := range upsets {
		for _, settler := range []string{"a rollback", "a read", "a write to config"} {
			t.Run(fmt.Sprintf("%s, then %s", how, settler), func(t *testing.T) {
				t.Parallel()
				for n := 0; ; n++ {
					m := newTestMount(t)
					m.configure(nil)
					m.must(logical.ReadOperation, "keys/5001", nil)
					m.sim.KillSessions(0)
					m.restart()
					arm, came := m.upset(how, n)
					if !m.broken(arm, came, settler) {
						if n < 3 {
							t.Errorf("only %d calls to break", n)
						}
						return
					}
				}
			})
		}
	}
}

// The recovery itself is broken at every write and every call.
func TestRotateRootRecoveryCrashes(t *testing.T) {
	t.Parallel()
	for _, applied := range []bool{false, true} {
		for _, how := range mishaps {
			t.Run(fmt.Sprintf("applied %v, a write %s", applied, how), func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					m := newTestMount(t)
					m.killInRotateRoot(applied)
					m.process.breakAt(n, how)
					_, _ = m.rollback()
					broke := m.process.heal()
					if m.recovers(applied); !broke {
						return
					}
				}
			})
		}
		for how := range upsets {
			t.Run(fmt.Sprintf("applied %v, a call %s", applied, how), func(t *testing.T) {
				t.Parallel()
				for n := 0; ; n++ {
					m := newTestMount(t)
					m.killInRotateRoot(applied)
					arm, came := m.upset(how, n)
					arm()
					_, _ = m.do(logical.ReadOperation, "keys/5001", nil)
					broke := came()
					if m.recovers(applied); !broke {
						return
					}
				}
			})
		}
	}
}

// killInRotateRoot leaves the mount as a process leaves it that dies with
// ChangePassword under way.
func (m *testMount) killInRotateRoot(applied bool) {
	m.t.Helper()
	m.configure(nil)
	m.must(logical.ReadOperation, "keys/5001", nil)
	how := "kills the plugin before it is carried out"
	if applied {
		how = "kills the plugin when it is carried out"
	}
	f := upsets[how](m)
	f.Op = "ChangePassword"
	m.sim.Inject(f)
	if _, err := m.do(logical.UpdateOperation, "rotate-root", nil); err == nil {
		m.t.Error("a dead process has answered")
	}
	m.sim.ClearFaults()
	if m.wals() != 1 {
		m.t.Fatal("no entry in the write-ahead log")
	}
	m.restart()
}

// recovers restarts, and has the next read settle it all. The new password is tried
// first: where it was applied no login is refused, else one for each process that
// looked for it.
func (m *testMount) recovers(applied bool) {
	m.t.Helper()
	m.restart()
	m.must(logical.ReadOperation, "keys/5001", nil)
	m.settled()
	if n := m.sim.State().RefusedLogins; n > 2 || n > 0 && applied {
		m.t.Errorf("%d refused logins", n)
	}
}
