// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	restVersion = "2.6"
	defaultPage = 25
	status      = "Active"
)

// errLevel is for an AuthLevel that is too low for a call.
var errLevel = fmt.Errorf("AuthLevel too low: %w", errAccess)

// authLevels are in the order of the WSDL, which is that of their numbers.
var authLevels = []string{
	"NoChange", "Root", "TechOps", "NetOps", "NetworkAdmin", "NetworkUser", "MailboxAdmin", "MailboxUser", "TPUser", "General",
}

// restEffect applies a request and returns the data of its answer.
type restEffect func() (any, error)

// absent stands for data that is left out.
type absent struct{}

// locked is an effect that needs Grid's lock.
func (s *Server) locked(do restEffect) restEffect {
	return func() (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return do()
	}
}

// restCaller finds the user of the credential.
func (s *Server) restCaller(q *request) (*user, error) {
	if !q.rest.bearer {
		if u := s.find(func(u *user) bool { return u.Key == q.rest.credential }); u != nil {
			return u, nil
		}
		return nil, InvalidAPIKey
	}
	t := s.token(q.rest.credential)
	if t == nil {
		return nil, InvalidSession
	}
	t.used, t.orphaned = time.Now(), false // its client knows it
	return t.user, nil
}

// token is nil if there is none that is alive.
func (s *Server) token(id string) *session {
	s.expire()
	if t := s.sessions[id]; t != nil && t.isToken() {
		return t
	}
	return nil
}

func (s *Server) restTarget(q *request) (*user, error) {
	caller, err := s.restCaller(q)
	if err != nil {
		return nil, err
	}
	u := s.byID(q.id)
	if u == nil {
		return nil, errNotFound
	}
	if !caller.maySee(u) {
		return nil, errAccess
	}
	return u, nil
}

// newToken looks like a JWT of any length.
func (s *Server) newToken(u *user) *session {
	expires := time.Now().Add(s.rest.tokenLife())
	part := base64.RawURLEncoding.EncodeToString
	raw := make([]byte, 32+s.random.intN(3)*400)
	_, _ = rand.Read(raw) // never fails
	claims := fmt.Sprintf(`{"sub":"%d","exp":%d}`, u.ID, expires.Add(s.rest.ExpirySkew+s.rest.ServerClock).Unix())
	id := part([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + part([]byte(claims)) + "." + part(raw)
	s.secrets[id] = struct{}{}
	return &session{id: id, expires: expires}
}

func (s *Server) tokenInfo(t *session) object {
	return object{{"token", t.id}, {"expiresAt", s.stamp(t.expires.Add(s.rest.ExpirySkew))}, {"userId", t.user.ID}}
}

func (s *Server) restVersion(*request) (restEffect, error) {
	return func() (any, error) { return object{{"version", restVersion}}, nil }, nil
}

func (s *Server) restLogin(q *request) (restEffect, error) {
	name := map[LoginField]string{
		LoginOnly: q.field("login"), EmailOnly: q.field("email"), LoginOrEmail: cmp.Or(q.field("login"), q.field("email")),
	}[s.rest.LoginField]
	if name == "" {
		return nil, InvalidParameter // and no refused login
	}
	return s.locked(func() (any, error) {
		u, why := s.checkLogin(name, q.args["Password"], true)
		switch why {
		case "":
		case TableFull:
			return nil, cmp.Or(s.rest.TableFull, InvalidSession)
		default:
			return nil, cmp.Or(s.rest.Refusal, InvalidAPIKey)
		}
		t := s.open(u, s.newToken(u))
		q.opened = t.id
		return s.tokenInfo(t), nil
	}), nil
}

// restRefresh replaces a token. The cap on open tokens does not matter.
func (s *Server) restRefresh(q *request) (restEffect, error) {
	if s.rest.RefreshHeader == Always && q.rest.credential == "" {
		return nil, InvalidSession
	}
	return s.locked(func() (any, error) {
		if q.rest.credential != "" && s.rest.RefreshHeader != Never {
			if _, err := s.restCaller(q); err != nil {
				return nil, err
			}
		}
		old := s.token(q.field("token"))
		if old == nil {
			return nil, InvalidSession
		}
		delete(s.sessions, old.id)
		t := s.open(old.user, s.newToken(old.user))
		q.opened = t.id
		return s.tokenInfo(t), nil
	}), nil
}

func (s *Server) restSession(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		u, err := s.restCaller(q)
		if err != nil {
			return nil, err
		}
		var expires any // null for an API key
		if t := s.token(q.rest.credential); t != nil {
			expires = s.stamp(t.expires.Add(s.rest.ExpirySkew))
		}
		return object{
			{"userId", u.ID}, {"login", u.Login}, {"networkId", s.idOrNone(u.NetworkID)}, {"mailboxId", s.idOrNone(u.MailboxID)},
			{"authLevel", s.enum(u.AuthLevel, authLevels)}, {"expiresAt", expires},
		}, nil
	}), nil
}

func (s *Server) restLogout(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		if _, err := s.restCaller(q); err != nil {
			return nil, err
		}
		delete(s.sessions, q.rest.credential) // nothing for a key
		return s.rest.Done.of(true)
	}), nil
}

// restPassword leaves open tokens as they are.
func (s *Server) restPassword(q *request) (restEffect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.restCaller(q)
	switch {
	case err != nil:
		return nil, err
	case !q.rest.bearer && s.rest.KeyPassword != Denial{}:
		return nil, s.rest.KeyPassword
	case !passwordAllowed(q.args["NewPassword"]):
		return nil, InvalidParameter
	}
	return func() (any, error) {
		if err := s.changePassword(u.ID, q.args["OldPassword"], q.args["NewPassword"]); err != nil {
			return nil, err
		}
		return s.rest.Done.of(true)
	}, nil
}

func (s *Server) restMe(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		u, err := s.restCaller(q)
		if err != nil {
			return nil, err
		}
		return s.restRecord(u), nil
	}), nil
}

func (s *Server) restUser(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		u, err := s.restTarget(q)
		if err != nil {
			return nil, err
		}
		return s.restRecord(u), nil
	}), nil
}

func (s *Server) restRecord(u *user) object {
	return object{
		{"userId", u.ID}, {"login", u.Login}, {"email", u.Login}, {"firstName", "Zoë"}, {"lastName", "O'Neil & <Sons>"},
		{"networkId", s.idOrNone(u.NetworkID)}, {"mailboxId", s.idOrNone(u.MailboxID)},
		{"authLevel", s.enum(u.AuthLevel, authLevels)}, {"status", s.enum(status, []string{"Development", status})},
		{"created", s.stamp(u.created)},
	}
}

// restKey is for NetworkAdmin and above, even for the caller's own key.
func (s *Server) restKey(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		caller, err := s.restCaller(q)
		if err != nil {
			return nil, err
		}
		if slices.Index(authLevels, caller.AuthLevel) > slices.Index(authLevels, "NetworkAdmin") {
			return nil, errLevel
		}
		u, err := s.restTarget(q)
		if err != nil {
			return nil, err
		}
		if u.Key == "" {
			return s.rest.NoKey.of("")
		}
		return u.Key, nil
	}), nil
}

func (s *Server) restGenerateKey(q *request) (restEffect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.restTarget(q); err != nil {
		return nil, err
	}
	requested := time.Now()
	return func() (any, error) { return s.generateKey(q.id, requested, q.late), nil }, nil
}

func (s *Server) restReset(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		u, err := s.restTarget(q)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(s.sessions, func(_ string, open *session) bool { return open.user == u && open.isToken() })
		return true, nil
	}), nil
}

func (s *Server) restList(q *request) (restEffect, error) {
	return s.locked(func() (any, error) {
		caller, err := s.restCaller(q)
		if err != nil {
			return nil, err
		}
		size, number := q.number("recordsPerPage", defaultPage), q.number("pageNo", 1)
		if _, asked := q.rest.fields["recordsPerPage"]; s.rest.MaxPage > 0 && size > s.rest.MaxPage {
			if s.rest.RefuseLargePages && asked {
				return nil, InvalidParameter
			}
			size = s.rest.MaxPage
		}
		if size < 1 || number < 1 {
			return nil, InvalidParameter
		}
		return s.page(s.matching(caller, q), size, number)
	}), nil
}

// matching are the users that the caller may see and the filters let pass.
func (s *Server) matching(caller *user, q *request) (all []*user) {
	for _, u := range s.users {
		if caller.maySee(u) &&
			q.number("networkId", u.NetworkID) == u.NetworkID && q.number("mailboxId", u.MailboxID) == u.MailboxID &&
			cmp.Or(q.field("authLevel"), u.AuthLevel) == u.AuthLevel && cmp.Or(q.field("status"), status) == status {
			all = append(all, u)
		}
	}
	return all
}

func (s *Server) page(all []*user, size, number int) (any, error) {
	last := max(1, (len(all)+size-1)/size)
	if number > last {
		switch s.rest.PastEnd {
		case NoPage:
			return nil, ObjectNotFound
		case LastPage:
			number = last
		}
	}
	records := []any{}
	for i := (number - 1) * size; i < min(number*size, len(all)); i++ {
		records = append(records, s.restRecord(all[i]))
	}
	if len(records) == 0 && s.rest.NullLists {
		return nil, nil
	}
	return records, nil
}

// of returns the data in this form. Plain is the value itself.
func (f Form) of(plain any) (any, error) {
	switch f {
	case Null:
		return nil, nil
	case Absent:
		return absent{}, nil
	case NotFound:
		return nil, ObjectNotFound
	}
	return plain, nil
}

func (s *Server) idOrNone(id int) any {
	if id == 0 && s.rest.NullIDs {
		return nil
	}
	return id
}

func (s *Server) enum(name string, names []string) any {
	if s.rest.NumericEnums {
		return slices.Index(names, name)
	}
	return name
}

var stamps = map[Expiry]string{
	ExpiryZ:          "2006-01-02T15:04:05Z",
	ExpiryOffset:     "2006-01-02T15:04:05+00:00",
	ExpiryLocal:      "2006-01-02T15:04:05",
	ExpiryTicks:      "2006-01-02T15:04:05.0000000Z",
	ExpiryLocalTicks: "2006-01-02T15:04:05.0000000",
}

func (s *Server) stamp(t time.Time) any {
	if s.rest.Expiry == ExpiryNull {
		return nil
	}
	return t.Add(s.rest.ServerClock).UTC().Format(stamps[s.rest.Expiry])
}
