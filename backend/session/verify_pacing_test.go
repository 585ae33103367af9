// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"strconv"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A config write with a credential that works ends the pause, in this process and the
// next, even if WhoAmI fails.
func TestConfigWriteEndsThePause(t *testing.T) {
	t.Parallel()
	for name, probe := range map[string]error{"WhoAmI too": nil, "its Login": ecgrid.ErrUnreachable} {
		runCase(t, name, func(t *testing.T, p *process, f *fakeECGrid) {
			s := p.session(with(wrong))
			for f.refused() < 3 {
				_ = read(s)
				time.Sleep(time.Second)
			}
			resumes(t, read(s))
			f.fail["WhoAmI"] = probe
			s, err := p.writeConfig(t.Context(), right)
			noErr(t, err)
			s.End(t.Context())
			noErr(t, read(s))
			closeSession(s)
			p = p.restart()
			s = p.session()
			noErr(t, read(s))
			closeSession(s)
		})
	}
}

// action makes one attempt after another.
type action func(p *process) (attempt func() error)

func tryWrite(password string) action {
	return func(p *process) func() error { return func() error { return p.tryWrite(password) } }
}

func tryWrites(p *process) func() error {
	n := 0
	return func() error { n++; return p.tryWrite(other + strconv.Itoa(n)) }
}

func readWith(password string) action {
	return func(p *process) func() error {
		s := p.session(with(password), idle(0))
		return func() error { return read(s) }
	}
}

// hangUp is a write whose client hangs up before the Login is sent.
func hangUp(p *process) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond/2)
		defer cancel()
		s, err := p.writeConfig(ctx, other)
		time.Sleep(time.Second)
		closeSession(s)
		return err
	}
}

// Only its own attempts count against the credential of a config write.
func TestConfigWriteIsPacedByItself(t *testing.T) {
	t.Parallel()
	write, stored := tryWrite, readWith(wrong)
	type step struct {
		times   int
		do      action
		refused int // of those
	}
	tests := map[string][]step{
		"at most 3":                      {{5, write(other), 3}},
		"at most 3 of another too":       {{5, write(other), 3}, {5, write(other + "2"), 3}},
		"is not paused by the stored":    {{40, stored, 3}, {1, write(other), 1}},
		"does not count for the stored":  {{5, write(other), 3}, {40, stored, 3}},
		"counts if it is the same":       {{2, write(wrong), 2}, {40, stored, 1}, {5, write(wrong), 0}},
		"the stored counts for the same": {{40, stored, 3}, {5, write(wrong), 0}},
		"many others do not clear it":    {{40, stored, 3}, {20, tryWrites, 20}, {20, stored, 0}},
		"nor the same":                   {{3, write(other), 3}, {20, tryWrites, 20}, {3, write(other), 0}},
		"another that works":             {{3, write(other), 3}, {2, readWith(right), 0}, {3, write(other), 0}},
		"a hang-up changes nothing":      {{5, hangUp, 3}, {40, stored, 3}},
	}
	for name, steps := range tests {
		for _, restarted := range []bool{false, true} {
			runCase(t, name+" "+strconv.FormatBool(restarted), func(t *testing.T, p *process, f *fakeECGrid) {
				for i, step := range steps {
					before, do := f.refused(), step.do(p)
					for range step.times {
						_ = do()
						time.Sleep(2 * time.Second)
					}
					if got := f.refused() - before; got != step.refused {
						t.Errorf("step %d: %d refused, want %d", i+1, got, step.refused)
					}
					if restarted {
						p = p.restart()
					}
				}
				time.Sleep(time.Minute)
			})
		}
	}
}
