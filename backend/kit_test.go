// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The test kit of this package.
//
// Tests run in virtual time (testing/synctest), in which waiting costs nothing:
// runVirtual, runCase, sweep and breakEachStep do that.
//
// configured returns an Engine whose login is stored, the fake ECGrid that it uses and
// its storage. Engines are closed when the test ends. tickFor does what Vault does each
// minute. The functions named check… and want… report a failure and go on.
//
// fakeECGrid (fake_ecgrid_test.go) is ECGrid in memory. It keeps to these rules:
//
//   - A Login with the current password opens a session, unless maxSessions are open.
//     Otherwise it is refused. The SessionID "api-key" is that of an API key, which is
//     always valid.
//   - Every other call but Version and Logout needs an open session. Without one it
//     fails with ErrSessionExpired.
//   - ChangePassword compares the old password and sets the new one. It compares when
//     the change is applied or, with comparesEarly, when the call arrives.
//   - Every call takes latency and ends with its context.
//   - A change that was received is applied even if its caller does not wait. A test can
//     delay it, lose its answer, answer it with a fault before it is applied, or fail it
//     before it has an effect.
//
// process (fake_process_test.go) is one process of the plugin. A hook sees every
// operation on storage and on ECGrid twice: before the operation and before its answer.
// A killed process stands still at its next step: what it has sent goes on, and nothing
// else does. When the test ends, what stands still fails with errKilled and ends.
// breakEachStep repeats a test until every step was broken in every way.

// runVirtual runs a parallel test in virtual time.
func runVirtual(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// runCase runs a subtest in virtual time.
func runCase(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { runVirtual(t, test) })
}

// sweep runs a test at each of the times, until it fails once.
func sweep(t *testing.T, name string, times []time.Duration, test func(t *testing.T, at time.Duration)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		for _, at := range times {
			synctest.Test(t, func(t *testing.T) { test(t, at) })
			if t.Failed() {
				t.Fatalf("failed at %s", at)
			}
		}
	})
}

// every returns the times from begin until before end.
func every(step, begin, end time.Duration) (times []time.Duration) {
	for at := begin; at < end; at += step {
		times = append(times, at)
	}
	return times
}

// concurrently runs do n times at once and waits.
func concurrently(n int, do func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { do(i) })
	}
	wg.Wait()
}

func ptr[T any](v T) *T { return &v }

// errAny is a failure without a meaning of its own.
var errAny = errors.New("any error")

// errOf returns the error of a call with two results.
func errOf[T any](_ T, err error) error { return err }

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("unexpected error: %v", err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// wantStatus checks the HTTP status of a failure, which is 0 for nil.
func wantStatus(t *testing.T, err error, want int) {
	t.Helper()
	if status, _, _ := Describe(err); status != want {
		t.Errorf("got status %d for %v, want %d", status, err, want)
	}
}

// checkWithin fails the test if do fails or takes longer than most.
func checkWithin(t *testing.T, most time.Duration, what string, do func() error) {
	t.Helper()
	began := time.Now()
	if err := do(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if took := time.Since(began); took > most {
		t.Errorf("%s took %s, want at most %s", what, took, most)
	}
}

// testEngine returns an engine of the mount in storage.
func testEngine(t *testing.T, f *fakeECGrid, storage logical.Storage) *Engine {
	return testEngineAt(t, f, storage, connectTo(f))
}

func connectTo(client ecgrid.Client) ecgrid.Connector {
	return func(ecgrid.Endpoint) (ecgrid.Client, error) { return client, nil }
}

func testEngineAt(t *testing.T, f *fakeECGrid, storage logical.Storage, connect ecgrid.Connector) *Engine {
	e := New(Options{
		Storage:            storage,
		Connect:            connect,
		Clock:              SystemClock{},
		Random:             rand.Reader,
		Logger:             hclog.NewNullLogger(),
		PasswordFromPolicy: func(context.Context, string) (string, error) { return f.policy, nil },
		DefaultLeaseTTL:    func() time.Duration { return 768 * time.Hour },
		MaxLeaseTTL:        func() time.Duration { return 768 * time.Hour },
		Tainted:            f.tainted.Load,
		Notify:             f.events.add,
	})
	t.Cleanup(e.Close)
	return e
}

// configured returns an engine whose login is stored and not yet used.
func configured(t *testing.T, change ...func(*Config)) (*fakeECGrid, *Engine, *logical.InmemStorage) {
	t.Helper()
	f, storage := newFake(), new(logical.InmemStorage)
	e := testEngine(t, f, storage)
	check(t, e.store.putConfig(t.Context(), *stored(change...)))
	return f, e, storage
}

// stored is the config that configured stores.
func stored(change ...func(*Config)) *Config {
	c := defaultConfig()
	c.Username, c.Password = "login", "right"
	for _, ch := range change {
		ch(&c)
	}
	return &c
}

// withAPIKey configures the API key of user 100 instead of a password.
func withAPIKey(c *Config) { c.Username, c.Password, c.APIKey = "", "", "api-key" }

// noManager is the rotation manager of Vault Community.
type noManager struct{}

func (noManager) Keep(context.Context, Schedule) bool { return false }

func writeConfig(t *testing.T, e *Engine, patch ConfigPatch) {
	t.Helper()
	check(t, e.WriteConfig(t.Context(), patch, noManager{}))
}

// storedConfig reads the config, which must exist.
func storedConfig(t *testing.T, e *Engine) Config {
	t.Helper()
	c, err := e.ReadConfig(t.Context())
	if err != nil || c == nil {
		t.Fatalf("the config is missing or cannot be read: %v", err)
	}
	return *c
}

// writeRole writes a role, of user 5001 unless the patch names another.
func writeRole(t *testing.T, e *Engine, name string, patch RolePatch) {
	t.Helper()
	if patch.UserID == nil {
		patch.UserID = ptr(int32(5001))
	}
	check(t, e.WriteRole(t.Context(), name, patch))
}

func readRole(t *testing.T, e *Engine, name string) Role {
	t.Helper()
	r, err := e.ReadRole(t.Context(), name)
	check(t, err)
	return r
}

// readKey reads a user's key without a role.
func readKey(t *testing.T, e *Engine, userID int32) string {
	t.Helper()
	issued, err := e.IssueKey(t.Context(), userID, 0)
	check(t, err)
	return issued.APIKey
}

// tickFor calls Tick once a minute, as Vault does.
func tickFor(t *testing.T, e *Engine, d time.Duration) {
	t.Helper()
	for range d / time.Minute {
		time.Sleep(time.Minute)
		e.Tick(t.Context())
	}
}

// checkHealthy checks that a read works, that storage has the password that ECGrid has,
// and that no rotate-root is unresolved.
func checkHealthy(t *testing.T, f *fakeECGrid, e *Engine) {
	t.Helper()
	if key := readKey(t, e, 5001); key != f.now().keys[5001] {
		t.Errorf("a read returned key %q, want %q", key, f.now().keys[5001])
	}
	c := storedConfig(t, e)
	if c.Password != f.now().password && c.APIKey == "" {
		t.Errorf("storage and ECGrid have different passwords; last error %q", c.Root.LastError)
	}
	if c.unresolved() != nil {
		t.Errorf("a rotate-root is unresolved; last error %q", c.Root.LastError)
	}
}

// checkPasswordStored checks that storage has the password that ECGrid has, in use or
// pending.
func checkPasswordStored(t *testing.T, f *fakeECGrid, e *Engine) {
	t.Helper()
	if !isPasswordStored(t, f, e) {
		t.Errorf("the password that ECGrid has is not stored (%d are pending)", len(storedConfig(t, e).Pending))
	}
}

func isPasswordStored(t *testing.T, f *fakeECGrid, e *Engine) bool {
	c, now := storedConfig(t, e), f.now().password
	return c.Password == now || slices.Contains(c.pendingPasswords(), now)
}

// withCountedRoles is configured with roles that have rotate_on_revoke: a and b of user
// 5001, and other of user 5002.
func withCountedRoles(t *testing.T, change ...func(*Config)) (*fakeECGrid, *Engine, *logical.InmemStorage) {
	t.Helper()
	f, e, storage := configured(t, change...)
	for name, userID := range map[string]int32{"a": 5001, "b": 5001, "other": 5002} {
		writeRole(t, e, name, RolePatch{UserID: &userID, RotateOnRevoke: ptr(true)})
	}
	return f, e, storage
}

func issueCreds(t *testing.T, e *Engine, role string) Issued {
	t.Helper()
	issued, err := e.IssueCreds(t.Context(), role, 0)
	check(t, err)
	return issued
}

func revokeLeases(t *testing.T, e *Engine, leases ...Issued) {
	t.Helper()
	for _, l := range leases {
		check(t, e.RevokeLease(t.Context(), l.Lease))
	}
}

// countHolders returns how many counted leases are recorded.
func countHolders(t *testing.T, e *Engine) int {
	t.Helper()
	paths, err := e.store.holderPaths(t.Context())
	check(t, err)
	return len(paths)
}

func checkHolders(t *testing.T, e *Engine, want int) {
	t.Helper()
	if n := countHolders(t, e); n != want {
		t.Errorf("%d counted leases are recorded, want %d", n, want)
	}
}
