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

// TestVirtualDay is line 8: a day with a password that is wrong for good, in which a
// seed mixes reads, hang-ups, writes, reloads, recoveries, kills, outages and storage
// that fails. What must hold, by ECGrid's own clock:
//
//   - the stored login is refused 3 times in any 15 minutes at the most, unless a
//     credential that works has ended that in between;
//   - so is each credential that a write brings;
//   - the login is never given up: once it works, a read works within the window;
//   - no session is left open, and no log and no error tells a secret.
//
// ECGRID_SEED runs that seed alone, ECGRID_SEEDS so many.
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
		bubble(t, strconv.Itoa(seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			for end := time.Now().Add(24 * time.Hour); time.Now().Before(end) && !t.Failed(); {
				w.act()
			}
			w.end()
			if t.Failed() {
				t.Logf("again with ECGRID_SEED=%d; the last acts: %s", seed, strings.Join(w.log[max(0, len(w.log)-40):], ", "))
			}
		})
	}
}

// world is one mount, its processes and ECGrid.
type world struct {
	*testing.T
	f    *fake
	plan *rand.Rand // what is done next
	all  sync.WaitGroup

	mu      sync.Mutex
	luck    *rand.Rand // what becomes of it
	storm   bool       // storage fails at times
	now     *process
	session *Session
	stored  []string
	log     []string
	works   time.Time // when a Login was last taken
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		T: t, stored: []string{wrong},
		plan: rand.New(rand.NewPCG(seed, 1)), luck: rand.New(rand.NewPCG(seed, 2)),
	}
	w.now, w.f = oneProcess(t)
	slow := w.plan.IntN(2) == 0
	latency := func(string) time.Duration {
		w.mu.Lock()
		defer w.mu.Unlock()
		if slow || w.luck.IntN(10) == 0 {
			return time.Duration(w.luck.Int64N(int64(20 * time.Second)))
		}
		return time.Duration(w.luck.Int64N(int64(100 * time.Millisecond)))
	}
	w.f.before, w.f.after, w.f.decided = latency, latency, w.decided
	w.now.broken = func(string) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.storm && w.luck.IntN(4) == 0
	}
	w.session = w.now.session(with(w.stored...))
	return w
}

// decided checks the bounds. ECGrid's lock is held.
func (w *world) decided(l sentLogin) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !l.refused {
		w.works = l.at
		return
	}
	login, credential := 0, 0
	for _, before := range w.f.logins {
		ended := !before.brought && before.at.Before(w.works)
		if !before.refused || l.at.Sub(before.at) > window || ended {
			continue
		}
		if !before.brought && !l.brought {
			login++
		}
		if before.password == l.password {
			credential++
		}
	}
	if login > maxInWindow || credential > maxInWindow {
		w.Errorf("at %s refused %d times, with this credential %d times", l.at.Format(time.TimeOnly), login, credential)
	}
}

// act does one thing, which need not be over when the next begins.
func (w *world) act() {
	time.Sleep(time.Duration(w.plan.ExpFloat64() * float64(20*time.Second)))
	acts := []struct {
		name   string
		weight int
		do     func()
	}{
		{"read", 12, func() { w.read(1) }},
		{"burst", 2, func() { w.read(20) }},
		{"bring the stored", 2, func() { w.bring(wrong) }},
		{"bring another", 2, func() { w.bring(pick(w, []string{other, other + "2"})) }},
		{"bring one that works", 1, func() { w.rarely(func() { w.bring(right) }) }},
		{"reload", 3, w.reload},
		{"kill", 2, w.kill},
		{"offer", 1, func() { w.rarely(w.offer) }},
		{"prefer", 1, func() { w.session.Confirmed(pick(w, w.stored)) }},
		{"reopen", 2, func() { w.do(func(ctx context.Context, s *Session) error { _, err := s.Reopen(ctx); return err }) }},
		{"verify", 1, func() { w.do(func(ctx context.Context, s *Session) error { return s.Verify(ctx, false) }) }},
		{"outage", 1, func() { w.rarely(w.outage) }},
		{"storm", 1, func() { w.mu.Lock(); w.storm = !w.storm; w.mu.Unlock() }},
	}
	n := w.plan.IntN(31)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			w.log = append(w.log, time.Now().Format(time.TimeOnly)+" "+a.name)
			a.do()
			return
		}
	}
}

func pick(w *world, all []string) string { return all[w.plan.IntN(len(all))] }

func (w *world) rarely(do func()) {
	if w.plan.IntN(10) == 0 {
		do()
	}
}

// do runs a request of a client that may hang up at any time.
func (w *world) do(request func(ctx context.Context, s *Session) error) {
	p, s, patience := w.now, w.session, time.Minute
	if w.plan.IntN(2) == 0 {
		patience = time.Duration(w.plan.Int64N(int64(40 * time.Second)))
	}
	w.all.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = told(p, request(ctx, s))
	})
}

func (w *world) read(n int) {
	for range n {
		w.do(readWithin)
	}
}

// bring is a write that is not stored in the end.
func (w *world) bring(password string) {
	p := w.now
	w.do(func(ctx context.Context, _ *Session) error {
		s, err := p.bring(ctx, password)
		end(s)
		return err
	})
}

func (w *world) reload() {
	before := w.session
	w.session = w.now.session(with(w.stored...), idle(time.Duration(w.plan.IntN(2))*time.Minute))
	w.all.Go(func() { end(before) })
}

func (w *world) kill() {
	w.now = w.now.restart()
	w.session = w.now.session(with(w.stored...))
}

// offer is a rotate-root that is never settled.
func (w *world) offer() {
	if len(w.stored) < 4 {
		w.stored = append(slices.Clip(w.stored), wrong+strconv.Itoa(len(w.stored)))
		w.session.Offer(passwords(w.stored[len(w.stored)-1]))
	}
}

func (w *world) outage() {
	lost := func(kind error) func() { return func() { w.f.lose["Login"] = kind } }
	fail := func(kind error) func() { return func() { w.f.fail["Login"] = kind } }
	down := func(err error) func() { return func() { w.f.down = err } }
	kinds := []func(){
		down(ecgrid.ErrTimeout), down(opError("any", ecgrid.ErrUnreachable)),
		down(&ecgrid.Error{Op: "any", Kind: ecgrid.ErrUnreachable}),
		lost(ecgrid.ErrTimeout), lost(ecgrid.ErrBadAnswer), fail(ecgrid.ErrServerFault),
	}
	w.f.set(kinds[w.plan.IntN(len(kinds))])
	length := time.Duration(w.plan.Int64N(int64(time.Hour)))
	w.all.Go(func() {
		time.Sleep(length)
		w.calm()
	})
}

func (w *world) calm() {
	w.f.set(func() { w.f.down, w.f.fail, w.f.lose = nil, map[string]error{}, map[string]error{} })
}

// end has all come to rest; then the login works again.
func (w *world) end() {
	w.all.Wait()
	w.calm()
	w.mu.Lock()
	w.storm = false
	w.mu.Unlock()
	w.f.set(func() {
		short := func(string) time.Duration { return time.Millisecond }
		w.f.before, w.f.after = short, short
	})
	if w.f.refused() < 24 {
		w.Errorf("only %d refused in a day: it was not tried any more", w.f.refused())
	}
	time.Sleep(time.Minute)
	for range 10 {
		_ = read(w.session)
	}
	time.Sleep(window + LoginTimeout)
	w.f.set(func() { w.f.password = wrong })
	w.kill() // the next process finds what storage that failed has left
	err := read(w.session)
	if errors.Is(err, ErrPaused) { // three others had their turn before the right one
		time.Sleep(window + LoginTimeout)
		err = read(w.session)
	}
	if err != nil && !errors.Is(err, ErrRefused) {
		w.Errorf("the login works, and yet: %v", err)
	}
	end(w.session)
	if n := w.now.store.noted(); n != 0 {
		w.Errorf("%d notes are left", n)
	}
	time.Sleep(5 * time.Minute)
}
