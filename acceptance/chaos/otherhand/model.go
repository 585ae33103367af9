// Package otherhand is a second ECGridOS v4.1, written from the vendor's WSDL and
// the known facts alone, so that nothing of it is tuned to the plugin's client or
// to the other simulator. It keeps to the schema, has habits of its own, and can be
// told to behave as badly as a network and a busy service do.
package otherhand

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"sync"
	"time"
	"unicode"
)

// lockWindow is how far back refused Logins count towards a lock-out.
const lockWindow = 15 * time.Minute

// User is an ECGrid user as it is at the start.
type User struct {
	ID                   int
	Login, Password, Key string
	AuthLevel            string
	NetworkID, MailboxID int
}

// Span is a password or key and the time for which ECGrid took it. To is zero
// while it still does.
type Span struct {
	Value    string
	From, To time.Time
}

// Dead tells whether it was replaced at or before t.
func (s Span) Dead(t time.Time) bool { return !s.To.IsZero() && !s.To.After(t) }

// Refusal is one refused Login, whatever the reason.
type Refusal struct {
	At    time.Time
	Login string
	Why   Why
	Blind int // sessions then open that their holder could not know of
}

// Why a Login was refused. ECGrid does not tell; the test's table does.
type Why string

// The reasons, as the first that holds.
const (
	TableFull  Why = "the table of sessions is full"
	LockedOut  Why = "locked out"
	Superseded Why = "an old password"
	Unknown    Why = "a password that is not yet or never was"
)

// Landing is a GenerateAPIKey that took effect. Nobody was told of a late one.
type Landing struct {
	Ordered, At time.Time
	Late        bool
}

// Limits are the account rules, which differ between installations.
type Limits struct {
	Sessions    int           // open ones a user
	SessionIdle time.Duration // 0: they never expire
	LockAfter   int           // refused Logins in 15 minutes
}

// What a request can be denied for. None holds a value of the request.
var (
	errRefused      = errors.New("login refused")
	errDeadSession  = errors.New("no such session")
	errAccess       = errors.New("access denied")
	errNotFound     = errors.New("no such user")
	errInvalid      = errors.New("invalid parameter")
	errOldPassword  = errors.New("old password does not match")
	passwordClasses = []func(rune) bool{
		unicode.IsLower, unicode.IsUpper, unicode.IsDigit,
		func(r rune) bool { return r > ' ' && !unicode.IsLetter(r) && !unicode.IsDigit(r) },
	}
)

type user struct {
	User
	created, modified, lastLogin time.Time
	keys, passwords              []Span
}

type session struct {
	id, ip       string
	user         *user
	opened, used time.Time
	excused      bool // its holder may not know that it is open
}

// Grid is the state of ECGrid. All times are the wall clock's.
type Grid struct {
	limits Limits

	mu        sync.Mutex
	users     []*user
	sessions  map[string]*session
	refusals  []Refusal
	logins    int
	landed    map[int][]Landing // GenerateAPIKeys by user
	underWay  int               // effects that have not landed
	maxOpen   map[string]int
	secrets   map[string]struct{}
	wronglyBy map[string]int // protocol violations by rule
}

func newGrid(limits Limits, users []User) *Grid {
	g := &Grid{
		limits:    limits,
		sessions:  map[string]*session{},
		landed:    map[int][]Landing{},
		maxOpen:   map[string]int{},
		secrets:   map[string]struct{}{},
		wronglyBy: map[string]int{},
	}
	now := time.Now()
	for _, u := range users {
		if u.Key == "" {
			u.Key = g.newSecret()
		}
		g.secrets[u.Key], g.secrets[u.Password] = struct{}{}, struct{}{}
		g.users = append(g.users, &user{
			User: u, created: now, modified: now,
			keys:      []Span{{Value: u.Key, From: now}},
			passwords: []Span{{Value: u.Password, From: now}},
		})
	}
	return g
}

// newSecret is half the time no GUID: keys and SessionIDs are opaque.
func (g *Grid) newSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // it never fails
	h := hex.EncodeToString(raw[:16])
	s := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	if raw[19]&1 == 0 {
		s = "k/" + hex.EncodeToString(raw) + "+&<=" // as base64 and worse may look
	}
	g.secrets[s] = struct{}{}
	return s
}

func (g *Grid) byID(id int) *user {
	for _, u := range g.users {
		if u.ID == id {
			return u
		}
	}
	return nil
}

func (g *Grid) byLogin(login string) *user {
	for _, u := range g.users {
		if u.Login == login {
			return u
		}
	}
	return nil
}

// expire drops idle sessions.
func (g *Grid) expire() {
	if g.limits.SessionIdle == 0 {
		return
	}
	for id, s := range g.sessions {
		if time.Since(s.used) > g.limits.SessionIdle {
			delete(g.sessions, id)
		}
	}
}

func (g *Grid) open(u *user) (n int) {
	g.expire()
	for _, s := range g.sessions {
		if s.user == u {
			n++
		}
	}
	return n
}

func (g *Grid) blind(login string) (n int) {
	for _, s := range g.sessions {
		if s.user.Login == login && s.excused {
			n++
		}
	}
	return n
}

func (g *Grid) refusedSince(login string, since time.Time) (n int) {
	for _, r := range g.refusals {
		if r.Login == login && r.At.After(since) {
			n++
		}
	}
	return n
}

func (g *Grid) lockedOut(u *user) bool {
	return g.refusedSince(u.Login, time.Now().Add(-lockWindow)) >= g.limits.LockAfter
}

func (g *Grid) login(name, password, ip string) (*session, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.secrets[password] = struct{}{}
	g.logins++
	u := g.byLogin(name)
	if why := g.refuses(u, password); why != "" {
		g.refusals = append(g.refusals, Refusal{At: time.Now(), Login: name, Why: why, Blind: g.blind(name)})
		return nil, errRefused
	}
	now := time.Now()
	s := &session{id: g.newSecret(), ip: ip, user: u, opened: now, used: now}
	g.sessions[s.id] = s
	u.lastLogin = now
	g.maxOpen[name] = max(g.maxOpen[name], g.open(u))
	return s, nil
}

// refuses gives the reason, or "".
func (g *Grid) refuses(u *user, password string) Why {
	switch {
	case u == nil:
		return Unknown
	case u.Password != password && slices.ContainsFunc(u.passwords, func(s Span) bool { return s.Value == password }):
		return Superseded
	case u.Password != password:
		return Unknown
	case g.lockedOut(u):
		return LockedOut
	case g.open(u) >= g.limits.Sessions:
		return TableFull
	}
	return ""
}

// as finds who asks: by SessionID, or by an API key in its place.
func (g *Grid) as(sessionID, ip string) (*user, error) {
	g.expire()
	if s := g.sessions[sessionID]; s != nil && s.ip == ip {
		s.used, s.excused = time.Now(), false // whoever uses it knows it
		return s.user, nil
	}
	for _, u := range g.users {
		if u.Key == sessionID && sessionID != "" {
			return u, nil
		}
	}
	return nil, errDeadSession
}

// seen is the user that the caller asks for, when it may.
func (g *Grid) seen(sessionID, ip string, id int) (*user, error) {
	caller, err := g.as(sessionID, ip)
	if err != nil {
		return nil, err
	}
	u := g.byID(id)
	if u == nil {
		return nil, errNotFound
	}
	if !caller.maySee(u) {
		return nil, errAccess
	}
	return u, nil
}

func (u *user) maySee(other *user) bool {
	switch u.AuthLevel {
	case "Root", "TechOps", "NetOps":
		return true
	case "NetworkAdmin":
		return u.NetworkID == other.NetworkID
	case "MailboxAdmin":
		return u.MailboxID == other.MailboxID
	}
	return u == other
}

// generate takes effect now.
func (g *Grid) generate(id int, ordered time.Time, late bool) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, now := g.byID(id), time.Now()
	u.Key = g.newSecret()
	u.keys = replaced(u.keys, u.Key, now)
	u.modified = now
	g.landed[id] = append(g.landed[id], Landing{Ordered: ordered, At: now, Late: late})
	return u.Key
}

// changePassword is a compare-and-set, decided when it lands.
func (g *Grid) changePassword(id int, old, password string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, now := g.byID(id), time.Now()
	if u.Password != old {
		return errOldPassword
	}
	u.Password = password
	u.passwords = replaced(u.passwords, password, now)
	u.modified = now
	return nil
}

func replaced(spans []Span, value string, now time.Time) []Span {
	spans[len(spans)-1].To = now
	return append(spans, Span{Value: value, From: now})
}

func goodPassword(password string) bool {
	if len(password) < 8 {
		return false
	}
	for _, class := range passwordClasses {
		found := false
		for _, r := range password {
			found = found || class(r)
		}
		if !found {
			return false
		}
	}
	return true
}

// later has an effect land after d.
func (g *Grid) later(d time.Duration, effect func()) {
	g.mu.Lock()
	g.underWay++
	g.mu.Unlock()
	time.AfterFunc(d, func() {
		effect()
		g.mu.Lock()
		g.underWay--
		g.mu.Unlock()
	})
}

// UnderWay is how many ordered effects have not landed yet.
func (g *Grid) UnderWay() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.underWay
}

// Keys is the history of a user's keys.
func (g *Grid) Keys(id int) []Span {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Span(nil), g.byID(id).keys...)
}

// Passwords is the history of a login's passwords.
func (g *Grid) Passwords(login string) []Span {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Span(nil), g.byLogin(login).passwords...)
}

// Landed is when GenerateAPIKey took effect for a user, in order.
func (g *Grid) Landed(id int) []Landing {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Landing(nil), g.landed[id]...)
}

// Refusals are all refused Logins, in order.
func (g *Grid) Refusals() []Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Refusal(nil), g.refusals...)
}

// RefusedSince counts refused Logins of a login.
func (g *Grid) RefusedSince(login string, since time.Time) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusedSince(login, since)
}

// Logins is how many Logins were evaluated.
func (g *Grid) Logins() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.logins
}

// MaxOpen is the most sessions that a login ever had open.
func (g *Grid) MaxOpen(login string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.maxOpen[login]
}

// Opened is when a session was opened and last used.
type Opened struct{ At, Used time.Time }

// Open are a login's sessions, without those that their holder cannot know of or
// tried in vain to end.
func (g *Grid) Open(login string) (all []Opened) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.expire()
	for _, s := range g.sessions {
		if s.user.Login == login && !s.excused {
			all = append(all, Opened{s.opened, s.used})
		}
	}
	return all
}

// Excuse takes the sessions that were opened since, and are not used again, out of
// Open: whoever asked for them may not have seen the answer, or may not have been
// able to end them.
func (g *Grid) Excuse(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sessions {
		if s.opened.After(since) {
			s.excused = true
		}
	}
}

func (g *Grid) excuse(sessionID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.sessions[sessionID]; s != nil {
		s.excused = true
	}
}

// KillSessions ends a login's sessions, as a restart of ECGrid does.
func (g *Grid) KillSessions(login string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, s := range g.sessions {
		if s.user.Login == login {
			delete(g.sessions, id)
		}
	}
}

func (g *Grid) killSession(sessionID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, sessionID)
}

// Secrets are every password, key and SessionID that there ever was or that
// anybody sent.
func (g *Grid) Secrets() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []string
	for s := range g.secrets {
		all = append(all, s)
	}
	return all
}

// Violations counts what requests did against the WSDL, by rule.
func (g *Grid) Violations() map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]int{}
	for rule, n := range g.wronglyBy {
		all[rule] = n
	}
	return all
}

func (g *Grid) violated(rule string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wronglyBy[rule]++
}

func (g *Grid) sent(secrets ...string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range secrets {
		g.secrets[s] = struct{}{}
	}
}
