// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestWriteConfig(t *testing.T) {
	t.Parallel()
	login := ConfigPatch{Username: ptr("login"), Password: ptr("right")}
	tests := map[string]struct {
		before func(f *fakeECGrid, s *logical.InmemStorage)
		patch  ConfigPatch
		want   error // nil: stored
		logins int
	}{
		"login works":               {nil, login, nil, 1},
		"login is refused":          {nil, ConfigPatch{Username: ptr("login"), Password: ptr("wrong")}, session.ErrRefused, 1},
		"login is not verified":     {nil, ConfigPatch{Username: ptr("login"), Password: ptr("wrong"), VerifyConnection: ptr(false)}, nil, 0},
		"ECGrid is down":            {func(f *fakeECGrid, _ *logical.InmemStorage) { f.failWith("Login", ecgrid.ErrUnreachable) }, login, ecgrid.ErrUnreachable, 1},
		"ttl needs no ECGrid":       {func(f *fakeECGrid, _ *logical.InmemStorage) { f.failWith("Login", ecgrid.ErrUnreachable) }, ConfigPatch{TTL: ptr(time.Hour)}, nil, 0},
		"ttl, verified":             {nil, ConfigPatch{TTL: ptr(time.Hour), VerifyConnection: ptr(true)}, nil, 1},
		"storage cannot be written": {func(_ *fakeECGrid, s *logical.InmemStorage) { s.Underlying().FailPut(true) }, login, errAny, 0},
		"storage cannot be read":    {func(_ *fakeECGrid, s *logical.InmemStorage) { s.Underlying().FailGet(true) }, login, errAny, 0},
		"invalid":                   {nil, ConfigPatch{URL: ptr("https://evil.example/")}, ErrInvalid, 0},
	}
	for name, tt := range tests {
		runCase(t, name, func(t *testing.T) {
			f, e, storage := configured(t)
			old, err := e.ReadConfig(t.Context())
			check(t, err)
			if tt.before != nil {
				tt.before(f, storage)
			}
			err = e.WriteConfig(t.Context(), tt.patch, noManager{})
			if (tt.want == nil) != (err == nil) || tt.want != nil && tt.want != errAny && !errors.Is(err, tt.want) {
				t.Errorf("got error %v, want %v", err, tt.want)
			}
			if n := f.now().calls["Login"]; n != tt.logins {
				t.Errorf("%d logins, want %d", n, tt.logins)
			}
			storage.Underlying().FailPut(false)
			storage.Underlying().FailGet(false)
			now, err := e.ReadConfig(t.Context())
			check(t, err)
			if tt.want != nil && !reflect.DeepEqual(now, old) {
				t.Error("a failed write changed the config")
			}
			f.failWith("Login", nil)
			if tt.want != nil { // the old config still works
				readKey(t, e, 5001)
			}
			e.Close()
			checkSessions(t, f, 0)
		})
	}
}

// A config write logs in once. Its session stays open for the next read. The old session
// is logged out before, since it may have the last place in the session table.
func TestWriteConfigSessions(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.maxSessions = 1
		for range 3 {
			writeConfig(t, e, ConfigPatch{Username: ptr("login"), Password: ptr("right")})
			readKey(t, e, 5001)
		}
		if n := f.now().calls["Login"]; n != 3 {
			t.Errorf("%d logins for 3 writes with a read each, want 3", n)
		}
		check(t, e.DeleteConfig(t.Context(), noManager{}))
		checkSessions(t, f, 0)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), ErrNotConfigured)
		check(t, e.DeleteConfig(t.Context(), noManager{}))
	})
}

// A config write with a password that works ends the pause after a refused login.
func TestWriteConfigEndsThePause(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.password = "changed"
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), session.ErrRefused)
		wantErr(t, errOf(e.IssueKey(t.Context(), 5001, 0)), session.ErrPaused)
		writeConfig(t, e, ConfigPatch{Password: ptr("changed")})
		readKey(t, e, 5001)
	})
}

// Reads succeed while the config is replaced.
func TestReadsDuringWriteConfig(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.latency = 700 * time.Millisecond
		go concurrently(40, func(i int) {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			if _, err := e.IssueKey(t.Context(), int32(5001+i%2), 0); err != nil {
				t.Errorf("read %d: %v", i, err)
			}
		})
		for range 4 {
			writeConfig(t, e, ConfigPatch{Password: ptr("right")})
		}
		time.Sleep(5 * time.Minute)
		checkSessions(t, f, 0)
	})
}

// A config write waits for a read whose session has the last place in the session table.
func TestWriteConfigWaitsForARead(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.maxSessions, f.latency = 1, 300*time.Millisecond
		readKey(t, e, 5001)
		go func() {
			readKey(t, e, 5002)
		}()
		synctest.Wait()
		writeConfig(t, e, ConfigPatch{Password: ptr("right")})
	})
}
