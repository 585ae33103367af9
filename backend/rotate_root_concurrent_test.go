// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// Concurrent requests of all kinds succeed, and no login is refused. In the end storage
// has the password that ECGrid has. Lost answers may make rotate-root unconfirmed.
func TestConcurrentRequests(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		for _, lost := range []error{nil, ecgrid.ErrTimeout} {
			runCase(t, name, func(t *testing.T) {
				f, _, storage := configured(t, func(c *Config) { c.SessionIdleTimeout = idle })
				f.lost["ChangePassword"], f.lost["GenerateAPIKey"] = lost, lost
				e, _ := startProcess(t, f, storage, func(s step) error {
					if !s.isECGrid() {
						time.Sleep(time.Millisecond)
					}
					return nil
				})
				writeRole(t, e, "a", RolePatch{RotateOnRevoke: ptr(true)})
				ctx := t.Context()
				concurrently(60, func(i int) {
					time.Sleep(time.Duration(i) * 23 * time.Millisecond)
					var err error
					switch i % 6 {
					case 0, 1:
						_, err = e.IssueKey(ctx, 5002, 0)
					case 2:
						var issued Issued
						if issued, err = e.IssueCreds(ctx, "a", 0); err == nil {
							err = e.RevokeLease(ctx, issued.Lease)
						}
					case 3:
						_, err = e.RotateKey(ctx, 5001)
					case 4:
						err = e.WriteConfig(ctx, ConfigPatch{TTL: ptr(time.Duration(i) * time.Minute)}, noManager{})
					case 5:
						if i%12 == 5 {
							_, err = e.RotateRoot(ctx)
						}
					}
					expected := lost != nil && i%12 == 5 && (errors.Is(err, ErrUnconfirmed) || errors.Is(err, session.ErrTooSoon))
					if err != nil && !expected {
						t.Errorf("request %d: %v", i, err)
					}
				})
				f.set(func() { f.lost["ChangePassword"] = nil })
				time.Sleep(time.Minute)
				checkRefused(t, f, 3)
				if lost == nil {
					checkRefused(t, f, 0)
					checkCalls(t, f, "ChangePassword", 5)
				}
				checkHealthy(t, f, e)
			})
		}
	}
}

// Reads succeed during a rotate-root, whichever of its steps is slow. None of them logs in
// with the old password.
func TestReadsDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"session kept": time.Minute, "session not kept": 0} {
		for nth := 1; nth <= 45; nth++ {
			runCase(t, name, func(t *testing.T) {
				f, _, storage := configured(t, func(c *Config) { c.SessionIdleTimeout = idle })
				slow := &breakage{nth: nth, err: errAny}
				e, _ := startProcess(t, f, storage, func(s step) error {
					if slow.at(s) != nil {
						time.Sleep(500 * time.Millisecond)
					}
					return nil
				})
				rotated := make(chan error)
				go func() { rotated <- errOf(e.RotateRoot(t.Context())) }()
				concurrently(100, func(i int) {
					time.Sleep(time.Duration(i) * 7 * time.Millisecond)
					readKey(t, e, 5001)
				})
				check(t, <-rotated)
				checkRefused(t, f, 0)
				checkHealthy(t, f, e)
				if t.Failed() {
					t.Logf("slow: %s", slow)
				}
			})
		}
	}
}

// Another request comes at any time during a rotate-root. The password is not lost.
func TestRequestDuringRotateRoot(t *testing.T) {
	t.Parallel()
	write := func(patch ConfigPatch) func(*Engine) error {
		return func(e *Engine) error { return e.WriteConfig(context.Background(), patch, noManager{}) }
	}
	for name, do := range map[string]func(*Engine) error{
		"close":                      func(e *Engine) error { e.Close(); return nil },
		"invalidate":                 func(e *Engine) error { e.Invalidate(configKey); return nil },
		"old password, not verified": write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)}),
		"old password, verified":     write(ConfigPatch{Password: ptr("right")}),
		"session_idle_timeout":       write(ConfigPatch{SessionIdleTimeout: ptr(time.Duration(0))}),
		"api_key":                    write(ConfigPatch{APIKey: ptr("api-key"), VerifyConnection: ptr(false)}),
		"vendor's other endpoint":    write(ConfigPatch{Transport: ptr("rest")}),
		"delete":                     func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) },
		"read":                       func(e *Engine) error { return errOf(e.IssueKey(context.Background(), 5001, 0)) },
	} {
		for _, delay := range []time.Duration{0, 20 * time.Second, 70 * time.Second} {
			times := every(3*time.Millisecond+delay/23, 0, 200*time.Millisecond+delay*3/2)
			sweep(t, name+", applied after "+delay.String(), times, func(t *testing.T, at time.Duration) {
				f, storage := newFake(), new(logical.InmemStorage)
				f.applyAfter = []time.Duration{delay}
				e := testEngine(t, f, storage)
				writeConfig(t, e, ConfigPatch{Username: ptr("login"), Password: ptr("right"), VerifyConnection: ptr(false)})
				rotated := make(chan struct{})
				go func() {
					defer close(rotated)
					_, _ = e.RotateRoot(context.Background())
				}()
				time.Sleep(at)
				err := do(e)
				<-rotated
				time.Sleep(time.Minute)
				gone := err == nil && (name == "delete" || name == "api_key")
				if !gone {
					checkPasswordStored(t, f, e)
				}
				e.Close()
				next := testEngine(t, f, storage)
				next.Start()
				tickFor(t, next, time.Hour)
				if !gone {
					checkHealthy(t, f, next)
				}
				checkRefused(t, f, 3)
			})
		}
	}
}

// If the config is invalidated during a rotate-root, that is resolved without a read.
func TestInvalidateDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]string{"before the change": "WhoAmI", "at the change": "ChangePassword"} {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			var once sync.Once
			f.on(op, func() { once.Do(func() { e.Invalidate(configKey) }) })
			_, _ = e.RotateRoot(t.Context())
			tickFor(t, e, 30*time.Minute)
			check(t, errOf(e.RotateRoot(t.Context())))
			if storedConfig(t, e).unresolved() != nil {
				t.Error("the rotate-root is unresolved")
			}
		})
	}
}
