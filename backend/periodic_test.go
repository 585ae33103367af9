package backend

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// about is less by two seconds at most: what calls take is off, then it is cut to
// whole seconds.
func about(d, want time.Duration) bool { return d <= want && d >= want-2*time.Second }

func TestScheduledRoleRotation(t *testing.T) {
	t.Parallel()
	hourly := SchedulePatch{Period: ptr(time.Hour)}
	nightly := SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}
	type env struct {
		*testing.T
		f       *fakeECGrid
		e       *Engine
		storage *logical.InmemStorage
	}
	role := func(v env) Rotation { return readRole(v.T, v.e, v.storage, "a").Rotation }
	changes := func(v env, want int) {
		v.Helper()
		if v.f.changed() != want {
			v.Errorf("%d changes, want %d", v.f.changed(), want)
		}
	}
	for name, tt := range map[string]struct {
		schedule SchedulePatch
		do       func(v env)
	}{
		"every hour": {hourly, func(v env) {
			ticks(v.T, v.e, v.storage, 59*time.Minute)
			changes(v, 0)
			ticks(v.T, v.e, v.storage, 5*time.Minute)
			changes(v, 1)
			if r := role(v); time.Since(r.Last) > 5*time.Minute || !r.Next.Equal(r.Last.Add(time.Hour)) || r.NotBefore.Before(r.Next) {
				v.Errorf("%+v", r)
			}
		}},
		"caught up with, once": {hourly, func(v env) {
			time.Sleep(100 * time.Hour)
			ticks(v.T, v.e, v.storage, 30*time.Minute)
			changes(v, 1)
		}},
		"window missed, then the next": {nightly, func(v env) {
			time.Sleep(4 * time.Hour)
			ticks(v.T, v.e, v.storage, 22*time.Hour)
			changes(v, 0)
			if next := role(v).Next; !next.Equal(clock(3, 0, 0).AddDate(0, 0, 1)) {
				v.Errorf("the next is at %s", next)
			}
			ticks(v.T, v.e, v.storage, 2*time.Hour)
			changes(v, 1)
		}},
		"failing all through its window": {nightly, func(v env) {
			v.f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			ticks(v.T, v.e, v.storage, 5*time.Hour)
			v.f.failWith("GenerateAPIKey", nil)
			ticks(v.T, v.e, v.storage, 20*time.Hour)
			changes(v, 0)
			if role(v).LastError == "" {
				v.Error("it is not said")
			}
			ticks(v.T, v.e, v.storage, 4*time.Hour)
			changes(v, 1)
		}},
		"failures back off": {hourly, func(v env) {
			v.f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
			ticks(v.T, v.e, v.storage, 7*time.Hour)
			if n := v.f.count("GenerateAPIKey"); n < 8 || n > 13 {
				v.Errorf("%d tries in six hours", n)
			}
			if r := role(v); r.LastError == "" || !r.Last.IsZero() {
				v.Errorf("%+v", r)
			}
			v.f.failWith("GenerateAPIKey", nil)
			ticks(v.T, v.e, v.storage, time.Hour+time.Minute)
			changes(v, 1)
			if r := role(v); r.LastError != "" || r.Failures != 0 || r.Last.IsZero() {
				v.Errorf("%+v", r)
			}
		}},
		"rotated by hand, it counts from then": {hourly, func(v env) {
			time.Sleep(50 * time.Minute)
			if _, err := v.e.RotateRole(v.Context(), "a"); err != nil {
				v.Error(err)
			}
			ticks(v.T, v.e, v.storage, 55*time.Minute)
			changes(v, 1)
		}},
		"rotated by hand while it is due": {hourly, func(v env) {
			time.Sleep(70 * time.Minute)
			v.f.whenever(func(op string) {
				if op == "GenerateAPIKey" {
					time.Sleep(time.Second)
				}
			})
			atOnce(2, func(i int) {
				if i == 0 {
					if _, err := v.e.RotateRole(v.Context(), "a"); err != nil {
						v.Error(err)
					}
					return
				}
				time.Sleep(500 * time.Millisecond)
				v.e.Tick(v.Context())
			})
			changes(v, 1)
			if r := role(v); r.Last.IsZero() || r.LastError != "" {
				v.Errorf("%+v", r)
			}
		}},
		"answer lost": {hourly, func(v env) {
			v.f.loses("GenerateAPIKey", ecgrid.ErrTimeout)
			ticks(v.T, v.e, v.storage, 100*time.Minute)
			changes(v, 1)
			if r := role(v); r.LastError != "" || r.Last.IsZero() {
				v.Errorf("%+v", r)
			}
		}},
		"answer lost, and the way to ask": {hourly, func(v env) {
			v.f.loses("GenerateAPIKey", ecgrid.ErrTimeout)
			v.f.whenever(func(op string) {
				if op == "GenerateAPIKey" {
					v.f.failWith("UserGetAPIKey", ecgrid.ErrUnreachable)
				}
			})
			ticks(v.T, v.e, v.storage, 80*time.Minute)
			if role(v).LastError == "" {
				v.Error("it is not said")
			}
			v.f.failWith("UserGetAPIKey", nil)
			ticks(v.T, v.e, v.storage, 30*time.Minute)
			changes(v, 1)
			if r := role(v); r.LastError != "" || r.Last.IsZero() {
				v.Errorf("%+v", r)
			}
		}},
		"killed after it was done": {hourly, func(v env) {
			b := newTrouble(1, true, nil)
			e, _ := start(v.f, v.storage, func(s step) error {
				if s == (step{op: "GenerateAPIKey", ecgrid: true, done: true}) || b.broken != nil {
					return b.at(s)
				}
				return nil
			})
			time.Sleep(70 * time.Minute)
			ended := make(chan struct{})
			b.run(func() { defer close(ended); e.Tick(context.Background()) })
			changes(v, 1)
			if !role(v).Last.IsZero() {
				v.Error("it was noted")
			}
			ticks(v.T, v.e, v.storage, 10*time.Minute)
			changes(v, 1)
			if r := readRole(v.T, v.e, v.storage, "a"); r.Rotation.Last.IsZero() || r.Rotating != (Rotating{}) {
				v.Errorf("%+v", r)
			}
			ticks(v.T, v.e, v.storage, time.Hour)
			changes(v, 2)
			close(b.buried)
			<-ended
			e.Close()
		}},
		"what was done cannot be noted": {hourly, func(v env) {
			v.f.whenever(func(op string) { v.storage.FailPut(op == "GenerateAPIKey" || v.f.changed() > 0) })
			ticks(v.T, v.e, v.storage, 90*time.Minute)
			v.f.whenever(nil)
			v.storage.FailPut(false)
			ticks(v.T, v.e, v.storage, 2*time.Minute)
			changes(v, 1)
			if r := role(v); r.Last.IsZero() || r.LastError != "" {
				v.Errorf("%+v", r)
			}
		}},
		"storage takes nothing": {hourly, func(v env) {
			v.storage.FailPut(true)
			ticks(v.T, v.e, v.storage, 2*time.Hour)
			changes(v, 0)
			v.storage.FailPut(false)
			ticks(v.T, v.e, v.storage, 2*time.Minute)
			changes(v, 1)
		}},
		"role deleted meanwhile": {hourly, func(v env) {
			v.f.whenever(func(op string) {
				if op == "UserGetAPIKey" {
					_ = v.e.DeleteRole(context.Background(), "a")
				}
			})
			ticks(v.T, v.e, v.storage, 2*time.Hour)
			changes(v, 0)
			if rolePresent(v.T, v.e, "a") {
				v.Error("it is back")
			}
		}},
		"role of another user meanwhile": {hourly, func(v env) {
			v.f.whenever(func(op string) {
				if op == "UserGetAPIKey" {
					writeRole(v.T, v.e, v.storage, "a", RolePatch{UserID: ptr(int32(5002))})
				}
			})
			ticks(v.T, v.e, v.storage, 80*time.Minute)
			changes(v, 0)
			if r := role(v); r.LastError != "" || !r.Last.IsZero() {
				v.Errorf("%+v", r)
			}
		}},
		"role deleted while the key is made": {hourly, func(v env) {
			v.f.whenever(func(op string) {
				if op == "GenerateAPIKey" {
					_ = v.e.DeleteRole(context.Background(), "a")
				}
			})
			ticks(v.T, v.e, v.storage, 3*time.Hour)
			changes(v, 1)
			if rolePresent(v.T, v.e, "a") {
				v.Error("it is back")
			}
		}},
		"a role without a schedule": {SchedulePatch{}, func(v env) {
			ticks(v.T, v.e, v.storage, 48*time.Hour)
			changes(v, 0)
		}},
		"a day that there never is": {SchedulePatch{Cron: ptr("0 0 30 2 *")}, func(v env) {
			ticks(v.T, v.e, v.storage, time.Hour)
			changes(v, 0)
			if issued := creds(v.T, v.e, v.storage, "a"); issued.Terms.MaxTTL != 0 {
				v.Errorf("%+v", issued.Terms)
			}
		}},
		"leases end with it": {hourly, func(v env) {
			time.Sleep(20 * time.Minute)
			at := time.Now()
			issued, err := v.e.IssueCreds(v.Context(), "a", 8*time.Hour)
			if err != nil || !about(issued.Terms.TTL, 40*time.Minute) || !about(issued.Terms.MaxTTL, 40*time.Minute) {
				v.Errorf("%+v, %v", issued.Terms, err)
			}
			time.Sleep(30 * time.Minute)
			terms, err := v.e.RenewLease(v.Context(), issued.Lease, Renewal{Issued: at, Was: issued.Terms})
			if err != nil || !about(terms.TTL, 10*time.Minute) || !about(terms.MaxTTL, 40*time.Minute) {
				v.Errorf("%+v, %v", terms, err)
			}
			time.Sleep(15 * time.Minute) // overdue
			if l := creds(v.T, v.e, v.storage, "a"); l.Terms.MaxTTL != time.Minute {
				v.Errorf("%+v", l.Terms)
			}
			v.e.Tick(v.Context())
			changes(v, 1)
			if _, err := v.e.RenewLease(v.Context(), issued.Lease, Renewal{Issued: at, Was: issued.Terms}); !errors.Is(err, ErrKeyReplaced) {
				v.Errorf("got %v", err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				writeRole(t, e, storage, "a", RolePatch{Schedule: tt.schedule})
				tt.do(env{t, f, e, storage})
				e.Close()
			})
		})
	}
}

// Where ECGrid does not answer at all, one role finds it out for the others; they
// have no failure to their name.
func TestHopelessRound(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		op    string
		kind  error
		tried int // of three roles
	}{
		"unreachable":   {"Login", ecgrid.ErrUnreachable, 1},
		"too slow":      {"UserGetAPIKey", ecgrid.ErrTimeout, 1},
		"login refused": {"Login", ecgrid.ErrAuthentication, 1},
		"denied":        {"GenerateAPIKey", ecgrid.ErrAccessDenied, 3},
		"nonsense":      {"GenerateAPIKey", ecgrid.ErrServerFault, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.setKey(5003, "key-5003")
				e, storage := configured(t, f)
				names := map[string]int32{"a": 5001, "b": 5002, "c": 5003}
				for name, userID := range names {
					writeRole(t, e, storage, name, RolePatch{UserID: &userID, Schedule: SchedulePatch{Period: ptr(time.Hour)}})
				}
				f.failWith(tt.op, tt.kind)
				time.Sleep(2 * time.Hour)
				e.Tick(t.Context())
				failed := 0
				for name := range names {
					if readRole(t, e, storage, name).Rotation.LastError != "" {
						failed++
					}
				}
				if failed != tt.tried || f.count(tt.op) != tt.tried {
					t.Errorf("%d roles failed after %d calls", failed, f.count(tt.op))
				}
				f.failWith(tt.op, nil)
				ticks(t, e, storage, 5*time.Minute)
				if f.changed() != 3 {
					t.Errorf("%d changes afterwards", f.changed())
				}
				e.Close()
			})
		})
	}
}

// Every step of a round breaks once. The role's key is replaced once, and that is
// noted.
func TestTickBreaks(t *testing.T) {
	t.Parallel()
	for name, broken := range troubles() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := 0
			for over := false; !over; steps++ {
				synctest.Test(t, func(t *testing.T) { over = breakTick(t, broken(steps+1)) })
			}
			if steps < 20 {
				t.Errorf("only %d steps", steps)
			}
		})
	}
}

func breakTick(t *testing.T, b *trouble) (over bool) {
	f := newFake()
	first, raw := configured(t, f)
	writeRole(t, first, raw, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(100 * time.Hour)}})
	time.Sleep(101 * time.Hour)
	broken, _ := start(f, raw, b.at)
	e := broken
	ended := make(chan struct{})
	b.run(func() { defer close(ended); broken.Tick(context.Background()) })
	over = b.over()
	if b.kill && !over {
		defer func() { close(b.buried); <-ended; broken.Close() }()
		time.Sleep(time.Second)
		e = testEngine(f, raw)
	}
	ticks(t, e, raw, 10*time.Minute)
	r := readRole(t, e, raw, "a")
	if f.changed() != 1 || r.Rotation.Last.IsZero() || r.Rotation.LastError != "" || r.Rotating != (Rotating{}) {
		t.Errorf("broken at step %d, %+v: %d changes, %+v", b.nth, b.broken, f.changed(), r)
	}
	e.Close()
	return over
}

// Without storage or config a round does nothing and harms nothing.
func TestTickWithoutStorage(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*logical.InmemStorage, bool) *logical.InmemStorage{
		"Get": (*logical.InmemStorage).FailGet, "List": (*logical.InmemStorage).FailList, "Put": (*logical.InmemStorage).FailPut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				if err := e.WriteConfig(t.Context(), ConfigPatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}}, noManager{}); err != nil {
					t.Fatal(err)
				}
				writeRole(t, e, storage, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(time.Hour)}})
				time.Sleep(2 * time.Hour)
				fail(storage, true)
				e.Tick(t.Context())
				if f.changed() != 0 {
					t.Errorf("%d changes", f.changed())
				}
				fail(storage, false)
				ticks(t, e, storage, 5*time.Minute)
				if f.changed() != 2 {
					t.Errorf("%d changes afterwards", f.changed())
				}
				settled(t, f, e, storage)
				e.Close()
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
