package backend

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// Anything that may come between the steps of a rotate-root comes at any time of it.
func TestAttackBetweenTheStepsOfRotateRoot(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(*Engine) error{
		"close":      func(e *Engine) error { e.Close(); return nil },
		"invalidate": func(e *Engine) error { e.Invalidate(configKey); return nil },
		"old password": func(e *Engine) error {
			return e.WriteConfig(context.Background(), ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)}, noManager{})
		},
		"old password, tried": func(e *Engine) error {
			return e.WriteConfig(context.Background(), ConfigPatch{Password: ptr("right")}, noManager{})
		},
		"no idle": func(e *Engine) error {
			return e.WriteConfig(context.Background(), ConfigPatch{SessionIdleTimeout: ptr(time.Duration(0))}, noManager{})
		},
		"api_key": func(e *Engine) error {
			return e.WriteConfig(context.Background(), ConfigPatch{APIKey: ptr("api-key"), VerifyConnection: ptr(false)}, noManager{})
		},
		"vendor's other endpoint": func(e *Engine) error {
			return e.WriteConfig(context.Background(), ConfigPatch{URL: ptr(theirREST)}, noManager{})
		},
		"delete": func(e *Engine) error { return e.DeleteConfig(context.Background(), noManager{}) },
		"read": func(e *Engine) error {
			_, err := e.IssueKey(context.Background(), 5001, 0)
			return err
		},
	} {
		for _, late := range []time.Duration{0, 20 * time.Second, 70 * time.Second} {
			t.Run(name+" "+late.String(), func(t *testing.T) {
				t.Parallel()
				for at := time.Duration(0); at < 200*time.Millisecond+late*3/2; at += 3*time.Millisecond + late/23 {
					synctest.Test(t, func(t *testing.T) {
						f := newFake()
						f.late = []time.Duration{late}
						raw := new(logical.InmemStorage)
						e := testEngine(f, raw)
						first := ConfigPatch{Username: ptr("login"), Password: ptr("right"), VerifyConnection: ptr(false)}
						if err := e.WriteConfig(t.Context(), first, noManager{}); err != nil {
							t.Fatal(err)
						}
						answered := make(chan struct{})
						go func() {
							defer close(answered)
							_, _ = e.RotateRoot(context.Background())
						}()
						time.Sleep(at)
						err := do(e)
						<-answered
						time.Sleep(time.Minute)
						gone := name == "delete" && err == nil || name == "api_key" && err == nil
						if !gone {
							holdsPasswordOfNow(t, f, raw)
						}
						e.Close()
						next := testEngine(f, raw)
						next.Start()
						defer next.Close()
						ticks(t, next, raw, time.Hour)
						if !gone {
							settled(t, f, next, raw)
						}
						if n := f.refusedIn(15 * time.Minute); n > 3 {
							t.Errorf("%d refused", n)
						}
					})
					if t.Failed() {
						t.Fatalf("at %s", at)
					}
				}
			})
		}
	}
}

// A node that is told of a changed config in the midst of a rotate-root goes on
// without anybody's reads.
func TestAttackInvalidateDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]string{"before the change": "WhoAmI", "at the change": "ChangePassword"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, raw := configured(t, f)
				defer e.Close()
				var once sync.Once
				f.whenever(func(called string) {
					if called == op {
						once.Do(func() { e.Invalidate(configKey) })
					}
				})
				_, _ = e.RotateRoot(t.Context())
				ticks(t, e, raw, 30*time.Minute)
				if _, err := e.RotateRoot(t.Context()); err != nil {
					t.Errorf("half an hour later: %v", err)
				}
				if live := storedConfig(t, raw).unresolved(); live != nil {
					t.Error("not settled")
				}
			})
		})
	}
}
