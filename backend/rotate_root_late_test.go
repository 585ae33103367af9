package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/backend/session"
)

// afterwards is what happens to a mount whose rotate-root is in doubt.
var afterwards = map[string]func(*Engine) error{
	"reads": func(e *Engine) error {
		_, err := e.IssueKey(context.Background(), 5001, 0)
		return err
	},
	"a take-over": func(e *Engine) error {
		e.Start()
		return nil
	},
	"rounds": func(e *Engine) error {
		e.Tick(context.Background())
		return nil
	},
	"rotate-root again": func(e *Engine) error {
		_, err := e.RotateRoot(context.Background())
		return err
	},
	"a config write": func(e *Engine) error {
		return e.WriteConfig(context.Background(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{})
	},
}

// The change lands at any time after it was sent, up to a minute: before, during and
// after each step by which this process, or the next one, finds out. The password is
// never lost, ECGrid never refuses more than 3 logins in 15 minutes, and the next
// rotate-root works, whatever lands then.
func TestRotateRootLandsLate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		killed time.Duration // after the change was sent; 0 is not at all
		early  bool
	}{
		"one process":                {},
		"one process, early":         {early: true},
		"killed at once":             {killed: time.Millisecond},
		"killed in the middle":       {killed: 2500 * time.Millisecond},
		"killed after the answer":    {killed: 16 * time.Second},
		"killed at once, early":      {killed: time.Millisecond, early: true},
		"killed while it is settled": {killed: 20 * time.Second},
	} {
		for next, do := range afterwards {
			t.Run(name+", then "+next, func(t *testing.T) {
				t.Parallel()
				for late := time.Duration(0); late <= time.Minute; late += stepAfter(late) {
					synctest.Test(t, func(t *testing.T) { landLate(t, late, tt.killed, tt.early, do) })
					if t.Failed() {
						t.Fatalf("landed after %s", late)
					}
				}
			})
		}
	}
}

// stepAfter is fine at the beginning, where much happens, and coarse at the end.
func stepAfter(late time.Duration) time.Duration {
	if late < 5*time.Second {
		return 50 * time.Millisecond
	}
	return 700 * time.Millisecond
}

func landLate(t *testing.T, late, killed time.Duration, early bool, next func(*Engine) error) {
	f := newFake()
	f.late, f.early = []time.Duration{late}, early
	_, raw := configured(t, f)
	one := newLife()
	first, _ := start(f, raw, one.at)
	e := first
	answered := make(chan error, 1)
	go func() {
		_, err := first.RotateRoot(context.Background())
		answered <- err
	}()
	if killed == 0 {
		if err := <-answered; err != nil {
			if status, _, _ := Describe(err); status != http.StatusConflict {
				t.Errorf("answered %d: %v", status, err)
			}
		}
	} else {
		time.Sleep(killed + 50*time.Millisecond)
		one.kill()
		defer first.Close()
		e, _ = start(f, raw, calm)
	}
	for range 20 {
		_ = next(e)
		time.Sleep(time.Second)
	}
	time.Sleep(30 * time.Minute)
	settled(t, f, e, raw)
	if n := f.refusedIn(15 * time.Minute); n > 3 {
		t.Errorf("%d refused logins in 15 minutes", n)
	}
	_, err := e.RotateRoot(t.Context())
	if errors.Is(err, session.ErrPaused) { // after one that was refused, for a second
		time.Sleep(2 * time.Second)
		_, err = e.RotateRoot(t.Context())
	}
	if err != nil {
		t.Errorf("the next rotate-root: %v", err)
	}
	time.Sleep(2 * time.Minute)
	settled(t, f, e, raw)
	e.Close()
	time.Sleep(2 * time.Minute)
	if f.openSessions() != 0 && killed == 0 {
		t.Errorf("%d sessions left", f.openSessions())
	}
}

// Two processes at once, as when a node steps down slowly: both settle, and what one
// of them has sent lands late.
func TestTwoProcessesSettle(t *testing.T) {
	t.Parallel()
	for late := time.Duration(0); late <= time.Minute; late += 1300 * time.Millisecond {
		for gap := time.Duration(0); gap <= 4*time.Second; gap += 500 * time.Millisecond {
			t.Run(fmt.Sprintf("%s, %s", late, gap), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.late = []time.Duration{late, late / 2, late / 3}
					one, raw := configured(t, f)
					go func() { _, _ = one.RotateRoot(context.Background()) }()
					time.Sleep(gap + 50*time.Millisecond)
					two := testEngine(f, raw)
					two.Start()
					time.Sleep(30 * time.Minute)
					one.Close()
					two.Tick(t.Context())
					time.Sleep(20 * time.Minute)
					settled(t, f, two, raw)
					if n := f.refusedIn(15 * time.Minute); n > 6 { // 3 for each
						t.Errorf("%d refused logins in 15 minutes", n)
					}
					two.Close()
					time.Sleep(2 * time.Minute)
				})
			})
		}
	}
}

// Every step of rotate-root breaks once: the process is killed there, or the step
// fails in each way, with or without effect. Whatever comes next puts it right.
func TestRotateRootBreaks(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		for nextName, do := range afterwards {
			t.Run(name+", then "+nextName, func(t *testing.T) {
				t.Parallel()
				steps := 0
				for over := false; !over; steps++ {
					synctest.Test(t, func(t *testing.T) { over = breakRotateRoot(t, broken(steps+1), do) })
				}
				if steps < 20 {
					t.Errorf("only %d steps", steps)
				}
			})
		}
	}
}

func breakRotateRoot(t *testing.T, b *trouble, next func(*Engine) error) (over bool) {
	f := newFake()
	_, raw := configured(t, f)
	broken, _ := start(f, raw, b.at)
	e := broken
	answer := make(chan error, 1)
	b.run(func() {
		_, err := broken.RotateRoot(context.Background())
		answer <- err
	})
	var err error
	if !b.isDead() {
		err = <-answer
	}
	if b.over() {
		if err != nil {
			t.Errorf("without trouble: %v", err)
		}
		settled(t, f, e, raw)
		e.Close()
		return true
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("broken at step %d, %+v (answered %v): "+format, append([]any{b.nth, *b.broken, err}, args...)...)
	}
	changed, sent := f.changed(), b.wasSent()
	if b.kill {
		defer func() { close(b.buried); <-answer; time.Sleep(2 * time.Minute) }()
		e, _ = start(f, raw, calm)
		defer broken.Close()
	} else if status, _, ok := Describe(err); changed > 1 || err != nil && sent && (!ok || status >= http.StatusInternalServerError) {
		fail("%d changes, sent %v, status %d", changed, sent, status)
	}
	for range 3 {
		_ = next(e)
		time.Sleep(10 * time.Second)
	}
	time.Sleep(30 * time.Minute)
	settled(t, f, e, raw)
	if n := f.refusedIn(15 * time.Minute); n > 3 {
		fail("%d refused logins in 15 minutes", n)
	}
	changed = f.changed()
	if _, err := e.RotateRoot(t.Context()); err != nil || f.changed() != changed+1 {
		fail("the next rotate-root: %v", err)
	}
	settled(t, f, e, raw)
	if t.Failed() {
		fail("see above")
	}
	e.Close()
	return false
}

// mortalLife is a process that can be killed at any time: what it has sent goes on, and
// nothing else does.
type mortalLife struct{ dead chan struct{} }

func newLife() *mortalLife { return &mortalLife{dead: make(chan struct{})} }

func (l *mortalLife) kill() { close(l.dead) }

func (l *mortalLife) at(step) error {
	select {
	case <-l.dead:
		return errKilled
	default:
		return nil
	}
}
