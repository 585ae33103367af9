// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// TestVirtualDay is a day with a wrong password. A seed mixes reads, hang-ups, config
// writes, reloads, recoveries, kills, outages and failing storage. By ECGrid's clock:
//
//   - the stored login is refused at most 3 times in any 15 minutes, unless a
//     credential that works ended that in between;
//   - so is each credential of a config write;
//   - the login is still tried: once its password is right, a read works within the window;
//   - no session is left open, and no log and no error contains a secret.
//
// ECGRID_SEED=n runs seed n only, ECGRID_SEEDS=n the first n seeds.
func TestVirtualDay(t *testing.T) {
	t.Parallel()
	first, n := 1, 8
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEEDS")); err == nil {
		n = s
	}
	if s, err := strconv.Atoi(os.Getenv("ECGRID_SEED")); err == nil {
		first, n = s, 1
	}
	for seed := first; seed < first+n; seed++ {
		runCase(t, strconv.Itoa(seed), func(t *testing.T, p *process, f *fakeECGrid) {
			d := newDay(t, p, f, uint64(seed))
			for end := time.Now().Add(24 * time.Hour); time.Now().Before(end) && !t.Failed(); {
				d.act()
			}
			d.end()
			if t.Failed() {
				t.Logf("again with ECGRID_SEED=%d; the last acts: %s", seed, strings.Join(d.log[max(0, len(d.log)-40):], ", "))
			}
		})
	}
}

// day is one mount, its processes and ECGrid.
type day struct {
	*testing.T
	f        *fakeECGrid
	p        *process   // the current one
	session  *Session   // the current one
	stored   []string   // the passwords in the config
	plan     *rand.Rand // decides what is done
	log      []string   // what was done
	requests sync.WaitGroup

	mu         sync.Mutex // guards the fields below
	luck       *rand.Rand // decides delays and failures
	flakyStore bool       // storage fails at times
	lastLogin  time.Time  // that was accepted
}

func newDay(t *testing.T, p *process, f *fakeECGrid, seed uint64) *day {
	d := &day{
		T: t, p: p, f: f, stored: []string{wrong},
		plan: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)),
	}
	slow := d.plan.IntN(2) == 0
	latency := func(string) time.Duration {
		d.mu.Lock()
		defer d.mu.Unlock()
		if slow || d.luck.IntN(10) == 0 {
			return time.Duration(d.luck.Int64N(int64(20 * time.Second)))
		}
		return time.Duration(d.luck.Int64N(int64(100 * time.Millisecond)))
	}
	f.decideDelay, f.answerDelay, f.onLogin = latency, latency, d.checkLogin
	p.storeFails = func(string) bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.flakyStore && d.luck.IntN(4) == 0
	}
	if seed%2 == 0 { // sessions have an end, which may not be the one that they state
		f.lives(time.Duration(d.plan.Int64N(int64(10*time.Minute))), time.Duration(d.plan.Int64N(int64(20*time.Minute))))
	}
	p.setStored(d.stored...)
	d.session = p.session(with(d.stored...))
	return d
}

// checkLogin checks the bounds. The caller holds f.mu.
func (d *day) checkLogin(l decidedLogin) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.refused {
		d.lastLogin = l.at
		return
	}
	login, credential := 0, 0
	for _, before := range d.f.logins {
		ended := !before.fromWrite && before.at.Before(d.lastLogin)
		if !before.refused || l.at.Sub(before.at) > window || ended {
			continue
		}
		if !before.fromWrite && !l.fromWrite {
			login++
		}
		if before.password == l.password {
			credential++
		}
	}
	if login > maxInWindow || credential > maxInWindow {
		d.Errorf("at %s refused %d times, with this credential %d times", l.at.Format(time.TimeOnly), login, credential)
	}
}

// act does one thing. It may go on when the next begins.
func (d *day) act() {
	time.Sleep(time.Duration(d.plan.ExpFloat64() * float64(20*time.Second)))
	acts := []struct {
		name   string
		weight int
		do     func()
	}{
		{"read", 12, func() { d.read(1) }},
		{"burst", 2, func() { d.read(20) }},
		{"write the stored", 2, func() { d.write(wrong) }},
		{"write another", 2, func() { d.write(d.pick(other, other+"2")) }},
		{"write one that works", 1, func() { d.rarely(func() { d.write(right) }) }},
		{"reload", 3, d.reload},
		{"kill", 2, d.kill},
		{"add a candidate", 1, func() { d.rarely(d.addCandidate) }},
		{"set the password", 1, func() { d.session.SetPassword(d.pick(d.stored...)) }},
		{"reopen", 2, func() { d.do(func(ctx context.Context, s *Session) error { _, err := s.Reopen(ctx); return err }) }},
		{"verify", 1, func() { d.do(func(ctx context.Context, s *Session) error { return s.Verify(ctx, false) }) }},
		{"outage", 1, func() { d.rarely(d.outage) }},
		{"storage", 1, func() { d.mu.Lock(); d.flakyStore = !d.flakyStore; d.mu.Unlock() }},
	}
	n := d.plan.IntN(31)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			d.log = append(d.log, time.Now().Format(time.TimeOnly)+" "+a.name)
			a.do()
			return
		}
	}
}

func (d *day) pick(all ...string) string { return all[d.plan.IntN(len(all))] }

func (d *day) rarely(do func()) {
	if d.plan.IntN(10) == 0 {
		do()
	}
}

// do runs a request whose client may hang up.
func (d *day) do(request func(ctx context.Context, s *Session) error) {
	s, timeout := d.session, time.Minute
	if d.plan.IntN(2) == 0 {
		timeout = time.Duration(d.plan.Int64N(int64(40 * time.Second)))
	}
	d.requests.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = checkSecrets(request(ctx, s))
	})
}

func (d *day) read(n int) {
	for range n {
		d.do(readWithin)
	}
}

// write is a config write that is not stored.
func (d *day) write(password string) {
	p := d.p
	d.do(func(ctx context.Context, _ *Session) error {
		s, err := p.writeConfig(ctx, password)
		closeSession(s)
		return err
	})
}

func (d *day) reload() {
	before := d.session
	d.session = d.p.session(with(d.stored...), idle(time.Duration(d.plan.IntN(2))*time.Minute))
	d.requests.Go(func() { closeSession(before) })
}

func (d *day) kill() {
	d.p = d.p.restart()
	d.session = d.p.session(with(d.stored...))
}

// addCandidate is a rotate-root that is never confirmed.
func (d *day) addCandidate() {
	if len(d.stored) < 4 {
		d.stored = append(slices.Clip(d.stored), wrong+strconv.Itoa(len(d.stored)))
		d.p.setStored(d.stored...)
		d.session.AddCandidates(candidates(d.stored[len(d.stored)-1]))
	}
}

func (d *day) outage() {
	down := func(err error) func() { return func() { d.f.down = err } }
	lose := func(kind error) func() { return func() { d.f.lose["Login"] = kind } }
	kinds := []func(){
		down(ecgrid.ErrTimeout), down(opError("any", ecgrid.ErrUnreachable)),
		down(&ecgrid.Error{Op: "any", Kind: ecgrid.ErrUnreachable}),
		lose(ecgrid.ErrTimeout), lose(ecgrid.ErrBadAnswer),
		func() { d.f.fail["Login"] = ecgrid.ErrServerFault },
	}
	d.f.set(kinds[d.plan.IntN(len(kinds))])
	length := time.Duration(d.plan.Int64N(int64(time.Hour)))
	d.requests.Go(func() {
		time.Sleep(length)
		d.calm()
	})
}

func (d *day) calm() {
	d.f.set(func() { d.f.down, d.f.fail, d.f.lose = nil, map[string]error{}, map[string]error{} })
}

// end waits for all requests, and then checks that the login works again.
func (d *day) end() {
	d.requests.Wait()
	d.calm()
	d.mu.Lock()
	d.flakyStore = false
	d.mu.Unlock()
	d.f.set(func() {
		d.f.decideDelay, d.f.answerDelay = delay(time.Millisecond), delay(time.Millisecond)
	})
	if d.f.refused() < 24 {
		d.Errorf("only %d refused in a day: it was no longer tried", d.f.refused())
	}
	time.Sleep(time.Minute)
	for range 10 {
		_ = read(d.session)
	}
	time.Sleep(window + LoginTimeout)
	d.f.set(func() { d.f.password = wrong })
	d.kill() // the next process loads what failing storage left
	err := read(d.session)
	if errors.Is(err, ErrPaused) { // three others were tried before the right one
		time.Sleep(window + LoginTimeout)
		err = read(d.session)
	}
	if err != nil && !errors.Is(err, ErrRefused) {
		d.Errorf("the password is right, but: %v", err)
	}
	closeSession(d.session)
	if n := d.p.store.noted(); n != 0 {
		d.Errorf("%d notes are left", n)
	}
	time.Sleep(5 * time.Minute)
}
