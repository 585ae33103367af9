package simulator

import (
	"iter"
	"math"
	"strconv"
	"strings"
	"time"
)

// call is one well-formed request, while the simulator is locked.
type call struct {
	args map[string]string
	ip   string
	landing
}

func (c *call) userID() int32 {
	n, _ := strconv.ParseInt(strings.TrimSpace(c.args["UserID"]), 10, 32)
	return int32(n)
}

// record is the values of a complex type, by element name. An absent name is an
// absent element.
type record map[string]string

// value is an operation's result: text, one record, or a list of them. The zero
// value is an absent element, which is how .NET writes a null string.
type value struct {
	text string
	one  record
	list iter.Seq[record]
}

// operation is one row of the WSDL and what it does here.
type operation struct {
	name string
	in   []field
	out  field
	run  func(*Simulator, *call) (value, Cause)
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
	{"Version", nil, str("VersionResult"), func(*Simulator, *call) (value, Cause) { return value{text: Version}, "" }},
}

// Version is what the operation of that name answers.
const Version = "ECGridOS Simulator v4.1"

func operationByName(name string) *operation {
	for i := range operations {
		if operations[i].name == name {
			return &operations[i]
		}
	}
	return nil
}

func withSession(run func(*Simulator, *session, *call) (value, Cause)) func(*Simulator, *call) (value, Cause) {
	return func(s *Simulator, c *call) (value, Cause) {
		n := s.resolve(c.args["SessionID"], c.ip)
		if n == nil {
			return value{}, SessionDead
		}
		return run(s, n, c)
	}
}

func withTarget(run func(*Simulator, *account, *call) (value, Cause)) func(*Simulator, *call) (value, Cause) {
	return withSession(func(s *Simulator, n *session, c *call) (value, Cause) {
		t, cause := s.target(n.user, c.userID())
		if t == nil {
			return value{}, cause
		}
		return run(s, t, c)
	})
}

func (s *Simulator) login(c *call) (value, Cause) {
	a := s.authenticate(c.args["LoginName"], c.args["Password"], true)
	if a == nil {
		return value{}, LoginRefused
	}
	return value{text: s.open(a, c.ip).id}, ""
}

// logout answers the session's length in ms (older docs). A key given as the
// SessionID has no session to end: 0.
func logout(s *Simulator, n *session, _ *call) (value, Cause) {
	s.close(n)
	ms := min(s.opts.Clock().Sub(n.opened).Milliseconds(), math.MaxInt32)
	return value{text: itoa(ms)}, ""
}

func whoAmI(s *Simulator, n *session, _ *call) (value, Cause) {
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
		"OpenSessions":    itoa(min(u.open, math.MaxInt16)),
		"TimeOut":         itoa(min(int64(s.opts.IdleTimeout/time.Second), math.MaxInt16)),
		"NetworkID":       itoa(u.NetworkID),
		"MailboxID":       itoa(u.MailboxID),
		"ip":              n.ip,
	}}, ""
}

func userGetAPIKey(_ *Simulator, t *account, _ *call) (value, Cause) {
	return value{text: t.APIKey}, ""
}

func generateAPIKey(s *Simulator, t *account, c *call) (value, Cause) {
	key, cause := s.generateKey(t, c.landing)
	return value{text: key}, cause
}

func changePassword(s *Simulator, n *session, c *call) (value, Cause) {
	if cause := s.changePassword(n.user, c.args["OldPassword"], c.args["NewPassword"], c.landing); cause != "" {
		return value{}, cause
	}
	return value{text: "true"}, ""
}

func userInfo(_ *Simulator, t *account, _ *call) (value, Cause) {
	return value{one: userRecord(t)}, ""
}

func userList(s *Simulator, n *session, c *call) (value, Cause) {
	// One at a time: all records at once would be several times the answer.
	return value{list: func(yield func(record) bool) {
		for _, a := range s.sortedUsers() {
			if n.user.mayReach(a) && a.matches(c.args["Name"]) && !yield(userRecord(a)) {
				return
			}
		}
	}}, ""
}

// userReset forgets sessions and refused logins (WSDL); it does not unlock.
func userReset(s *Simulator, t *account, _ *call) (value, Cause) {
	s.closeAll(t.UserID)
	t.refused = 0
	return value{text: "true"}, ""
}

// matches is UserList's filter; "" is everybody.
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
		"OpenSessions":     itoa(min(a.open, math.MaxInt16)),
	}
}

// dateTime is a time as .NET writes one of unspecified kind: UTC, no offset.
func dateTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999") }
