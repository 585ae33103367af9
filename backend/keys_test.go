// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestParseUserID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int32{
		"1": 1, "5001": 5001, "2147483647": 2147483647,
		"0": 0, "-1": 0, "+5001": 0, "05001": 0, " 5001": 0, "5001 ": 0, "5001/": 0, "0x1389": 0,
		"5_001": 0, "5e3": 0, "5001.0": 0, "2147483648": 0, "99999999999999999999": 0, "": 0,
		"٥٠٠١": 0, "5001\x00": 0, "5001\n": 0, "five": 0,
	} {
		got, err := ParseUserID(s)
		if got != want || (err == nil) != (want != 0) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: got user %d and error %v, want user %d", s, got, err, want)
		}
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{"5001", "05001", "+1", "", "2147483648", "٥"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseUserID(s); err == nil && strconv.Itoa(int(id)) != s {
			t.Errorf("%q was accepted as user %d", s, id)
		}
	})
}

// Reads of one user that overlap share a call. A later read makes a call of its own.
func TestOverlappingReadsShareACall(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		concurrently(200, func(i int) {
			userID := int32(5001 + i%2)
			if key := readKey(t, e, userID); key != f.now().keys[userID] {
				t.Errorf("user %d: got key %q", userID, key)
			}
		})
		if calls := f.now().calls; calls["Login"] != 1 || calls["UserGetAPIKey"] != 2 {
			t.Errorf("%d logins and %d calls for 200 reads of 2 users, want 1 and 2", calls["Login"], calls["UserGetAPIKey"])
		}
		readKey(t, e, 5001)
		checkCalls(t, f, "UserGetAPIKey", 3)
	})
}

// A key is served from memory for key_cache_ttl. A config write empties the cache.
func TestKeyCache(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.KeyCacheTTL = time.Minute })
		read := func(want string) {
			t.Helper()
			if key := readKey(t, e, 5001); key != want {
				t.Errorf("got key %q, want %q", key, want)
			}
		}
		read("key-5001")
		f.set(func() { f.keys[5001] = "new" })
		read("key-5001")
		checkCalls(t, f, "UserGetAPIKey", 1)
		time.Sleep(time.Minute)
		read("new")
		f.set(func() { f.keys[5001] = "newer" })
		writeConfig(t, e, ConfigPatch{TTL: ptr(time.Hour)})
		read("newer")
	})
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		userID int32
		fail   error
		want   error
	}{
		{9, nil, ecgrid.ErrNotFound},
		{6000, nil, ErrNoKey},
		{5001, ecgrid.ErrAccessDenied, ecgrid.ErrAccessDenied},
		{5001, ecgrid.ErrTimeout, ecgrid.ErrTimeout},
		{5001, ecgrid.ErrBadAnswer, ecgrid.ErrBadAnswer},
	} {
		synctest.Test(t, func(t *testing.T) {
			f, e, _ := configured(t)
			f.set(func() { f.keys[6000] = "" })
			f.failWith("UserGetAPIKey", tt.fail)
			if _, err := e.IssueKey(t.Context(), tt.userID, 0); !errors.Is(err, tt.want) {
				t.Errorf("user %d: got error %v, want %v", tt.userID, err, tt.want)
			}
			f.failWith("UserGetAPIKey", nil)
			readKey(t, e, 5002)
		})
	}
}

// A Login without a SessionID is not mistaken for a user without a key.
func TestEmptySessionID(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.failWith("Login", ecgrid.ErrEmptyResult)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ecgrid.ErrEmptyResult) || errors.Is(err, ErrNoKey) {
			t.Errorf("got error %v, want only %v", err, ecgrid.ErrEmptyResult)
		}
	})
}

// A call is canceled when all its reads have given up. The next read makes a new call.
func TestHungCallIsCanceled(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		readKey(t, e, 5002)
		f.set(func() { f.latency = time.Hour })
		concurrently(10, func(int) {
			ctx, hangUp := context.WithTimeout(t.Context(), time.Second)
			defer hangUp()
			wantErr(t, errOf(e.IssueKey(ctx, 5001, 0)), context.DeadlineExceeded)
		})
		f.set(func() { f.latency = 10 * time.Millisecond })
		checkWithin(t, time.Second, "the next read", func() error { return errOf(e.IssueKey(t.Context(), 5001, 0)) })
		checkCalls(t, f, "UserGetAPIKey", 3) // one for user 5002, one for those that gave up, one after
	})
}

// A read that joins a call late has its full time, even if that call times out.
func TestLateReadHasItsOwnDeadline(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		readKey(t, e, 5002)
		deadline := stored().requestDeadline()
		f.set(func() { f.latency = time.Hour })
		early, late := make(chan error), make(chan error)
		go func() { early <- errOf(e.IssueKey(t.Context(), 5001, 0)) }()
		time.Sleep(deadline - time.Second)
		go func() { late <- errOf(e.IssueKey(t.Context(), 5001, 0)) }()
		time.Sleep(500 * time.Millisecond)
		f.set(func() { f.latency = 10 * time.Millisecond })
		if err := <-early; err == nil {
			t.Error("the first read succeeded, but its call hangs")
		}
		check(t, <-late)
	})
}
