// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"fmt"
	"maps"
	"strings"
	"time"
)

const version = "4.1.0.472"

// effect applies a request and returns the elements of its answer.
type effect func() ([]element, error)

// handlers check a request when it arrives. The effect may be applied later.
var handlers = map[string]func(*Server, *request) (effect, error){
	"Login":          (*Server).doLogin,
	"Logout":         (*Server).doLogout,
	"WhoAmI":         (*Server).doWhoAmI,
	"UserGetAPIKey":  (*Server).doUserGetAPIKey,
	"GenerateAPIKey": (*Server).doGenerateAPIKey,
	"ChangePassword": (*Server).doChangePassword,
	"UserInfo":       (*Server).doUserInfo,
	"UserList":       (*Server).doUserList,
	"UserReset":      (*Server).doUserReset,
	"Version": func(s *Server, _ *request) (effect, error) {
		return always(leaf("VersionResult", version)), nil
	},
}

// isChange has the operations that may be applied late.
var isChange = map[string]bool{"GenerateAPIKey": true, "ChangePassword": true}

func always(results ...element) effect {
	return func() ([]element, error) { return results, nil }
}

func (s *Server) doLogin(r *request) (effect, error) {
	return func() ([]element, error) {
		opened, err := s.login(r.args["LoginName"], r.args["Password"], r.ip)
		if err != nil {
			return nil, err
		}
		r.opened = opened.id
		return []element{leaf("LoginResult", opened.id)}, nil
	}, nil
}

func (s *Server) doLogout(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		open := s.sessions[r.args["SessionID"]]
		if open == nil || open.ip != r.ip {
			return nil, errDeadSession
		}
		delete(s.sessions, open.id)
		return []element{leaf("LogoutResult", s.random.integer(int(time.Since(open.opened).Milliseconds())))}, nil
	}, nil
}

func (s *Server) doWhoAmI(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		id := r.args["SessionID"]
		u, err := s.caller(id, r.ip)
		if err != nil {
			return nil, err
		}
		return []element{{Name: "WhoAmIResult", Children: s.sessionInfo(u, id, r.ip)}}, nil
	}, nil
}

func (s *Server) sessionInfo(u *user, sessionID, ip string) []element {
	d := s.random
	return d.withoutSome([]element{
		leaf("ECGridOSVersion", version), leaf("SessionID", sessionID),
		leaf("SessionEventID", d.integer(4711)), leaf("UserID", d.integer(u.ID)), leaf("LoginName", u.Login),
		leaf("FirstName", "Zoë"), leaf("LastName", "O'Neil & <Sons>"), leaf("Company", ""), leaf("EMail", ""), leaf("Phone", ""),
		leaf("TimeZoneOffset", pick(d, []string{"-5", "-5.0E0", "5.5"})), leaf("AuthLevel", u.AuthLevel),
		leaf("LastLogin", d.dateTime(u.lastLogin)), leaf("OpenSessions", d.integer(s.countOpen(u))), leaf("TimeOut", "60"),
		leaf("NetworkID", d.integer(u.NetworkID)), leaf("MailboxID", d.integer(u.MailboxID)), leaf("ip", ip),
	})
}

func (s *Server) userIDInfo(u *user) []element {
	d := s.random
	return d.withoutSome([]element{
		leaf("UserID", d.integer(u.ID)), leaf("LoginName", u.Login), leaf("RecoveryQuestion", ""),
		leaf("FirstName", "Zoë"), leaf("LastName", "O'Neil & <Sons>"), leaf("Company", ""), leaf("EMail", ""), leaf("Phone", ""),
		leaf("CellPhone", ""), leaf("CellCarrier", "Undefined"), leaf("TimeZoneOffset", "-5"),
		leaf("NetworkID", d.integer(u.NetworkID)), leaf("MailboxID", d.integer(u.MailboxID)), leaf("AuthLevel", u.AuthLevel),
		leaf("Created", d.dateTime(u.created)), leaf("Modified", d.dateTime(u.modified)), leaf("LastLogin", d.dateTime(u.lastLogin)),
		leaf("Status", "Active"), leaf("LockedOut", d.boolean(s.lockedOut(u))), leaf("OpenSessions", d.integer(s.countOpen(u))),
	})
}

func (s *Server) doUserGetAPIKey(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		u, err := s.target(r.args["SessionID"], r.ip, r.id)
		if err != nil {
			return nil, err
		}
		return []element{leaf("UserGetAPIKeyResult", u.Key)}, nil
	}, nil
}

func (s *Server) doGenerateAPIKey(r *request) (effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.target(r.args["SessionID"], r.ip, r.id); err != nil {
		return nil, err
	}
	requested := time.Now()
	return func() ([]element, error) {
		return []element{leaf("GenerateAPIKeyResult", s.generateKey(r.id, requested, r.late))}, nil
	}, nil
}

func (s *Server) doChangePassword(r *request) (effect, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.caller(r.args["SessionID"], r.ip)
	if err != nil {
		return nil, err
	}
	if !passwordAllowed(r.args["NewPassword"]) {
		return nil, errInvalid
	}
	return func() ([]element, error) {
		err := s.changePassword(u.ID, r.args["OldPassword"], r.args["NewPassword"])
		if err != nil && s.random.oneIn(2) {
			return nil, err
		}
		return []element{leaf("ChangePasswordResult", s.random.boolean(err == nil))}, nil
	}, nil
}

func (s *Server) doUserInfo(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		u, err := s.target(r.args["SessionID"], r.ip, r.id)
		if err != nil {
			return nil, err
		}
		return []element{{Name: "UserInfoResult", Children: s.userIDInfo(u)}}, nil
	}, nil
}

func (s *Server) doUserList(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		caller, err := s.caller(r.args["SessionID"], r.ip)
		if err != nil {
			return nil, err
		}
		list := element{Name: "UserListResult"}
		for _, u := range s.users {
			if caller.maySee(u) && strings.Contains(u.Login, r.args["Name"]) {
				list.Children = append(list.Children, element{Name: "UserIDInfo", Children: s.userIDInfo(u)})
			}
		}
		if s.random.oneIn(4) {
			list.Children = append(list.Children, element{Name: "UserIDInfo", Nil: true}) // the schema says nillable
		}
		return []element{list}, nil
	}, nil
}

func (s *Server) doUserReset(r *request) (effect, error) {
	return func() ([]element, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		u, err := s.target(r.args["SessionID"], r.ip, r.id)
		if err != nil {
			return nil, err
		}
		maps.DeleteFunc(s.sessions, func(_ string, open *session) bool { return open.user == u })
		return []element{leaf("UserResetResult", s.random.boolean(true))}, nil
	}, nil
}

// withoutSome may leave out empty elements, as the schema allows.
func (d *random) withoutSome(all []element) []element {
	if d.oneIn(2) {
		return all
	}
	var rest []element
	for _, e := range all {
		if e.Value != "" {
			rest = append(rest, e)
		}
	}
	return rest
}

// integer is one of the forms of xs:int.
func (d *random) integer(n int) string {
	return fmt.Sprintf(pick(d, []string{"%d", "%d", "%d", "%06d", "+%d", " %d\n"}), n)
}

func (d *random) boolean(b bool) string {
	if b {
		return pick(d, []string{"true", "1", " true "})
	}
	return pick(d, []string{"false", "0"})
}

// dateTime has no offset, as .NET writes it.
func (d *random) dateTime(t time.Time) string {
	if t.IsZero() {
		return "0001-01-01T00:00:00"
	}
	return t.UTC().Format(pick(d, []string{"2006-01-02T15:04:05", "2006-01-02T15:04:05.999", "2006-01-02T15:04:05.0000000"}))
}
