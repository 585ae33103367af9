// SPDX-License-Identifier: MPL-2.0

package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"vault-plugin-ecgrid/internal/ecgrid"
)

var (
	errKilled = errors.New("the process was killed")
	errStore  = errors.New("storage failed")
)

// store is Vault's storage. It outlives the processes.
type store struct {
	mu       sync.Mutex // guards the fields below
	attempts []byte
	notes    map[string][]byte
	stored   []Candidate // in the config
	accesses int         // that succeeded
}

func newStore() *store { return &store{notes: map[string][]byte{}, stored: candidates(right)} }

func (s *store) noted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.notes)
}

func (s *store) accessed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accesses
}

// process is one process of the plugin. After kill, its calls and its accesses to
// storage fail. It is the Store of its ledger.
type process struct {
	t          *testing.T
	ecgrid     *fakeECGrid
	store      *store
	ledger     *Ledger
	log        hclog.Logger
	timeout    time.Duration // of requests
	life       context.Context
	kill       context.CancelFunc
	onStep     func(step string)        // before and after each call and access
	storeFails func(method string) bool // nil if it never does
}

func newProcess(t *testing.T, f *fakeECGrid, s *store) *process {
	p := &process{t: t, ecgrid: f, store: s, timeout: 15 * time.Second}
	p.life, p.kill = context.WithCancel(context.Background())
	p.log = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: secretDetector{t}})
	connect := func(ecgrid.Endpoint) (ecgrid.Client, error) { return &client{process: p}, nil }
	p.ledger = NewLedger(p, connect, classify, systemClock{}, rand.Reader, p.log)
	return p
}

// secretDetector is a log that must not contain secrets.
type secretDetector struct{ *testing.T }

func (d secretDetector) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte(secret)) {
		d.Error("the log contains a secret")
	}
	return len(line), nil
}

// restart kills the process and returns the next one.
func (p *process) restart() *process {
	p.kill()
	next := newProcess(p.t, p.ecgrid, p.store)
	next.timeout, next.storeFails = p.timeout, p.storeFails
	return next
}

// step is a point at which the process may be killed.
func (p *process) step(what string) error {
	if p.onStep != nil {
		p.onStep(what)
	}
	if p.life.Err() != nil {
		return errKilled
	}
	return nil
}

// access is one access to storage. It takes 1 ms.
func (p *process) access(ctx context.Context, method string, do func() error) error {
	if err := p.step(method); err != nil {
		return err
	}
	select {
	case <-time.After(time.Millisecond):
	case <-ctx.Done():
		return ctx.Err()
	case <-p.life.Done():
		return errKilled
	}
	if p.storeFails != nil && p.storeFails(method) {
		return errStore
	}
	p.store.mu.Lock()
	err := do()
	p.store.accesses++
	p.store.mu.Unlock()
	if err != nil {
		return err
	}
	return p.step(method + " done")
}

func (p *process) Attempts(ctx context.Context) (all []Attempt, err error) {
	err = p.access(ctx, "Attempts", func() error {
		if p.store.attempts == nil {
			return nil
		}
		return json.Unmarshal(p.store.attempts, &all)
	})
	return all, err
}

func (p *process) PutAttempts(ctx context.Context, attempts []Attempt) error {
	return p.access(ctx, "PutAttempts", func() (err error) {
		p.store.attempts, err = json.Marshal(attempts)
		return err
	})
}

func (p *process) Notes(ctx context.Context) (map[string]Note, error) {
	notes := map[string]Note{}
	err := p.access(ctx, "Notes", func() error {
		for id, raw := range p.store.notes {
			var n Note
			if err := json.Unmarshal(raw, &n); err != nil {
				return err
			}
			notes[id] = n
		}
		return nil
	})
	return notes, err
}

func (p *process) PutNote(ctx context.Context, id string, n Note) error {
	return p.access(ctx, "PutNote", func() (err error) {
		p.store.notes[id], err = json.Marshal(n)
		return err
	})
}

func (p *process) DeleteNote(ctx context.Context, id string) error {
	return p.access(ctx, "DeleteNote", func() error {
		delete(p.store.notes, id)
		return nil
	})
}

// setStored sets the passwords of the stored config.
func (p *process) setStored(passwords ...string) {
	p.store.mu.Lock()
	defer p.store.mu.Unlock()
	p.store.stored = candidates(passwords...)
}

func (p *process) StoredCredentials(ctx context.Context) (login string, marks []string, err error) {
	err = p.access(ctx, "StoredCredentials", func() error {
		for _, c := range p.store.stored {
			marks = append(marks, c.Mark)
		}
		return nil
	})
	return "server login", marks, err
}
