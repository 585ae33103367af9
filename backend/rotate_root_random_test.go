// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// unpredictableECGrid applies each change of the password now, late or never, and answers
// it with any error.
type unpredictableECGrid struct {
	*fakeECGrid
	mu sync.Mutex
	r  *rand.Rand
	// refusals is how many more changes it may refuse. rotate-root stops after 3.
	refusals int
}

// outcome says what becomes of a change. Without an error it is confirmed if it was
// applied at once.
func (u *unpredictableECGrid) outcome() (applied bool, delay time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	applied = u.r.IntN(4) > 0
	if u.r.IntN(3) > 0 {
		delay = time.Duration(u.r.IntN(1200)) * time.Second
	}
	errs := []error{nil, ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrServerFault, ecgrid.ErrBadAnswer, ecgrid.ErrFault, ecgrid.ErrAccessDenied}
	err = errs[u.r.IntN(len(errs))]
	if err == ecgrid.ErrFault || err == ecgrid.ErrAccessDenied {
		if u.refusals == 0 {
			err = ecgrid.ErrTimeout
		} else {
			u.refusals--
		}
	}
	return applied, delay, err
}

func (u *unpredictableECGrid) ChangePassword(ctx context.Context, by ecgrid.Credential, old, new string) error {
	if err := u.call(ctx, "ChangePassword", by); err != nil {
		return err
	}
	applied, delay, err := u.outcome()
	was := u.now().password
	change := func() {
		u.set(func() {
			if u.password == old || u.comparesEarly && was == old {
				u.password = new
			}
		})
	}
	switch {
	case applied && delay == 0:
		change()
	case applied:
		time.AfterFunc(delay, change)
	}
	if err == nil && (!applied || delay > 0 || u.now().password != new) {
		err = ecgrid.ErrTimeout
	}
	return opError("ChangePassword", err)
}

// Rotations with any outcome and any delay lose no password, even if the process restarts
// and storage fails.
func TestRotateRootUnpredictableECGrid(t *testing.T) {
	t.Parallel()
	runSeeds(t, 300, runUnpredictableDay)
}

func runUnpredictableDay(t *testing.T, seed uint64) {
	f, reader, storage := configured(t)
	f.comparesEarly = seed%2 == 0
	u := &unpredictableECGrid{fakeECGrid: f, r: newRand(seed, 2), refusals: 3}
	var storageFails atomic.Bool
	storageFails.Store(seed%3 == 0)
	p := newProcess(storage, u, func(s step) error {
		u.mu.Lock()
		defer u.mu.Unlock()
		if storageFails.Load() && (s.op == "Put" || s.op == "Delete") && u.r.IntN(100) < 4 {
			return errAny
		}
		return nil
	})
	restart := func() *Engine { return testEngineAt(t, f, p, connectTo(p)) }
	e, r := restart(), newRand(seed, 1)
	write := func(patch ConfigPatch) error { return e.WriteConfig(t.Context(), patch, noManager{}) }
	var log []string
	actions := []struct {
		name string
		do   func()
	}{
		{"rotate", func() { _, _ = e.RotateRoot(t.Context()) }},
		{"read", func() { _, _ = e.IssueKey(t.Context(), 5001, 0) }},
		{"tick", func() { e.Tick(t.Context()) }},
		{"write", func() { _ = write(ConfigPatch{RequestTimeout: ptr(time.Duration(1+r.IntN(15)) * time.Second)}) }},
		{"restart", func() { e.Close(); e = restart(); e.Start() }},
		{"invalidate", func() { e.Invalidate(configKey) }},
		{"expiry", func() { f.set(func() { clear(f.sessions) }) }},
		{"typo", func() { _ = write(ConfigPatch{Password: ptr(fmt.Sprint(operatorsTypo, r.IntN(100)))}) }},
		{"reset", func() {
			if f.comparesEarly || storageFails.Load() { // see TestOperatorWriteWhileAppliedTwice and TestConfigPutFailsAfterEffect
				return
			}
			next := fmt.Sprint("by support ", len(log))
			f.set(func() { f.password = next })
			for write(ConfigPatch{Password: &next}) != nil {
				time.Sleep(time.Minute)
			}
		}},
	}
	for range 60 {
		action := actions[r.IntN(len(actions))]
		log = append(log, action.name)
		action.do()
		time.Sleep(time.Duration(r.ExpFloat64() * float64(3*time.Minute)))
		checkPasswordStored(t, f, reader)
		checkRefused(t, f, 3)
		if t.Failed() {
			t.Fatalf("after %v", log)
		}
	}
	storageFails.Store(false)
	tickFor(t, e, 2*time.Hour)
	checkPasswordStored(t, f, reader)
	tickFor(t, e, 26*time.Hour)
	checkHealthy(t, f, e)
	checkSessions(t, f, 1)
	if t.Failed() {
		t.Logf("after %v", log)
	}
}
