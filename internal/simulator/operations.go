// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
)

// soapCall is a valid SOAP request. The simulator is locked.
type soapCall struct {
	args map[string]string
	ip   string
	timing
}

func (c *soapCall) userID() int32 {
	n, _ := strconv.ParseInt(strings.Trim(c.args["UserID"], xmlSpace), 10, 32)
	return int32(n)
}

// record has the values of a complex type by element name. A missing name is an absent
// element.
type record map[string]string

// value is an operation's result: text, one record, or a list of records. The zero value
// is an absent element, as .NET writes a null string.
type value struct {
	text string
	one  record
	list iter.Seq[record]
}

// operation is an operation of the WSDL.
type operation struct {
	name string
	in   []field
	out  field
	run  func(*Simulator, *soapCall) (value, Cause)
}

var operations = []operation{
	{"Login", []field{str("LoginName"), str("Password")}, str("LoginResult"), (*Simulator).login},
	{"Logout", []field{str("SessionID")}, req("LogoutResult", "int"), withSession(logout)},
	{"WhoAmI", []field{str("SessionID")}, opt("WhoAmIResult", "SessionInfo"), withSession(whoAmI)},
	{"UserGetAPIKey", []field{str("SessionID"), req("UserID", "int")}, str("UserGetAPIKeyResult"), withTarget(userGetAPIKey)},
	{"GenerateAPIKey", []field{str("SessionID"), req("UserID", "int")}, str("GenerateAPIKeyResult"), withTarget(generateAPIKey)},
	{"ChangePassword", []field{str("SessionID"), str("OldPassword"), str("NewPassword")}, req("ChangePasswordResult", "boolean"), withSession(changePassword)},
	{"UserInfo", []field{str("SessionID"), req("UserID", "int")}, opt("UserInfoResult", "UserIDInfo"), withTarget(userInfo)},
	{"UserList", []field{str("SessionID"), str("Name")}, opt("UserListResult", "ArrayOfUserIDInfo"), withSession(userList)},
	{"UserReset", []field{str("SessionID"), req("UserID", "int")}, req("UserResetResult", "boolean"), withTarget(userReset)},
	{"Version", nil, str("VersionResult"), func(*Simulator, *soapCall) (value, Cause) { return value{text: Version}, "" }},
}

// Version is the result of the operation Version.
const Version = "ECGridOS Simulator v4.1"

func operationByName(name string) *operation {
	for i := range operations {
		if operations[i].name == name {
			return &operations[i]
		}
	}
	return nil
}

func withSession(run func(*Simulator, *session, *soapCall) (value, Cause)) func(*Simulator, *soapCall) (value, Cause) {
	return func(s *Simulator, c *soapCall) (value, Cause) {
		n := s.sessionFor(c.args["SessionID"], c.ip)
		if n == nil {
			return value{}, SessionDead
		}
		return run(s, n, c)
	}
}

func withTarget(run func(*Simulator, *account, *soapCall) (value, Cause)) func(*Simulator, *soapCall) (value, Cause) {
	return withSession(func(s *Simulator, n *session, c *soapCall) (value, Cause) {
		t, cause := s.target(n.user, c.userID())
		if t == nil {
			return value{}, cause
		}
		return run(s, t, c)
	})
}

func (s *Simulator) login(c *soapCall) (value, Cause) {
	a := s.authenticate(c.args["LoginName"], c.args["Password"])
	if a == nil {
		return value{}, LoginRefused
	}
	return value{text: s.openSession(a, c.ip).id}, ""
}

// logout returns the session's duration in ms (older docs), and 0 for an API key, which
// has no session.
func logout(s *Simulator, n *session, _ *soapCall) (value, Cause) {
	s.closeSession(n)
	ms := min(s.opts.Clock().Sub(n.opened).Milliseconds(), math.MaxInt32)
	return value{text: itoa(ms)}, ""
}

func whoAmI(s *Simulator, n *session, _ *soapCall) (value, Cause) {
	u := n.user
	return value{one: record{
		"ECGridOSVersion": Version,
		"SessionID":       n.id,
		"SessionEventID":  itoa(n.event),
		"UserID":          itoa(u.UserID),
		"LoginName":       u.LoginName,
		"FirstName":       u.FirstName,
		"LastName":        u.LastName,
		"Company":         u.Company,
		"EMail":           u.EMail,
		"Phone":           u.Phone,
		"TimeZoneOffset":  "-5",
		"AuthLevel":       u.AuthLevel,
		"LastLogin":       dateTime(u.lastLogin),
		"OpenSessions":    itoa(min(u.openSessions, math.MaxInt16)),
		"TimeOut":         itoa(min(int64(s.opts.IdleTimeout/time.Second), math.MaxInt16)),
		"NetworkID":       itoa(u.NetworkID),
		"MailboxID":       itoa(u.MailboxID),
		"ip":              n.ip,
	}}, ""
}

func userGetAPIKey(_ *Simulator, t *account, _ *soapCall) (value, Cause) {
	return value{text: t.APIKey}, ""
}

func generateAPIKey(s *Simulator, t *account, c *soapCall) (value, Cause) {
	key, cause := s.generateKey(t, c.timing)
	return value{text: key}, cause
}

func changePassword(s *Simulator, n *session, c *soapCall) (value, Cause) {
	if cause := s.changePassword(n.user, c.args["OldPassword"], c.args["NewPassword"], c.timing); cause != "" {
		return value{}, cause
	}
	return value{text: "true"}, ""
}

func userInfo(_ *Simulator, t *account, _ *soapCall) (value, Cause) {
	return value{one: userRecord(t)}, ""
}

func userList(s *Simulator, n *session, c *soapCall) (value, Cause) {
	// Record by record: all at once would take several times the memory of the answer.
	return value{list: func(yield func(record) bool) {
		for _, a := range s.sortedUsers() {
			if n.user.canReach(a) && a.matches(c.args["Name"]) && !yield(userRecord(a)) {
				return
			}
		}
	}}, ""
}

func userReset(s *Simulator, t *account, _ *soapCall) (value, Cause) {
	s.resetUser(t)
	return value{text: "true"}, ""
}

// matches implements UserList's filter; "" matches all users.
func (a *account) matches(name string) bool {
	all := strings.ToLower(a.LoginName + "\n" + a.FirstName + " " + a.LastName)
	return strings.Contains(all, strings.ToLower(name))
}

func userRecord(a *account) record {
	return record{
		"UserID":           itoa(a.UserID),
		"LoginName":        a.LoginName,
		"RecoveryQuestion": "",
		"FirstName":        a.FirstName,
		"LastName":         a.LastName,
		"Company":          a.Company,
		"EMail":            a.EMail,
		"Phone":            a.Phone,
		"CellPhone":        "",
		"CellCarrier":      "Undefined",
		"TimeZoneOffset":   "-5",
		"NetworkID":        itoa(a.NetworkID),
		"MailboxID":        itoa(a.MailboxID),
		"AuthLevel":        a.AuthLevel,
		"Created":          dateTime(a.created),
		"Modified":         dateTime(a.modified),
		"LastLogin":        dateTime(a.lastLogin),
		"Status":           a.Status,
		"LockedOut":        strconv.FormatBool(a.LockedOut),
		"OpenSessions":     itoa(min(a.openSessions, math.MaxInt16)),
	}
}

// dateTime writes UTC without an offset, as .NET does for an unspecified kind.
func dateTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999") }
