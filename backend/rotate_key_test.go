// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/panics"
)

// GenerateAPIKey is called at most once. If its answer is lost, the key is read to see
// whether it was replaced.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	type setup func(f *fakeECGrid)
	failing := func(op string, err error) setup { return func(f *fakeECGrid) { f.failWith(op, err) } }
	lost := func(err error) setup { return func(f *fakeECGrid) { f.lost["GenerateAPIKey"] = err } }
	then := func(first setup, op string, err error) setup {
		return func(f *fakeECGrid) {
			first(f)
			f.on("GenerateAPIKey", func() { f.failWith(op, err) })
		}
	}
	type test struct {
		userID  int32
		setup   setup
		want    error
		status  int
		calls   int // of GenerateAPIKey
		applied int
		warned  bool
		reads   int // of the key
	}
	tests := map[string]test{
		"user with a key":     {userID: 5001, calls: 1, applied: 1, reads: 1},
		"user without a key":  {userID: 6000, calls: 1, applied: 1, reads: 1},
		"no such user":        {userID: 9, want: ecgrid.ErrNotFound, status: http.StatusNotFound, reads: 1},
		"old key not read":    {userID: 5001, setup: failing("UserGetAPIKey", ecgrid.ErrTimeout), want: ecgrid.ErrTimeout, status: http.StatusGatewayTimeout, reads: 1},
		"denied":              {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrAccessDenied), want: ecgrid.ErrAccessDenied, status: http.StatusForbidden, calls: 1, reads: 1},
		"refused":             {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrAuthentication), want: ecgrid.ErrAuthentication, status: http.StatusForbidden, calls: 1, reads: 1},
		"user gone":           {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrNotFound), want: ecgrid.ErrNotFound, status: http.StatusNotFound, calls: 1, reads: 1},
		"session dead":        {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrSessionExpired), want: ErrNotApplied, status: http.StatusConflict, calls: 1, reads: 1},
		"too many calls":      {userID: 5001, setup: failing("GenerateAPIKey", ecgrid.ErrRateLimited), want: ErrNotApplied, status: http.StatusConflict, calls: 1, reads: 1},
		"the old key again":   {userID: 5001, setup: func(f *fakeECGrid) { f.returnsOldKey = true }, want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, reads: 2},
		"no key, answer lost": {userID: 6000, setup: lost(ecgrid.ErrTimeout), calls: 1, applied: 1, warned: true, reads: 2},
		"no key, not applied": {userID: 6000, setup: failing("GenerateAPIKey", ecgrid.ErrTimeout), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, reads: 2},
		"login refused":       {userID: 5001, setup: func(f *fakeECGrid) { f.password = "other" }, want: session.ErrRefused, status: http.StatusBadRequest},
		"lost, then no user":  {userID: 5001, setup: then(lost(ecgrid.ErrTimeout), "UserGetAPIKey", ecgrid.ErrNotFound), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, applied: 1, reads: 2},
	}
	for _, kind := range unconfirmedErrors {
		tests[kind.Error()+", applied"] = test{userID: 5001, setup: lost(kind), calls: 1, applied: 1, warned: true, reads: 2}
		tests[kind.Error()+", not applied"] = test{userID: 5001, setup: failing("GenerateAPIKey", kind), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, reads: 2}
		for _, second := range []error{ecgrid.ErrTimeout, ecgrid.ErrUnreachable, ecgrid.ErrBadAnswer, ecgrid.ErrServerFault, ecgrid.ErrAccessDenied} {
			name := kind.Error() + ", then " + second.Error()
			tests[name+", applied"] = test{userID: 5001, setup: then(lost(kind), "UserGetAPIKey", second), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, applied: 1, reads: 2}
			tests[name+", not applied"] = test{userID: 5001, setup: then(failing("GenerateAPIKey", kind), "UserGetAPIKey", second), want: ErrUnconfirmed, status: http.StatusConflict, calls: 1, reads: 2}
		}
	}
	for name, tt := range tests {
		runCase(t, name, func(t *testing.T) {
			f, e, _ := configured(t)
			f.keys[6000] = ""
			if tt.setup != nil {
				tt.setup(f)
			}
			done, err := e.RotateKey(t.Context(), tt.userID)
			if !errors.Is(err, tt.want) || tt.want != ErrUnconfirmed && errors.Is(err, ErrUnconfirmed) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			wantStatus(t, err, tt.status)
			checkCalls(t, f, "GenerateAPIKey", tt.calls)
			checkCalls(t, f, "UserGetAPIKey", tt.reads)
			checkChanges(t, f, tt.applied)
			if err == nil && (done.UserID != tt.userID || !done.RotatedAt.Equal(time.Now()) || done.RotatedAt.Location() != time.UTC) {
				t.Errorf("got %+v, want user %d at %s in UTC", done, tt.userID, time.Now())
			}
			if (len(done.Warnings) > 0) != tt.warned {
				t.Errorf("got warnings %v, want any: %t", done.Warnings, tt.warned)
			}
		})
	}
}

// After a call that was not sent the key is not read. The error is not "unconfirmed".
func TestRotateKeyNotSent(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, _, storage := configured(t)
		e, _ := startProcess(t, f, storage, func(s step) error {
			if s.op == "GenerateAPIKey" && !s.done {
				return &ecgrid.Error{Op: s.op, Kind: ecgrid.ErrUnreachable}
			}
			return nil
		})
		wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), ecgrid.ErrUnreachable)
		checkCalls(t, f, "UserGetAPIKey", 1)
		checkChanges(t, f, 0)
	})
}

// The api_key of the config is never replaced. ECGrid is asked once whose key it is.
func TestRotateOwnKey(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, withAPIKey)
		f.set(func() { f.keys[100] = "api-key" })
		writeRole(t, e, "own", RolePatch{UserID: ptr(int32(100))})
		f.failWith("WhoAmI", ecgrid.ErrUnreachable)
		wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), ecgrid.ErrUnreachable)
		f.failWith("WhoAmI", nil)
		for range 2 {
			err := errOf(e.RotateKey(t.Context(), 100))
			wantErr(t, err, ErrOwnKey)
			wantStatus(t, err, http.StatusBadRequest)
		}
		wantErr(t, errOf(e.RotateRole(t.Context(), "own")), ErrOwnKey)
		checkCalls(t, f, "GenerateAPIKey", 0)
		checkCalls(t, f, "WhoAmI", 2)
		check(t, errOf(e.RotateKey(t.Context(), 5001)))
		// If the config uses a password, that key can be replaced.
		writeConfig(t, e, ConfigPatch{Username: ptr("login"), Password: ptr("right")})
		check(t, errOf(e.RotateKey(t.Context(), 100)))
	})
}

// If the config moves to another server meanwhile, the key there proves nothing.
func TestRotateKeyServerChanged(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]error{
		"https://other.example/x": ErrUnconfirmed,
		"https://os.ecgrid.io/x":  nil,
	} {
		runCase(t, url, func(t *testing.T) {
			f, e, _ := configured(t)
			f.set(func() { f.lost["GenerateAPIKey"] = ecgrid.ErrTimeout })
			f.on("GenerateAPIKey", func() {
				go writeConfig(t, e, ConfigPatch{URL: &url, Password: ptr("right"), VerifyConnection: ptr(false)})
				time.Sleep(500 * time.Millisecond)
			})
			wantErr(t, errOf(e.RotateKey(t.Context(), 5001)), want)
			checkCalls(t, f, "GenerateAPIKey", 1)
			checkChanges(t, f, 1)
			time.Sleep(10 * time.Second) // the config write ends
		})
	}
}

// Concurrent rotations of one user run one after the other. A read returns the current key.
func TestConcurrentRotateKey(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.KeyCacheTTL = time.Hour })
		var busy, most atomic.Int32
		f.on("GenerateAPIKey", func() {
			most.Store(max(most.Load(), busy.Add(1)))
			time.Sleep(time.Second)
			busy.Add(-1)
		})
		concurrently(8, func(int) {
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
			before := f.now().keys[5001]
			key := readKey(t, e, 5001)
			if after := f.now().keys[5001]; key != before && key != after {
				t.Errorf("read key %q, want %q or %q", key, before, after)
			}
		})
		checkCalls(t, f, "GenerateAPIKey", 8)
		checkChanges(t, f, 8)
		if most.Load() != 1 {
			t.Errorf("%d replacements ran at once", most.Load())
		}
	})
}

// If the client hangs up, a replacement that was sent goes on, and no other begins.
func TestRotateKeyCanceled(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		during string
		want   int
	}{
		"during the Login":       {"Login", 0},
		"while the key is read":  {"UserGetAPIKey", 0},
		"during the replacement": {"GenerateAPIKey", 1},
	} {
		for _, lost := range []error{nil, ecgrid.ErrTimeout} {
			runCase(t, name, func(t *testing.T) {
				f, e, _ := configured(t, func(c *Config) { c.KeyCacheTTL = time.Hour })
				f.set(func() { f.lost["GenerateAPIKey"] = lost })
				ctx, hangUp := context.WithCancel(t.Context())
				f.on(tt.during, hangUp)
				if err := errOf(e.RotateKey(ctx, 5001)); (err == nil) != (tt.want == 1) {
					t.Errorf("got error %v, want success: %t", err, tt.want == 1)
				}
				time.Sleep(time.Minute)
				checkChanges(t, f, tt.want)
				checkCalls(t, f, "GenerateAPIKey", tt.want)
				f.on(tt.during, nil)
				if key := readKey(t, e, 5001); key != f.now().keys[5001] {
					t.Errorf("read key %q afterwards, want %q", key, f.now().keys[5001])
				}
			})
		}
	}
	runCase(t, "while another rotation runs", func(t *testing.T) {
		f, e, _ := configured(t)
		f.on("GenerateAPIKey", func() { time.Sleep(10 * time.Second) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
		}()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, errOf(e.RotateKey(ctx, 5001)), context.DeadlineExceeded)
		<-done
		checkChanges(t, f, 1)
	})
}

// A panic of the client counts as a lost answer. All locks are free after it.
func TestRotateKeyPanics(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		at   step
		want error
		made int // replacements
	}{
		"before GenerateAPIKey": {step{op: "GenerateAPIKey"}, panics.Err, 0},
		"after GenerateAPIKey":  {step{op: "GenerateAPIKey", done: true}, nil, 1},
		"UserGetAPIKey":         {step{op: "UserGetAPIKey"}, panics.Err, 0},
		"Login":                 {step{op: "Login"}, panics.Err, 0},
		"WhoAmI":                {step{op: "WhoAmI"}, nil, 1},
	} {
		runCase(t, name, func(t *testing.T) {
			f, _, storage := configured(t)
			var over atomic.Bool
			e, _ := startProcess(t, f, storage, func(s step) error {
				if s == tt.at && over.CompareAndSwap(false, true) {
					panic("bug")
				}
				return nil
			})
			done, err := e.RotateKey(t.Context(), 5001)
			wantErr(t, err, tt.want)
			checkChanges(t, f, tt.made)
			if warned := len(done.Warnings) > 0; warned != (tt.at.op == "GenerateAPIKey" && tt.made == 1) {
				t.Errorf("got warnings %v", done.Warnings)
			}
			over.Store(true)
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
			checkChanges(t, f, tt.made+1)
		})
	}
}
