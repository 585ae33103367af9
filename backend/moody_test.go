package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// moody makes each change of the password now, late or never, and answers it as it
// likes, whatever became of it.
type moody struct {
	*fakeECGrid
	mu sync.Mutex
	r  *rand.Rand
	// faults are how many answers may blame the request: more than 3 a day is
	// TestAttackFurtherTriesForgetNothing.
	faults int
	early  bool
}

func (m *moody) ChangePassword(ctx context.Context, id, old, new string) error {
	if err := m.call(ctx, "ChangePassword"); err != nil {
		return err
	}
	if err := m.alive("ChangePassword", id); err != nil {
		return err
	}
	m.mu.Lock()
	lands, late := m.r.IntN(4) > 0, time.Duration(m.r.IntN(1200))*time.Second
	if m.r.IntN(3) == 0 {
		late = 0
	}
	answers := []error{nil, ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrServerFault, ecgrid.ErrBadAnswer, ecgrid.ErrFault, ecgrid.ErrAccessDenied}
	answer := answers[m.r.IntN(len(answers))]
	if answer == ecgrid.ErrFault || answer == ecgrid.ErrAccessDenied {
		if m.faults == 0 {
			answer = ecgrid.ErrTimeout
		} else {
			m.faults--
		}
	}
	m.mu.Unlock()
	was := m.passwordOfNow()
	land := func() {
		m.set(func() {
			if m.password == old || m.early && was == old {
				m.password = new
			}
		})
	}
	switch {
	case lands && late == 0:
		land()
	case lands:
		go func() { time.Sleep(late); land() }()
	}
	if answer == nil && (!lands || late > 0 || m.passwordOfNow() != new) {
		answer = ecgrid.ErrTimeout // it says yes only where that is so
	}
	if answer == nil {
		return nil
	}
	return opError("ChangePassword", answer)
}

// Rotations with any answer and any delay, and nodes that change, lose no password.
func TestAttackMoodyECGrid(t *testing.T) {
	t.Parallel()
	seeds := 300
	if n, err := strconv.Atoi(os.Getenv("ATTACK_SEEDS")); err == nil {
		seeds = n
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { moodyDay(t, uint64(seed)) })
		})
	}
}

func moodyDay(t *testing.T, seed uint64) {
	m := &moody{fakeECGrid: newFake(), r: rand.New(rand.NewPCG(seed, 2)), faults: 3, early: seed%2 == 0}
	r := rand.New(rand.NewPCG(seed, 1))
	_, raw := configured(t, m.fakeECGrid)
	connect := func(ecgrid.Endpoint) (ecgrid.Client, error) { return m, nil }
	storage := &failing{Storage: raw, r: rand.New(rand.NewPCG(seed, 3))}
	if seed%3 == 0 {
		storage.percent = 8
	}
	e := testEngineAt(m.fakeECGrid, storage, connect)
	var did []string
	do := map[int]func(){
		0: func() { did = append(did, "rotate"); _, _ = e.RotateRoot(t.Context()) },
		1: func() { did = append(did, "read"); _, _ = e.IssueKey(t.Context(), 5001, 0) },
		2: func() { did = append(did, "tick"); e.Tick(t.Context()) },
		3: func() {
			did = append(did, "write")
			_ = e.WriteConfig(t.Context(), ConfigPatch{RequestTimeout: ptr(time.Duration(1+r.IntN(15)) * time.Second)}, noManager{})
		},
		4: func() {
			did = append(did, "restart")
			e.Close()
			e = testEngineAt(m.fakeECGrid, storage, connect)
			e.Start()
		},
		5: func() { did = append(did, "invalidate"); e.Invalidate(configKey) },
		6: func() { did = append(did, "expiry"); m.killSessions() },
		7: func() {
			did = append(did, "typo")
			_ = e.WriteConfig(t.Context(), ConfigPatch{Password: ptr(fmt.Sprint(operatorsTypo, r.IntN(100)))}, noManager{})
		},
		8: func() {
			if m.early || storage.percent > 0 { // those are tests of their own
				return
			}
			did = append(did, "reset")
			next := fmt.Sprint("by support ", len(did))
			m.set(func() { m.password = next })
			for e.WriteConfig(t.Context(), ConfigPatch{Password: ptr(next)}, noManager{}) != nil {
				time.Sleep(time.Minute)
			}
		},
	}
	for range 60 {
		do[r.IntN(len(do))]()
		time.Sleep(time.Duration(r.ExpFloat64() * float64(3*time.Minute)))
		if !storesPasswordOfNow(t, m.fakeECGrid, raw) {
			t.Fatalf("lost after %v", did)
		}
		if n := m.refusedIn(15 * time.Minute); n > 3 {
			t.Fatalf("%d refused after %v", n, did)
		}
	}
	storage.set(0)
	ticks(t, e, raw, 2*time.Hour)
	if !storesPasswordOfNow(t, m.fakeECGrid, raw) {
		t.Errorf("lost at the end, after %v", did)
	}
	ticks(t, e, raw, 26*time.Hour)
	settled(t, m.fakeECGrid, e, raw)
	if n := m.openSessions(); n > 1 {
		t.Errorf("%d sessions", n)
	}
	e.Close()
	time.Sleep(time.Hour)
}

// failing fails some writes, before or after they took effect.
type failing struct {
	logical.Storage
	mu      sync.Mutex
	r       *rand.Rand
	percent int
}

func (s *failing) some(do func() error) error {
	s.mu.Lock()
	fails, done := s.r.IntN(100) < s.percent, s.r.IntN(2) == 0
	s.mu.Unlock()
	if fails && !done {
		return errAny
	}
	if err := do(); err != nil {
		return err
	}
	if fails {
		return errAny
	}
	return nil
}

func (s *failing) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.some(func() error { return s.Storage.Put(ctx, entry) })
}

func (s *failing) Delete(ctx context.Context, key string) error {
	return s.some(func() error { return s.Storage.Delete(ctx, key) })
}

func (s *failing) set(percent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.percent = percent
}
