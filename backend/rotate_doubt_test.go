package backend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A scheduled rotation that is recorded as done was done: the key that was current
// when it became due is dead. What an earlier one has left is not taken for it.
func TestRecordedRotationWasDone(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(t *testing.T, f *fakeECGrid, e *Engine){
		"a window was missed": func(*testing.T, *fakeECGrid, *Engine) {},
		"the schedule was changed": func(t *testing.T, _ *fakeECGrid, e *Engine) {
			writeRole(t, e, nil, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 4 * * *")}})
		},
		"the schedule was changed back": func(t *testing.T, _ *fakeECGrid, e *Engine) {
			writeRole(t, e, nil, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 5 * * *")}})
			writeRole(t, e, nil, "a", RolePatch{Schedule: SchedulePatch{Cron: ptr("0 3 * * *")}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				e, storage := configured(t, f)
				writeRole(t, e, storage, "a", RolePatch{UserID: ptr(int32(5001)), Schedule: SchedulePatch{Cron: ptr("0 3 * * *"), Window: ptr(time.Hour)}})
				f.failWith("GenerateAPIKey", ecgrid.ErrTimeout)
				ticks(t, e, storage, 3*time.Hour+30*time.Minute) // the try of the first night
				if f.count("GenerateAPIKey") == 0 {
					t.Fatal("it was not tried")
				}
				time.Sleep(4 * time.Hour)
				e.Tick(t.Context())
				f.failWith("GenerateAPIKey", nil)
				between(t, f, e)
				if _, err := e.RotateKey(t.Context(), 5001); err != nil { // by hand, in the afternoon
					t.Fatal(err)
				}
				manual := f.key(5001)
				ticks(t, e, storage, 22*time.Hour) // the second night
				r := readRole(t, e, storage, "a")
				if r.Rotation.Last.IsZero() || f.key(5001) == manual {
					t.Errorf("recorded at %s, and the key of the afternoon lives: %v", r.Rotation.Last, f.key(5001) == manual)
				}
				e.Close()
			})
		})
	}
}

// After a replacement that was not seen to end, the user is not served from memory
// for a while, not by the next process either: it may land late.
func TestNoCacheAfterADoubt(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		for _, late := range []time.Duration{20 * time.Second, time.Minute, 10 * time.Minute} {
			t.Run(name+" "+late.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					f.late = []time.Duration{late}
					_, raw := configured(t, f, func(c *Config) { c.KeyCacheTTL = time.Hour })
					one := newLife()
					first, _ := start(f, raw, one.at)
					e := first
					go func() {
						_, err := first.RotateKey(context.Background(), 5001)
						if !errors.Is(err, ErrUnconfirmed) && !restart && late > stored().requestDeadline() {
							t.Errorf("got %v", err)
						}
					}()
					time.Sleep(time.Second)
					if restart {
						one.kill()
						defer first.Close()
						e = testEngine(f, raw)
					}
					for range 60 {
						time.Sleep(15 * time.Second)
						issued, err := e.IssueKey(t.Context(), 5001, 0)
						if err != nil || issued.APIKey != f.key(5001) {
							t.Fatalf("a dead key, or %v", err)
						}
					}
					time.Sleep(10 * time.Minute)
					calls := f.count("UserGetAPIKey")
					for range 10 {
						if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
							t.Error(err)
						}
					}
					if n := f.count("UserGetAPIKey") - calls; n > 1 {
						t.Errorf("%d calls: it is never cached again", n)
					}
					e.Close()
					time.Sleep(2 * time.Minute)
				})
			})
		}
	}
}

// Reads and counted reads that overlap a replacement never get a key that was
// replaced before they began.
func TestReadsDuringAReplacement(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 50 * time.Millisecond, 2 * time.Second} {
		for _, cache := range []time.Duration{0, time.Hour} {
			t.Run(late.String(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := newFake()
					e, _ := onRevoke(t, f, func(c *Config) { c.KeyCacheTTL = cache })
					f.late = []time.Duration{late, late, late}
					go func() {
						for range 3 {
							time.Sleep(700 * time.Millisecond)
							if _, err := e.RotateKey(context.Background(), 5001); err != nil {
								t.Error(err)
							}
						}
					}()
					atOnce(300, func(i int) {
						time.Sleep(time.Duration(i) * 33 * time.Millisecond)
						before := f.key(5001)
						read := e.IssueKey
						if i%3 == 0 {
							read = func(ctx context.Context, _ int32, ttl time.Duration) (Issued, error) {
								return e.IssueCreds(ctx, "a", ttl)
							}
						}
						issued, err := read(t.Context(), 5001, 0)
						if err != nil {
							t.Error(err)
						}
						if i%3 == 0 && issued.APIKey != f.key(5001) && before == f.key(5001) {
							t.Errorf("%d: counted for a dead key", i)
						}
						if f.generation(issued.APIKey) < f.generation(before) {
							t.Errorf("%d: a key that was replaced before the read began", i)
						}
					})
					e.Close()
				})
			})
		}
	}
}
