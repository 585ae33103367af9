// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A read that begins after a rotation returns the new key, even if an older read is still
// in progress or the config was written meanwhile.
func TestReadAfterRotateKey(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cache   time.Duration
		rewrite bool
		lost    error
	}{
		"no cache":                 {},
		"cache":                    {cache: time.Hour},
		"no cache, config written": {rewrite: true},
		"cache, config written":    {cache: time.Hour, rewrite: true},
		"no cache, answer lost":    {lost: ecgrid.ErrTimeout},
		"cache, answer lost":       {cache: time.Hour, lost: ecgrid.ErrTimeout},
	} {
		runCase(t, name, func(t *testing.T) {
			f, _, storage := configured(t, func(c *Config) { c.KeyCacheTTL = tt.cache })
			f.lost["GenerateAPIKey"] = tt.lost
			var slow atomic.Bool
			e, _ := startProcess(t, f, storage, func(s step) error {
				switch {
				case s == step{op: "GenerateAPIKey"}:
					time.Sleep(500 * time.Millisecond)
				case s == step{op: "UserGetAPIKey", done: true} && slow.Load():
					time.Sleep(10 * time.Second)
				}
				return nil
			})
			wantKey := func(got, want, when string) {
				t.Helper()
				if got != want {
					t.Errorf("%s: got key %q, want %q", when, got, want)
				}
			}
			rotated := make(chan error)
			go func() { rotated <- errOf(e.RotateKey(t.Context(), 5001)) }()
			time.Sleep(100 * time.Millisecond) // GenerateAPIKey is in progress
			if tt.rewrite {
				go writeConfig(t, e, ConfigPatch{TTL: ptr(time.Hour)})
				synctest.Wait()
			}
			wantKey(readKey(t, e, 5001), "key-5001", "before the rotation")
			slow.Store(tt.cache == 0) // the next read gets the old key and takes 10 s
			older := make(chan string, 1)
			go func() { older <- readKey(t, e, 5001) }()
			time.Sleep(50 * time.Millisecond)
			slow.Store(false)
			check(t, <-rotated)
			wantKey(readKey(t, e, 5001), f.now().keys[5001], "after the rotation")
			wantKey(<-older, "key-5001", "a read that began before")
			wantKey(readKey(t, e, 5001), f.now().keys[5001], "after that read")
			checkChanges(t, f, 1)
		})
	}
}

// A read during replacements never returns a key that was replaced before the read began.
func TestReadsDuringRotateKey(t *testing.T) {
	t.Parallel()
	for _, late := range []time.Duration{0, 50 * time.Millisecond, 2 * time.Second} {
		for _, cache := range []time.Duration{0, time.Hour} {
			runCase(t, late.String(), func(t *testing.T) {
				f, e, _ := withCountedRoles(t, func(c *Config) { c.KeyCacheTTL = cache })
				f.applyAfter = []time.Duration{late, late, late}
				go func() {
					for range 3 {
						time.Sleep(700 * time.Millisecond)
						check(t, errOf(e.RotateKey(context.Background(), 5001)))
					}
				}()
				concurrently(300, func(i int) {
					time.Sleep(time.Duration(i) * 33 * time.Millisecond)
					before := f.now().keys[5001]
					read := e.IssueKey
					if i%3 == 0 {
						read = func(ctx context.Context, _ int32, ttl time.Duration) (Issued, error) {
							return e.IssueCreds(ctx, "a", ttl)
						}
					}
					issued, err := read(t.Context(), 5001, 0)
					check(t, err)
					if i%3 == 0 && issued.APIKey != f.now().keys[5001] && before == f.now().keys[5001] {
						t.Errorf("read %d: a lease was recorded for a replaced key", i)
					}
					if changes := f.now().changes; slices.Index(changes, issued.APIKey) < slices.Index(changes, before) {
						t.Errorf("read %d: got %q, which was replaced before the read began", i, issued.APIKey)
					}
				})
			})
		}
	}
}

// After an unconfirmed replacement the user's key is not cached for a while, since ECGrid
// may apply the replacement late. The next process does not cache it either.
func TestNoCacheAfterUnconfirmedRotateKey(t *testing.T) {
	t.Parallel()
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		for _, late := range []time.Duration{20 * time.Second, time.Minute, 10 * time.Minute} {
			runCase(t, name+" "+late.String(), func(t *testing.T) {
				f, _, storage := configured(t, func(c *Config) { c.KeyCacheTTL = time.Hour })
				f.applyAfter = []time.Duration{late}
				first, p := startProcess(t, f, storage, nil)
				e := first
				go func() {
					err := errOf(first.RotateKey(context.Background(), 5001))
					if !restart && late > stored().requestDeadline() {
						wantErr(t, err, ErrUnconfirmed)
					}
				}()
				time.Sleep(time.Second)
				if restart {
					p.kill()
					e = testEngine(t, f, storage)
				}
				for range 60 {
					time.Sleep(15 * time.Second)
					if key := readKey(t, e, 5001); key != f.now().keys[5001] {
						t.Fatalf("read key %q, want %q", key, f.now().keys[5001])
					}
				}
				time.Sleep(10 * time.Minute)
				calls := f.now().calls["UserGetAPIKey"]
				for range 10 {
					readKey(t, e, 5001)
				}
				if n := f.now().calls["UserGetAPIKey"] - calls; n > 1 {
					t.Errorf("%d calls for 10 reads, want the key to be cached again", n)
				}
				e.Close()
				time.Sleep(2 * time.Minute)
			})
		}
	}
}
