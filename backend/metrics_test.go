// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// sample returns the value of a series in the metrics of an engine; ok is false if it is
// missing.
func sample(t *testing.T, e *Engine, series string) (value float64, ok bool) {
	t.Helper()
	text, err := e.Metrics(t.Context())
	check(t, err)
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "ecgrid_"+series+" "); found {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			check(t, err)
			return value, true
		}
	}
	return 0, false
}

// wantSamples compares series. Below 0 means that the series must be missing.
func wantSamples(t *testing.T, e *Engine, want map[string]float64) {
	t.Helper()
	for series, value := range want {
		got, ok := sample(t, e, series)
		if value < 0 && ok {
			t.Errorf("%s is %v, want none", series, got)
		}
		if value >= 0 && (!ok || got != value) {
			t.Errorf("%s is %v (exists: %v), want %v", series, got, ok, value)
		}
	}
}

// metricsCase does something on a mount and compares series.
type metricsCase struct {
	config func(*Config)
	do     func(t *testing.T, f *fakeECGrid, e *Engine)
	want   map[string]float64
}

func runMetricsCases(t *testing.T, cases map[string]metricsCase) {
	t.Parallel()
	for name, tt := range cases {
		runCase(t, name, func(t *testing.T) {
			config := func(c *Config) {
				if tt.config != nil {
					tt.config(c)
				}
			}
			f, e, _ := configured(t, config)
			tt.do(t, f, e)
			synctest.Wait()
			wantSamples(t, e, tt.want)
		})
	}
}

// failedRead reads a key that cannot be read.
func failedRead(t *testing.T, e *Engine, userID int32) {
	t.Helper()
	if _, err := e.IssueKey(t.Context(), userID, 0); err == nil {
		t.Errorf("the key of %d was read", userID)
	}
}

func call(operation, outcome string) string {
	return fmt.Sprintf("calls_total{operation=%q,outcome=%q}", operation, outcome)
}

func TestMeasuredCalls(t *testing.T) {
	failing := func(kind error) func(t *testing.T, f *fakeECGrid, e *Engine) {
		return func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opUserGetAPIKey, kind)
			failedRead(t, e, 5001)
		}
	}
	runMetricsCases(t, map[string]metricsCase{
		"nothing": {do: func(*testing.T, *fakeECGrid, *Engine) {}, want: map[string]float64{
			call(opLogin, "ok"): 0, call(opUserGetAPIKey, "timeout"): 0, call(opVersion, "internal"): 0, "calls_in_flight": 0,
		}},
		"a read": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { readKey(t, e, 5001) }, want: map[string]float64{
			call(opLogin, "ok"): 1, call(opUserGetAPIKey, "ok"): 1, "calls_in_flight": 0,
			"call_duration_seconds_sum{operation=\"UserGetAPIKey\"}":                .01,
			"call_duration_seconds_count{operation=\"UserGetAPIKey\"}":              1,
			"call_duration_seconds_bucket{operation=\"UserGetAPIKey\",le=\"0.01\"}": 1,
		}},
		"all operations": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.set(func() { f.users = []ecgrid.User{{UserID: 5001}} })
			check(t, errOf(e.ListUsers(t.Context())))
			check(t, errOf(e.RotateKey(t.Context(), 5001)))
			check(t, errOf(e.Status(t.Context())))
			check(t, errOf(e.RotateRoot(t.Context())))
		}, want: map[string]float64{
			call(opUserList, "ok"): 1, call(opGenerateAPIKey, "ok"): 1, call(opChangePassword, "ok"): 1, call(opLogout, "ok"): 1,
			call(opWhoAmI, "ok"): 2, call(opVersion, "ok"): 1,
		}},
		"no key":       {do: failing(ecgrid.ErrEmptyResult), want: map[string]float64{call(opUserGetAPIKey, "no-key"): 1, call(opUserGetAPIKey, "bad-answer"): 0}},
		"unreachable":  {do: failing(ecgrid.ErrUnreachable), want: map[string]float64{call(opUserGetAPIKey, "unreachable"): 1, call(opUserGetAPIKey, "ok"): 0}},
		"rate limited": {do: failing(ecgrid.ErrRateLimited), want: map[string]float64{call(opUserGetAPIKey, "rate-limited"): 1}},
		"no sentinel":  {do: failing(errAny), want: map[string]float64{call(opUserGetAPIKey, "internal"): 1}},
		"a panic": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.on(opUserGetAPIKey, func() { panic("any") })
			failedRead(t, e, 5001)
		}, want: map[string]float64{call(opUserGetAPIKey, "internal"): 1, call(opUserGetAPIKey, "ok"): 0, "calls_in_flight": 0}},
		"given up": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opUserGetAPIKey, fmt.Errorf("%w: %w", ecgrid.ErrTimeout, context.Canceled)) // as the clients do
			failedRead(t, e, 5001)
		}, want: map[string]float64{call(opUserGetAPIKey, "canceled"): 1, call(opUserGetAPIKey, "timeout"): 0}},
		"in flight": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.on(opUserGetAPIKey, func() { wantSamples(t, e, map[string]float64{"calls_in_flight": 1}) })
			readKey(t, e, 5001)
		}},
	})
}

// Every class that a call can have is counted by its own name.
func TestCallClassesAreComplete(t *testing.T) {
	t.Parallel()
	classes := callClasses()
	for _, m := range meanings {
		outcome := callOutcome(&ecgrid.Error{Kind: m.err})
		if m.ofCall && !slices.Contains(classes, outcome) {
			t.Errorf("%v is counted as %s, which is no class of a call", m.err, outcome)
		}
	}
	if len(classes) != 13 {
		t.Errorf("classes %q, want the 13 of docs/monitoring.md", classes)
	}
}

func login(result string) string { return fmt.Sprintf("logins_total{outcome=%q}", result) }

func TestMeasuredLogins(t *testing.T) {
	failing := func(kind error) func(t *testing.T, f *fakeECGrid, e *Engine) {
		return func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opLogin, kind)
			failedRead(t, e, 5001)
		}
	}
	runMetricsCases(t, map[string]metricsCase{
		"ok": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { readKey(t, e, 5001) }, want: map[string]float64{
			login("ok"): 1, login("refused"): 0, "login_pause_seconds": 0, "sessions_open": 1, "sessions_leftover": 0,
		}},
		"refused": {do: failing(ecgrid.ErrAuthentication), want: map[string]float64{
			login("refused"): 1, login("ok"): 0, "login_pause_seconds": 1, "sessions_open": 0, call(opLogin, "access-denied"): 1,
		}},
		"refused three times": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opLogin, ecgrid.ErrAuthentication)
			for range 3 {
				failedRead(t, e, 5001)
				time.Sleep(2 * time.Minute)
			}
			failedRead(t, e, 5001) // paused, so no Login is sent
		}, want: map[string]float64{login("refused"): 3, call(opLogin, "access-denied"): 3, "login_pause_seconds": 539.981}},
		"lost":    {do: failing(ecgrid.ErrTimeout), want: map[string]float64{login("lost"): 1, login("refused"): 0}},
		"faulted": {do: failing(ecgrid.ErrServerFault), want: map[string]float64{login("faulted"): 1}},
		"logged out": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			readKey(t, e, 5001)
			time.Sleep(2 * time.Minute)
		}, want: map[string]float64{"sessions_open": 0, "sessions_leftover": 0}},
		"not logged out": {do: func(t *testing.T, f *fakeECGrid, e *Engine) {
			f.failWith(opLogout, ecgrid.ErrUnreachable)
			readKey(t, e, 5001)
			time.Sleep(2 * time.Minute)
		}, want: map[string]float64{"sessions_open": 0, "sessions_leftover": 1}},
		"api_key": {config: withAPIKey, do: func(t *testing.T, f *fakeECGrid, e *Engine) { readKey(t, e, 5001) }, want: map[string]float64{
			login("ok"): 0, "sessions_open": 0, "login_pause_seconds": 0, `config_info{auth_method="api_key",transport="soap"}`: 1,
		}},
	})
}

// The pause is known without a connection in use: after another node wrote the config, and
// before the first Login of a process. It is missing if it cannot be read.
func TestMeasuredPauseWithoutConnection(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		f.set(func() { f.password = "other" })
		failedRead(t, e, 5001)
		time.Sleep(2 * time.Second)
		failedRead(t, e, 5001)
		calls := f.now().calls
		wantSamples(t, e, map[string]float64{"login_pause_seconds": 60})
		e.Invalidate(configKey)
		time.Sleep(time.Second)
		wantSamples(t, e, map[string]float64{"login_pause_seconds": 59})
		e.Close()
		next, _ := startProcess(t, f, storage, func(step) error { return nil })
		wantSamples(t, next, map[string]float64{"login_pause_seconds": 59})
		broken, _ := startProcess(t, f, storage, func(s step) error {
			if s.key == attemptsKey {
				return errors.New("storage fails")
			}
			return nil
		})
		wantSamples(t, broken, map[string]float64{"login_pause_seconds": -1, "sessions_open": 0})
		if !maps.Equal(f.now().calls, calls) {
			t.Error("a scrape called ECGrid")
		}
	})
}

// unreachableLogin is an ECGrid that no Login reaches.
type unreachableLogin struct{ *fakeECGrid }

func (unreachableLogin) Login(context.Context, string, string) (ecgrid.LoginResult, error) {
	return ecgrid.LoginResult{}, &ecgrid.Error{Op: opLogin, Kind: ecgrid.ErrUnreachable}
}

func TestMeasuredLoginThatWasNotSent(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, _, storage := configured(t)
		e := testEngineAt(t, f, storage, connectTo(unreachableLogin{f}))
		failedRead(t, e, 5001)
		wantSamples(t, e, map[string]float64{login("unsent"): 1, login("lost"): 0, "login_pause_seconds": 0})
	})
}

func TestMeasuredReads(t *testing.T) {
	cached := func(c *Config) { c.KeyCacheTTL = time.Hour }
	runMetricsCases(t, map[string]metricsCase{
		"asked": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { readKey(t, e, 5001); readKey(t, e, 5001) },
			want: map[string]float64{`key_reads_total{source="asked"}`: 2, `key_reads_total{source="shared"}`: 0, `key_reads_total{source="cached"}`: 0}},
		"shared": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { concurrently(5, func(int) { readKey(t, e, 5001) }) },
			want: map[string]float64{`key_reads_total{source="asked"}`: 1, `key_reads_total{source="shared"}`: 4, call(opUserGetAPIKey, "ok"): 1}},
		"cached": {config: cached, do: func(t *testing.T, f *fakeECGrid, e *Engine) { readKey(t, e, 5001); readKey(t, e, 5001) },
			want: map[string]float64{`key_reads_total{source="asked"}`: 1, `key_reads_total{source="cached"}`: 1}},
		"failed": {do: func(t *testing.T, f *fakeECGrid, e *Engine) { failedRead(t, e, 1) },
			want: map[string]float64{`key_reads_total{source="asked"}`: 1}},
	})
}

// A scrape calls nobody and writes nothing, with and without a config.
func TestScrapeChangesNothing(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		check(t, errOf(e.Metrics(t.Context())))
		storage.Underlying().FailPut(true)
		storage.Underlying().FailDelete(true)
		check(t, errOf(e.Metrics(t.Context())))
		if n := len(f.now().calls); n != 0 {
			t.Errorf("%d operations of ECGrid were called", n)
		}
		storage.Underlying().FailGet(true)
		if errOf(e.Metrics(t.Context())) == nil {
			t.Error("a scrape succeeds although the config cannot be read")
		}
		empty := testEngine(t, f, new(logical.InmemStorage))
		wantSamples(t, empty, map[string]float64{
			"calls_max": -1, "root_rotation_unresolved": -1, "roles_scheduled": -1, "counted_leases": -1, "sessions_open": 0,
		})
	})
}
