package backend

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// hungHost is a vendor's endpoint that answers nothing any more.
type hungHost struct {
	*fakeECGrid
	hangs atomic.Bool
}

func (h *hungHost) Logout(ctx context.Context, id string) error {
	if !h.hangs.Load() {
		return h.fakeECGrid.Logout(ctx, id)
	}
	<-ctx.Done()
	return opError("Logout", ecgrid.ErrTimeout)
}

// A session that is still owed to a host that is gone does not slow every Login at
// another.
func TestAttackOwedToAHostThatIsGone(t *testing.T) {
	t.Parallel()
	for name, idle := range map[string]time.Duration{"logout at once": 0, "idle for a minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				gone := &hungHost{fakeECGrid: f}
				_, raw := configured(t, f, func(c *Config) { c.SessionIdleTimeout = idle })
				e := testEngineAt(f, raw, func(at ecgrid.Endpoint) (ecgrid.Client, error) {
					if at.URL == DefaultURL {
						return gone, nil
					}
					return f, nil
				})
				defer time.Sleep(time.Minute) // for a Logout that nobody waits for
				defer e.Close()
				if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
					t.Fatal(err)
				}
				gone.hangs.Store(true)
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				if err := e.WriteConfig(t.Context(), ConfigPatch{URL: ptr(theirREST)}, noManager{}); err != nil {
					t.Fatal(err)
				}
				slow := 0
				for range 20 {
					time.Sleep(30 * time.Minute)
					began := time.Now()
					if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
						t.Fatal(err)
					}
					if time.Since(began) > time.Second {
						slow++
					}
				}
				if slow > 2 {
					t.Errorf("%d of 20 reads at the new host waited for a Logout at the old one", slow)
				}
			})
		})
	}
}

// panicking has one operation panic.
type panicking struct {
	*fakeECGrid
	op atomic.Value
}

func (p *panicking) WhoAmI(ctx context.Context, id string) (ecgrid.Session, error) {
	if p.op.Load() == "WhoAmI" {
		panic("a bug")
	}
	return p.fakeECGrid.WhoAmI(ctx, id)
}

// A panic in rotate-root leaves the rest of a round its turn.
func TestAttackPanicInOnePartOfARound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		p := &panicking{fakeECGrid: f}
		first, raw := configured(t, f, func(c *Config) { c.Schedule = Schedule{Period: time.Hour} })
		first.Close()
		e := testEngineAt(f, raw, func(ecgrid.Endpoint) (ecgrid.Client, error) { return p, nil })
		defer e.Close()
		if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(2 * time.Hour)}}, noManager{}); err != nil {
			t.Fatal(err)
		}
		writeRole(t, e, raw, "a", RolePatch{UserID: ptr(int32(5001)), Schedule: SchedulePatch{Period: ptr(time.Hour)}})
		p.op.Store("WhoAmI")
		ticks(t, e, raw, 24*time.Hour)
		if n := f.count("GenerateAPIKey"); n < 20 {
			t.Errorf("%d rotations of a role in a day", n)
		}
		p.op.Store("")
		ticks(t, e, raw, 24*time.Hour)
		settled(t, f, e, raw)
	})
}

// Vault's storage is gone from some write on (a step-down), before or after that write
// took effect; the process goes on for a while, then the next one takes over.
func TestAttackStorageGoneDuringRotateRoot(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 20 * time.Second, 2 * time.Minute} {
		for _, done := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, %v", late, done), func(t *testing.T) {
				t.Parallel()
				for nth := int32(1); nth < 14; nth++ {
					synctest.Test(t, func(t *testing.T) {
						f := newFake()
						f.late = []time.Duration{late}
						_, raw := configured(t, f)
						var puts atomic.Int32
						e, _ := start(f, raw, func(s step) error {
							if (s.op != "Put" && s.op != "Delete") || s.done != done {
								return nil
							}
							if puts.Add(1) >= nth {
								return errAny
							}
							return nil
						})
						_, _ = e.RotateRoot(t.Context())
						for range 3 {
							_, _ = e.IssueKey(t.Context(), 5001, 0)
							time.Sleep(10 * time.Second)
						}
						e.Close()
						next := testEngine(f, raw)
						next.Start()
						defer next.Close()
						ticks(t, next, raw, 30*time.Minute)
						settled(t, f, next, raw)
						if n := f.refusedIn(15 * time.Minute); n > 3 {
							t.Errorf("%d refused", n)
						}
						if n := f.openSessions(); n > 1 {
							t.Errorf("%d sessions", n)
						}
					})
					if t.Failed() {
						t.Fatalf("from write %d on", nth)
					}
				}
			})
		}
	}
}

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

// A delete that was carried out and answered as failed (a client that hangs up) leaves
// no login in use that is not stored.
func TestAttackDeletedAndAnsweredAsFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		_, raw := configured(t, f)
		var armed atomic.Bool
		e, _ := start(f, raw, func(s step) error {
			if s.op == "Delete" && s.done && armed.CompareAndSwap(true, false) {
				return errAny
			}
			return nil
		})
		defer e.Close()
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		if err := e.DeleteConfig(t.Context(), noManager{}); err == nil {
			t.Fatal("storage did not fail")
		}
		time.Sleep(time.Hour)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ErrNotConfigured) {
			t.Errorf("keys are handed out an hour after the config was deleted: %v", err)
		}
	})
}

// No schedule that is accepted panics later, or is never and looks like a time.
func TestAttackCron(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 7))
	parts := []string{"*", "0", "7", "59", "60", "31", "30", "2", "/", "-", ",", "?", "L", "W", "#", "SUN", "feb", "@every 1s", "@daily", "TZ=", "CRON_TZ=UTC ", " ", " ", " ", " ", "\t", "99999999999999999999", "*/0", "0-0", "5-1", "é", "\x00"}
	now := time.Date(2027, 2, 28, 23, 59, 59, 0, time.UTC)
	for range 30_000 {
		cron := ""
		for range 1 + r.IntN(12) {
			cron += parts[r.IntN(len(parts))]
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%q panics: %v", cron, p)
				}
			}()
			s, err := SchedulePatch{Cron: ptr(cron)}.apply(Schedule{})
			if err != nil {
				return
			}
			if next := s.after(now); !next.IsZero() && !next.After(now) {
				t.Errorf("%q comes at %s", cron, next)
			}
		}()
	}
}

// A last counted lease of a key ends while Vault's storage or ECGrid fails at any step:
// in the end the key is dead, and nothing is left of the count.
func TestAttackLastLeaseEndsAtAnyCost(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := false
			for nth := 1; !over; nth++ {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					first, raw := configured(t, f)
					writeRole(t, first, raw, "a", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
					b := broken(nth)
					e, _ := start(f, raw, b.at)
					leased := make(chan string, 1)
					ended := make(chan struct{})
					b.run(func() {
						defer close(ended)
						issued, err := e.IssueCreds(context.Background(), "a", time.Hour)
						if err != nil {
							return // Vault has no lease
						}
						leased <- issued.APIKey
						_ = e.RevokeLease(context.Background(), issued.Lease)
					})
					over = b.over()
					if b.isDead() {
						defer func() { close(b.buried); <-ended; time.Sleep(2 * time.Minute); e.Close() }()
						e = testEngine(f, raw)
					}
					defer e.Close()
					ticks(t, e, raw, 2*time.Hour)
					select {
					case key := <-leased:
						if f.key(5001) == key {
							t.Errorf("step %d, %+v: the key lives", nth, b.broken)
						}
					default:
					}
					if left, err := e.store.countPaths(t.Context()); err != nil || len(left) > 0 {
						t.Errorf("step %d, %+v: %d counts left: %v", nth, b.broken, len(left), err)
					}
				})
				if nth > 100 {
					t.Fatal("no end")
				}
			}
		})
	}
}

// logged keeps what is logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// Whatever breaks at whatever step, neither log nor error nor the names of what is
// stored show a secret.
func TestAttackNothingShowsASecret(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := false
			for nth := 1; !over && nth < 200; nth++ {
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.password = "Canary-0"
					first, raw := configured(t, f, func(c *Config) { c.Password, c.KeyCacheTTL = "Canary-0", time.Minute })
					writeRole(t, first, raw, "a", RolePatch{UserID: ptr(int32(5001)), RotateOnRevoke: ptr(true)})
					var log logged
					b := broken(nth)
					e, _ := start(f, raw, b.at)
					e.Logger = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
					e.ledger = session.NewLedger(e.store, e.Connect, judge, e.Clock, e.Random, e.Logger)
					note := func(err error) {
						if err != nil {
							_, message, _ := Describe(err)
							fmt.Fprintf(&log, "%v %+v %#v %s\n", err, err, err, message)
						}
					}
					ended := make(chan struct{})
					b.run(func() {
						defer close(ended)
						ctx := context.Background()
						issued, err := e.IssueCreds(ctx, "a", time.Hour)
						note(err)
						_, err = e.RotateRoot(ctx)
						note(err)
						_, err = e.RotateKey(ctx, 5002)
						note(err)
						note(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-1")}, noManager{}))
						note(e.WriteConfig(ctx, ConfigPatch{Password: ptr("Canary-0")}, noManager{}))
						if issued.APIKey != "" {
							_, err = e.RenewLease(ctx, issued.Lease, Renewal{Issued: time.Now()})
							note(err)
							note(e.RevokeLease(ctx, issued.Lease))
						}
						e.Tick(ctx)
					})
					over = b.over()
					if !b.isDead() {
						<-ended
					}
					time.Sleep(10 * time.Minute)
					paths, err := logical.CollectKeys(t.Context(), raw)
					if err != nil {
						t.Fatal(err)
					}
					shown := log.String() + strings.Join(paths, "\n")
					secrets := append([]string{"Canary-", "key-5001", "key-5002", "session-"}, f.changes...)
					for _, secret := range secrets {
						if strings.Contains(shown, secret) {
							t.Errorf("step %d, %+v: shown", nth, b.broken)
						}
					}
					if b.isDead() {
						close(b.buried)
						<-ended
					}
					e.Close()
					time.Sleep(2 * time.Minute)
				})
			}
		})
	}
}
