// SPDX-License-Identifier: MPL-2.0

package session

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The kit of this package's tests. They run in virtual time (testing/synctest):
// runVirtual and runCase give each test a process of the plugin and an ECGrid.
//
//   - fake_ecgrid_test.go is ECGrid and the client that calls it.
//   - fake_process_test.go is a process that can be killed, and its storage.

// Secrets begin with this prefix: passwords, keys, SessionIDs. Logs and errors are
// searched for it.
const (
	secret = "secret-"
	right  = secret + "right"
	wrong  = secret + "wrong"
	other  = secret + "other"
)

type testFunc func(t *testing.T, p *process, f *fakeECGrid)

// runVirtual runs a test in virtual time. A goroutine that is left at its end fails it.
func runVirtual(t *testing.T, test testFunc) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeECGrid()
		test(t, newProcess(t, f, newStore()), f)
	})
}

// runCase runs a subtest in virtual time.
func runCase(t *testing.T, name string, test testFunc) {
	t.Run(name, func(t *testing.T) { runVirtual(t, test) })
}

// wantErr reports an error that matches none of those wanted.
func wantErr(t *testing.T, err error, want ...error) {
	t.Helper()
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func noErr(t *testing.T, err error) {
	t.Helper()
	wantErr(t, err, nil)
}

// checkSecrets panics if an error contains a secret.
func checkSecrets(err error) error {
	if err != nil && strings.Contains(err.Error(), secret) {
		panic("an error contains a secret")
	}
	return err
}

// wantNothingLeft reports open sessions and stored notes.
func wantNothingLeft(t *testing.T, p *process) {
	t.Helper()
	if p.ecgrid.sessions() != 0 || p.store.noted() != 0 {
		t.Errorf("%d sessions left open, %d notes left", p.ecgrid.sessions(), p.store.noted())
	}
}

// candidates are passwords with their marks.
func candidates(passwords ...string) (all []Candidate) {
	for _, p := range passwords {
		all = append(all, Candidate{Password: p, Mark: "mark of " + strings.TrimPrefix(p, secret)})
	}
	return all
}

// session returns a new Session on the process's ledger, as after a reload of the config.
func (p *process) session(change ...func(*Config)) *Session {
	c := Config{
		Client: &client{process: p}, Login: "server login", LoginName: "login", Candidates: candidates(right),
		IdleTimeout: time.Minute, RequestTimeout: p.timeout, MaxConcurrent: 64,
		Ledger: p.ledger, Classify: classify, Clock: systemClock{}, Logger: p.log,
	}
	for _, ch := range change {
		ch(&c)
	}
	return New(c)
}

func with(passwords ...string) func(*Config) {
	return func(c *Config) { c.Candidates = candidates(passwords...) }
}

func idle(d time.Duration) func(*Config) { return func(c *Config) { c.IdleTimeout = d } }

// writeConfig verifies a password as a write to config does.
func (p *process) writeConfig(ctx context.Context, password string) (*Session, error) {
	s := p.session(with(password), func(c *Config) { c.Client = &client{process: p, fromWrite: true} })
	return s, checkSecrets(s.Verify(ctx, true))
}

// tryWrite is a write to config that is not stored.
func (p *process) tryWrite(password string) error {
	s, err := p.writeConfig(context.Background(), password)
	closeSession(s)
	return err
}

func getKey(s *Session) Call {
	return func(ctx context.Context, by ecgrid.Credential) error {
		_, err := s.Client.UserGetAPIKey(ctx, by, 5001)
		return err
	}
}

func read(s *Session) error { return readWithin(context.Background(), s) }

func readWithin(ctx context.Context, s *Session) error { return checkSecrets(s.Use(ctx, getKey(s))) }

// closeSession closes a session as the engine does.
func closeSession(s *Session) {
	ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
	defer cancel()
	s.Close(ctx)
}

func atOnce(n int, do func()) {
	var all sync.WaitGroup
	for range n {
		all.Go(do)
	}
	all.Wait()
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
