// SPDX-License-Identifier: MPL-2.0

// Package fakegrid is a second ECGridOS v4.1 for tests, with ECGrid's REST API v2.6 beside
// it. It is written from the vendor's WSDL and documentation alone, and shares no code with
// the plugin's client or with internal/simulator. Its answers conform to the schema and
// differ in everything else. On request it fails as a network and a busy service can.
package fakegrid

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// lockWindow is how long a refused Login counts towards a lock-out.
const lockWindow = 15 * time.Minute

// User is an ECGrid user.
type User struct {
	ID                   int
	Login, Password, Key string
	AuthLevel            string
	NetworkID, MailboxID int
	NoKey                bool // the user has no key until one is generated
}

// Limits are the account rules, which differ between installations.
type Limits struct {
	Sessions    int           // open ones of a user
	SessionIdle time.Duration // 0: sessions never expire
	LockAfter   int           // refused Logins in 15 minutes
}

// Why a request is denied. No error contains a value of the request.
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

// session is a session of SOAP, or a token of REST.
type session struct {
	id, ip       string
	user         *user
	opened, used time.Time
	expires      time.Time // of a token, which has no ip
	orphaned     bool      // its client may not know that it is open
}

// Grid is the state of ECGrid.
type Grid struct {
	limits Limits
	rest   RESTReading

	mu         sync.Mutex
	users      []*user
	sessions   map[string]*session
	refusals   []Refusal
	logins     int
	keyChanges map[int][]KeyChange // by user
	pending    int                 // changes that will be applied later
	maxOpen    map[string]int
	secrets    map[string]struct{}
	violations map[string]int // by rule
	orphanedAt time.Time      // the last OrphanSessions
}

func newGrid(limits Limits, users []User) *Grid {
	g := &Grid{
		limits:     limits,
		sessions:   map[string]*session{},
		keyChanges: map[int][]KeyChange{},
		maxOpen:    map[string]int{},
		secrets:    map[string]struct{}{},
		violations: map[string]int{},
	}
	now := time.Now()
	for _, u := range users {
		if u.Key == "" && !u.NoKey {
			u.Key = g.newSecret()
		}
		g.secrets[u.Key], g.secrets[u.Password] = struct{}{}, struct{}{}
		added := &user{User: u, created: now, modified: now, passwords: replaced(nil, u.Password, now)}
		if !u.NoKey {
			added.keys = replaced(nil, u.Key, now)
		}
		g.users = append(g.users, added)
	}
	return g
}

// newSecret is not always a GUID: keys and SessionIDs are opaque.
func (g *Grid) newSecret() string {
	raw := make([]byte, 20)
	_, _ = rand.Read(raw) // never fails
	h := hex.EncodeToString(raw[:16])
	s := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	if raw[19]&1 == 0 {
		s = "k/" + hex.EncodeToString(raw) + "+&<=" // needs escaping
	}
	g.secrets[s] = struct{}{}
	return s
}

func (g *Grid) find(is func(*user) bool) *user {
	for _, u := range g.users {
		if is(u) {
			return u
		}
	}
	return nil
}

func (g *Grid) byID(id int) *user { return g.find(func(u *user) bool { return u.ID == id }) }
func (g *Grid) byLogin(login string) *user {
	return g.find(func(u *user) bool { return u.Login == login })
}

// expire drops idle sessions and old tokens.
func (g *Grid) expire() {
	for id, s := range g.sessions {
		if s.expired(g.limits.SessionIdle) {
			delete(g.sessions, id)
		}
	}
}

func (s *session) isToken() bool { return !s.expires.IsZero() }

func (s *session) expired(idle time.Duration) bool {
	if s.isToken() {
		return !time.Now().Before(s.expires)
	}
	return idle > 0 && time.Since(s.used) > idle
}

func (g *Grid) countOpen(u *user) (n int) {
	g.expire()
	for _, s := range g.sessions {
		if s.user == u {
			n++
		}
	}
	return n
}

func (g *Grid) countOrphaned(login string) (n int) {
	for _, s := range g.sessions {
		if s.user.Login == login && s.orphaned {
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
	u, why := g.checkLogin(name, password, false)
	if why != "" {
		return nil, errRefused
	}
	return g.open(u, &session{id: g.newSecret(), ip: ip}), nil
}

// checkLogin finds the user of a Login for a session or a token. The reason is "" if it
// works.
func (g *Grid) checkLogin(name, password string, token bool) (*user, Reason) {
	g.secrets[password] = struct{}{}
	g.logins++
	u := g.byLogin(name)
	why := g.refusalReason(u, password, token)
	limited := token && why == TableFull && g.rest.TableFull == RateLimited // it says nothing about the login
	if why != "" && !limited {
		g.refusals = append(g.refusals, Refusal{At: time.Now(), Login: name, Reason: why, Orphaned: g.countOrphaned(name)})
	}
	return u, why
}

func (g *Grid) open(u *user, s *session) *session {
	now := time.Now()
	s.user, s.opened, s.used, u.lastLogin = u, now, now, now
	g.sessions[s.id] = s
	g.maxOpen[u.Login] = max(g.maxOpen[u.Login], g.countOpen(u))
	return s
}

// full reports whether the user may open no further session or token.
func (g *Grid) full(u *user, token bool) bool {
	most, open := g.limits.Sessions, 0
	if token {
		most = g.rest.OpenTokens
	}
	g.expire()
	for _, s := range g.sessions {
		if s.user == u && (s.isToken() == token || g.rest.SharedTable) {
			open++
		}
	}
	return open >= most && !(token && most == 0)
}

// refusalReason is "" for a Login that works.
func (g *Grid) refusalReason(u *user, password string, token bool) Reason {
	switch {
	case u == nil:
		return Unknown
	case u.Password != password && slices.ContainsFunc(u.passwords, func(s Span) bool { return s.Value == password }):
		return Superseded
	case u.Password != password:
		return Unknown
	case g.lockedOut(u) && !(token && g.rest.NoLockOut):
		return LockedOut
	case g.full(u, token):
		return TableFull
	}
	return ""
}

// caller finds the user by the SessionID, or by an API key in its place.
func (g *Grid) caller(sessionID, ip string) (*user, error) {
	g.expire()
	if s := g.sessions[sessionID]; s != nil && s.ip == ip {
		s.used, s.orphaned = time.Now(), false // its client knows it
		return s.user, nil
	}
	if u := g.find(func(u *user) bool { return u.Key == sessionID }); u != nil && sessionID != "" {
		return u, nil
	}
	return nil, errDeadSession
}

// target is the user that the request is about, if the caller may see it.
func (g *Grid) target(sessionID, ip string, id int) (*user, error) {
	caller, err := g.caller(sessionID, ip)
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

// ReplaceKey replaces a user's key as another client of ECGrid does.
func (g *Grid) ReplaceKey(id int) { g.generateKey(id, time.Now(), false) }

// generateKey replaces the key now.
func (g *Grid) generateKey(id int, requested time.Time, late bool) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	u, now := g.byID(id), time.Now()
	u.Key = g.newSecret()
	u.keys = replaced(u.keys, u.Key, now)
	u.modified = now
	g.keyChanges[id] = append(g.keyChanges[id], KeyChange{Requested: requested, At: now, Late: late})
	return u.Key
}

// changePassword is a compare-and-set: it compares when it is applied.
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

func passwordAllowed(password string) bool {
	if len(password) < 8 {
		return false
	}
	return !slices.ContainsFunc(passwordClasses, func(class func(rune) bool) bool {
		return !strings.ContainsFunc(password, class)
	})
}

// applyAfter applies a change after d.
func (g *Grid) applyAfter(d time.Duration, apply func()) {
	g.mu.Lock()
	g.pending++
	g.mu.Unlock()
	time.AfterFunc(d, func() {
		apply()
		g.mu.Lock()
		g.pending--
		g.mu.Unlock()
	})
}

func (g *Grid) killSession(sessionID string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sessions, sessionID)
}
