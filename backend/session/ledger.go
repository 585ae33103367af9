package session

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/semaphore"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// storeTimeout bounds what is written about a Login when nobody waits for it.
const storeTimeout = 10 * time.Second

// Outcome is what became of a Login that led to no working session.
type Outcome string

// What a failed Login counts as.
const (
	// Lost: it may have opened a session that nobody learned of, or opened one that
	// was dead at its first use.
	Lost Outcome = ""
	// Refused: ECGrid did not take the credential, or its session table is full,
	// which cannot be told apart.
	Refused Outcome = "refused"
	// Faulted: ECGrid answered that it failed itself.
	Faulted Outcome = "faulted"
	// unsent: it counts for nothing.
	unsent Outcome = "unsent"
)

// Attempt is a Login that is not known to have led to a working session.
type Attempt struct {
	Login      string    `json:"login"`      // Config.Login
	Credential string    `json:"credential"` // Candidate.Mark
	At         time.Time `json:"at"`         // when it failed, at the latest
	Outcome    Outcome   `json:"outcome,omitempty"`
	Brought    bool      `json:"brought,omitempty"` // by a write to config, which tried it at once
	// Over is the Mark of a credential that worked since: it is held up no more, until
	// a Login with it fails.
	Over string `json:"over,omitempty"`
}

// Note tells of one session. It is stored before the Login is sent and removed when
// the session is logged out: what a killed process leaves behind, the next one finds.
type Note struct {
	Attempt
	Endpoint  ecgrid.Endpoint `json:"endpoint"`
	SessionID string          `json:"session_id,omitempty"` // "" while the Login is under way

	tries     int // to log it out again
	notBefore time.Time
}

// Store keeps what must outlive the process.
type Store interface {
	Attempts(ctx context.Context) ([]Attempt, error)
	PutAttempts(ctx context.Context, attempts []Attempt) error
	Notes(ctx context.Context) (map[string]Note, error)
	PutNote(ctx context.Context, id string, n Note) error
	DeleteNote(ctx context.Context, id string) error
}

// Ledger has all Logins of a mount that were refused or lost, and all sessions that
// are still to be logged out. It outlives every Session, and by its Store the
// process. It is safe for concurrent use.
type Ledger struct {
	store   Store
	connect ecgrid.Connector
	judge   func(error) Verdict
	clock   Clock
	random  io.Reader
	log     hclog.Logger
	loading *semaphore.Weighted
	writing *semaphore.Weighted

	mu      sync.Mutex
	loaded  bool
	stored  int // how many attempts are stored
	entries []*entry
	owed    map[string]Note                       // sessions to log out before the next Login
	leaving map[string]map[chan struct{}]struct{} // by login: ends of sessions that are under way
}

// entry is an Attempt, and the Note it has been given.
type entry struct {
	Attempt
	note     string
	underWay bool // not failed yet, and perhaps never
	id       string
	endpoint ecgrid.Endpoint
}

// NewLedger makes a Ledger. It reads its Store when it first needs to.
func NewLedger(store Store, connect ecgrid.Connector, judge func(error) Verdict, clock Clock, random io.Reader, log hclog.Logger) *Ledger {
	return &Ledger{
		store:   store,
		connect: connect,
		judge:   judge,
		clock:   clock,
		random:  random,
		log:     log,
		loading: semaphore.NewWeighted(1),
		writing: semaphore.NewWeighted(1),
		leaving: map[string]map[chan struct{}]struct{}{},
	}
}

// load reads what the last process left, once. Logins that were under way when it
// was killed become Attempts like others.
func (l *Ledger) load(ctx context.Context) error {
	if err := l.loading.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.loading.Release(1)
	if l.isLoaded() {
		return nil
	}
	attempts, err := l.store.Attempts(ctx)
	if err != nil {
		return err
	}
	notes, err := l.store.Notes(ctx)
	if err != nil {
		return err
	}
	cut, open := l.sort(notes)
	for _, n := range cut {
		attempts = append(attempts, n.Attempt)
	}
	if len(cut) > 0 {
		if err := l.store.PutAttempts(ctx, attempts); err != nil {
			return err
		}
	}
	l.take(attempts, open)
	for id := range cut {
		l.forget(id)
	}
	return nil
}

func (l *Ledger) take(attempts []Attempt, open map[string]Note) {
	l.mu.Lock()
	defer l.mu.Unlock()
	atMost := l.clock.Now().Add(LoginTimeout)
	for _, a := range attempts {
		a.At = earlier(a.At, atMost) // another node's clock may have been wrong
		l.entries = append(l.entries, &entry{Attempt: a})
	}
	l.owed, l.stored, l.loaded = open, len(attempts), true
}

// sort tells the Logins that were cut off, and may be refused yet, from the sessions
// that were open.
func (l *Ledger) sort(notes map[string]Note) (cut, open map[string]Note) {
	cut, open = map[string]Note{}, map[string]Note{}
	for id, n := range notes {
		if n.SessionID != "" {
			n.At = l.clock.Now() // owed from now on
			open[id] = n
			continue
		}
		n.Outcome, n.At = Lost, n.At.Add(LoginTimeout)
		cut[id] = n
	}
	return cut, open
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (l *Ledger) isLoaded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loaded
}

// check tells whether a Login may be sent now, or refuses it with ErrPaused. Lost
// tells that the one before it got no answer.
func (l *Ledger) check(a Attempt, sameRound bool) (lost bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := l.ofLogin(a.Login)
	return len(mine) > 0 && mine[len(mine)-1].Outcome == Lost, l.pausing(mine, a, sameRound)
}

// pausing is ErrPaused where a Login may not be sent yet.
func (l *Ledger) pausing(mine []Attempt, a Attempt, sameRound bool) error {
	now := l.clock.Now()
	if until := allowed(mine, a, sameRound); until.After(now) {
		return paused(mine, until.Sub(now))
	}
	return nil
}

// begin enters a Login before it is sent, or refuses it with ErrPaused.
func (l *Ledger) begin(ctx context.Context, at ecgrid.Endpoint, a Attempt, sameRound bool) (*entry, error) {
	note := make([]byte, 16)
	if _, err := io.ReadFull(l.random, note); err != nil {
		return nil, fmt.Errorf("naming a note: %w", err)
	}
	e := &entry{Attempt: a, note: hex.EncodeToString(note), underWay: true, endpoint: at}
	if err := l.enter(e, sameRound); err != nil {
		return nil, err
	}
	if err := l.store.PutNote(ctx, e.note, Note{Attempt: e.Attempt, Endpoint: at}); err != nil {
		l.withdraw(e)
		return nil, fmt.Errorf("noting a login before it is made: %w", err)
	}
	return e, nil
}

// enter decides and enters in one step: two Logins at once are two.
func (l *Ledger) enter(e *entry, sameRound bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = l.clock.Now()
	if err := l.pausing(l.ofLogin(e.Login), e.Attempt, sameRound); err != nil {
		return err
	}
	l.entries = append(l.entries, e)
	return nil
}

// ofLogin are the attempts of a login, the latest last. Holds mu.
func (l *Ledger) ofLogin(login string) []Attempt {
	var mine []Attempt
	for _, e := range l.entries {
		if e.Login == login {
			mine = append(mine, e.Attempt)
		}
	}
	slices.SortStableFunc(mine, func(a, b Attempt) int { return a.At.Compare(b.At) })
	return mine
}

// opened notes the session, so that the next process logs it out if this one cannot;
// one that cannot be noted must not be used. Until a call with it succeeded, it may
// be a dead one.
func (l *Ledger) opened(e *entry, id string, keep bool) error {
	l.mu.Lock()
	e.id = id
	news := l.over(e, func(o Outcome) bool { return o == Refused })
	n := Note{Attempt: e.Attempt, Endpoint: e.endpoint, SessionID: id}
	l.mu.Unlock()
	if news {
		l.persist()
	}
	if !keep {
		return nil
	}
	return l.note(e.note, n)
}

// note stores the note of an open session.
func (l *Ledger) note(id string, n Note) error {
	// A context of its own: that of the Login may have no time left.
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := l.store.PutNote(ctx, id, n); err != nil {
		return fmt.Errorf("noting a session: %w", err)
	}
	return nil
}

// over: the credential of e works, and what these attempts began holds it up no more;
// it still counts against others. It tells whether there were any. Holds mu.
func (l *Ledger) over(e *entry, which func(Outcome) bool) (news bool) {
	for _, other := range l.entries {
		if e.makesUpFor(other) && which(other.Outcome) && other.Over != e.Credential {
			other.Over, news = e.Credential, true
		}
	}
	return news
}

// makesUpFor tells that a success of e outweighs what became of other: that was over
// before e was sent, and is not a credential of which e proves nothing.
func (e *entry) makesUpFor(other *entry) bool {
	return other.Login == e.Login && !other.underWay && !other.At.After(e.At) &&
		(!other.Brought || other.Credential == e.Credential)
}

// worked ends what all attempts before began: a call with the session succeeded. One
// that was lost with this same credential was no refusal, and is forgotten.
func (l *Ledger) worked(e *entry) {
	l.mu.Lock()
	before := len(l.entries)
	l.entries = slices.DeleteFunc(l.entries, func(other *entry) bool {
		return other == e || e.makesUpFor(other) && other.Outcome != Refused && other.Credential == e.Credential
	})
	news := l.over(e, func(Outcome) bool { return true }) || len(l.entries) < before-1
	l.mu.Unlock()
	if news {
		l.persist()
	}
}

// Succeeds tells that the login's credential is another one now, and known to be right:
// what held up the one that worked before it holds it up as little.
func (l *Ledger) Succeeds(login, credential string) {
	l.mu.Lock()
	news := false
	for _, e := range l.entries {
		if e.Login == login && e.Over != "" && e.Over != credential {
			e.Over, news = credential, true
		}
	}
	l.mu.Unlock()
	if news {
		l.persist()
	}
}

// failed says what a Login that opened nothing counts as.
func (l *Ledger) failed(e *entry, outcome Outcome) {
	if outcome == unsent {
		l.withdraw(e)
		return
	}
	l.mu.Lock()
	e.Outcome, e.At, e.underWay = outcome, l.clock.Now(), false
	l.mu.Unlock()
	if l.persist() { // else its note is all that tells the next process
		l.forget(e.note)
	}
}

// withdraw takes back a Login that was not sent.
func (l *Ledger) withdraw(e *entry) {
	l.mu.Lock()
	l.remove(e)
	l.mu.Unlock()
	l.forget(e.note)
}

// left is how a session was logged out.
type left struct {
	answered bool // ECGrid said something, so that it is gone
	clean    bool // it had worked, or was ended as a live one is
}

// left strikes a session off. One that could not be logged out is owed; one that
// was dead at its first use counts as a lost Login.
func (l *Ledger) left(e *entry, how left) {
	l.mu.Lock()
	l.remove(e)
	n := Note{Attempt: e.Attempt, Endpoint: e.endpoint, SessionID: e.id}
	n.At = l.clock.Now() // owed from now on
	if !how.clean {
		e.Outcome, e.At, e.underWay = Lost, n.At, false
		l.entries = append(l.entries, e)
	}
	l.mu.Unlock()
	stored := how.clean || l.persist()
	switch {
	case !how.answered:
		l.owe(e.note, n)
	case stored:
		l.forget(e.note)
	}
}

// owe notes, for this process and the next, a session that is still to be logged out.
func (l *Ledger) owe(id string, n Note) {
	if err := l.note(id, n); err != nil {
		l.log.Warn("a session that is still to be logged out stays open should this process be killed", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.owed[id] = n
}

// remove takes an entry out. Holds mu.
func (l *Ledger) remove(e *entry) {
	l.entries = slices.DeleteFunc(l.entries, func(other *entry) bool { return other == e })
}

// forget deletes a note that has served.
func (l *Ledger) forget(note string) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	if err := l.store.DeleteNote(ctx, note); err != nil {
		l.log.Warn("the note of a session that has ended could not be deleted", "error", err)
	}
}

// persist stores the attempts. A failure leaves them in memory, and the notes of
// Logins under way in storage.
func (l *Ledger) persist() (stored bool) {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	err := l.save(ctx)
	if err != nil {
		l.log.Warn("refused logins could not be stored", "error", err)
	}
	return err == nil
}

func (l *Ledger) save(ctx context.Context) error {
	if err := l.writing.Acquire(ctx, 1); err != nil {
		return err
	}
	defer l.writing.Release(1)
	l.mu.Lock()
	l.prune()
	var attempts []Attempt
	for _, e := range l.entries {
		if !e.underWay {
			attempts = append(attempts, e.Attempt)
		}
	}
	before := l.stored
	l.mu.Unlock()
	if before == 0 && len(attempts) == 0 {
		return nil
	}
	if err := l.store.PutAttempts(ctx, attempts); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stored = len(attempts)
	return nil
}

// leaves tells that a session of the login is about to end, until left is called.
func (l *Ledger) leaves(login string) (left func()) {
	done := make(chan struct{})
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leaving[login] == nil {
		l.leaving[login] = map[chan struct{}]struct{}{}
	}
	l.leaving[login][done] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.leaving[login], done)
		close(done)
	}
}

// awaitLeft waits until all sessions of the login have ended that are about to.
func (l *Ledger) awaitLeft(ctx context.Context, login string) {
	l.mu.Lock()
	leaving := slices.Collect(maps.Keys(l.leaving[login]))
	l.mu.Unlock()
	for _, done := range leaving {
		wait(ctx, done)
	}
}

// logoutOwed logs out, before a Login, the sessions that a killed process left
// behind or whose Logout got no answer.
//
// Each is tried less and less often, and few at once, so that a server that answers none
// of them, or a host that is gone, holds up no Login for long.
//
// The Login waits for those at its own endpoint only.
func (l *Ledger) logoutOwed(ctx context.Context, at ecgrid.Endpoint) {
	var own sync.WaitGroup
	for id, n := range l.dueLogouts() {
		if n.Endpoint == at {
			own.Go(func() { l.logoutNoted(ctx, id, n) })
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), LogoutTimeout)
			defer cancel()
			l.logoutNoted(ctx, id, n)
		}()
	}
	own.Wait()
}

// dueLogouts are the owed sessions whose turn it is.
func (l *Ledger) dueLogouts() map[string]Note {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, due := l.clock.Now(), map[string]Note{}
	for id, n := range l.owed {
		last := now.Sub(n.At) >= owedFor
		if !last && (now.Before(n.notBefore) || len(due) >= maxOwedAtOnce) {
			continue
		}
		due[id] = n
		if n.tries++; n.tries >= owedAtOnce {
			n.notBefore = now.Add(owedRetry << min(n.tries-owedAtOnce, 5))
		}
		l.owed[id] = n
	}
	return due
}

const (
	// maxOwedAtOnce bounds the Logouts before one Login.
	maxOwedAtOnce = 16
	// owedAtOnce is how often one is tried before each Login; after that its turn comes
	// after owedRetry, which doubles each time, up to about half an hour.
	owedAtOnce = 3
	owedRetry  = time.Minute
)

// owedFor is how long a Logout is tried again: ECGrid may have forgotten the session
// by then.
const owedFor = 24 * time.Hour

func (l *Ledger) logoutNoted(ctx context.Context, id string, n Note) {
	if !l.logout(ctx, n) && l.clock.Now().Sub(n.At) < owedFor {
		return
	}
	l.mu.Lock()
	delete(l.owed, id)
	l.mu.Unlock()
	l.forget(id)
}

// logout tells whether ECGrid answered: a fault says that the session is gone.
func (l *Ledger) logout(ctx context.Context, n Note) (answered bool) {
	client, err := l.connect(n.Endpoint)
	if err != nil {
		return true // it was an endpoint once; there is no way back to it
	}
	defer client.Close()
	err = callLogout(ctx, client, n.SessionID, l.log)
	return err == nil || l.judge(err).Refusal
}
