package backend

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// account is the config in use. It never changes; a config write makes another,
// which keeps the link where nothing of that has changed.
type account struct {
	config Config
	*link
}

// link is one login at one endpoint: its client, its session, the keys read with it.
type link struct {
	client  ecgrid.Client
	session *session.Session
	keys    *keys

	ownUserID atomic.Int32 // of the api_key; 0 is not asked yet
}

// accounts are the config in use, and all links that may hold a session.
type accounts struct {
	mu         sync.Mutex
	live       *account
	generation int // changes with every config that is put into use, or taken out of it
	links      map[*link]struct{}
	closed     bool
}

func (a *accounts) now() (*account, int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.live, a.generation
}

// swap puts next, or nothing, in the place of the one in use.
func (a *accounts) swap(next *account) (old *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, a.live = a.live, next
	a.generation++
	return old
}

// offer puts one into use that was made from storage, unless the config has been
// replaced since.
func (a *accounts) offer(made *account, generation int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.generation != generation || a.live != nil {
		return false
	}
	a.live = made
	return true
}

// discard takes one out of use, unless another is by now.
func (a *accounts) discard(dead *account) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live == dead {
		a.live = nil
	}
}

func (a *accounts) add(l *link) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	if a.links == nil {
		a.links = map[*link]struct{}{}
	}
	a.links[l] = struct{}{}
	return nil
}

func (a *accounts) remove(l *link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.links, l)
}

// close lets nothing come into use any more, and gives what has to be logged out.
func (a *accounts) close() []*link {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed, a.live = true, nil
	return slices.Collect(maps.Keys(a.links))
}

// newAccount makes the account of a config; it does not call ECGrid.
func (e *Engine) newAccount(ctx context.Context, c Config) (*account, error) {
	candidates, err := e.candidates(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := e.recallDoubts(ctx); err != nil {
		return nil, err
	}
	client, err := e.Connect(c.endpoint())
	if err != nil {
		return nil, Invalid("ECGrid cannot be reached like this: %v", err)
	}
	s := session.New(session.Config{
		Client:         client,
		Endpoint:       c.endpoint(),
		Login:          c.login(),
		LoginName:      c.Username,
		Candidates:     candidates,
		APIKey:         c.APIKey,
		IdleTimeout:    c.SessionIdleTimeout,
		RequestTimeout: c.RequestTimeout,
		MaxConcurrent:  maxConcurrentCalls,
		Ledger:         e.ledger,
		Judge:          judge,
		Switched:       func() { e.settleInBackground(0) },
		Clock:          e.Clock,
		Logger:         e.Logger,
	})
	l := &link{client: client, session: s, keys: newKeys(client, s, c, e.users, e.Clock, e.Logger)}
	if err := e.accounts.add(l); err != nil {
		return nil, err
	}
	return &account{config: c, link: l}, nil
}

// login names the login of the config, whatever its password. The vendor's endpoints
// share their logins.
func (c Config) login() string {
	at := server(c.URL)
	if slices.Contains(vendorServers, at) {
		at = vendorServers[0]
	}
	return at + " " + strings.ToLower(c.Username)
}

// candidates are the passwords that the login may have, the likeliest first.
func (e *Engine) candidates(ctx context.Context, c Config) ([]session.Candidate, error) {
	if c.APIKey != "" {
		return nil, nil
	}
	var candidates []session.Candidate
	for _, password := range append([]string{c.Password}, c.pendingPasswords()...) {
		mark, err := e.store.fingerprint(ctx, password)
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, session.Candidate{Password: password, Mark: mark})
	}
	return candidates, nil
}

// closeLink logs out and lets go of the connections; bounded at session.LogoutTimeout.
func (e *Engine) closeLink(l *link) {
	ctx, cancel := context.WithTimeout(context.Background(), session.LogoutTimeout)
	defer cancel()
	l.session.Close(ctx)
	l.client.Close()
	e.accounts.remove(l)
}

// account gives the one in use, made from storage when there is none yet. It waits
// for no change of the config.
func (e *Engine) account(ctx context.Context) (*account, error) {
	for ctx.Err() == nil {
		a, generation := e.accounts.now()
		if a != nil {
			return a, nil
		}
		c, err := e.store.config(ctx)
		if err != nil {
			return nil, err
		}
		if c == nil {
			return nil, ErrNotConfigured
		}
		if a, err = e.newAccount(ctx, *c); err != nil {
			return nil, err
		}
		if e.accounts.offer(a, generation) {
			e.seeThrough(a)
			return a, nil
		}
		e.closeLink(a.link)
	}
	return nil, ctx.Err()
}

// withAccount runs do with the account in use, and again where the config was
// replaced under it.
func (e *Engine) withAccount(ctx context.Context, do func(*account) error) error {
	for ctx.Err() == nil {
		a, err := e.account(ctx)
		if err != nil {
			return err
		}
		if err = do(a); !errors.Is(err, session.ErrClosed) {
			return err
		}
		e.accounts.discard(a) // whoever put it there, it is of no use
	}
	return ctx.Err()
}

// ask runs one call of the account in use within its deadline.
func (e *Engine) ask(ctx context.Context, call func(context.Context, *account, string) error) error {
	err := e.withAccount(ctx, func(a *account) error {
		ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
		defer cancel()
		return a.session.Use(ctx, func(ctx context.Context, sessionID string) error {
			return call(ctx, a, sessionID)
		})
	})
	return nothingMissing(err)
}

// nothingMissing is the failure of a call that asks for nothing that could be missing:
// then "not found" has no known meaning.
func nothingMissing(err error) error {
	if errors.Is(err, ecgrid.ErrNotFound) {
		return ecgrid.ErrFault
	}
	return err
}

// seeThrough has a rotate-root settled that is not.
func (e *Engine) seeThrough(a *account) {
	if a != nil && a.config.livePending() != nil {
		e.settleInBackground(firstSettling)
	}
}

// swap puts next, or nothing, in the place of the account in use and logs that one
// out, unless next goes on with its link.
func (e *Engine) swap(next *account) {
	old := e.accounts.swap(next)
	switch {
	case old == nil:
	case next != nil && next.link == old.link:
		next.keys.flush()
	default:
		e.closeLink(old.link)
	}
	e.seeThrough(next)
}
