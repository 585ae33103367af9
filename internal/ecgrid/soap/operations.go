package soap

import (
	"context"
	"encoding/xml"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// operation is what is fixed about one ECGridOS operation.
type operation struct {
	name   string
	again  repeats
	limit  int64 // of the answer, in bytes
	fresh  bool  // on a connection of its own
	header http.Header
}

func newOperation(name string, again repeats, limit int64, fresh bool) *operation {
	return &operation{name, again, limit, fresh, http.Header{
		"Content-Type": {"text/xml; charset=utf-8"},
		"SOAPAction":   {`"` + nsECGrid + name + `"`}, // as the specification spells it
		"User-Agent":   {"vault-plugin-ecgrid"},
	}}
}

var (
	opLogin          = newOperation("Login", ifUnsent, maxSmall, true)
	opLogout         = newOperation("Logout", asRead, maxSmall, false)
	opWhoAmI         = newOperation("WhoAmI", asRead, maxSmall, false)
	opUserGetAPIKey  = newOperation("UserGetAPIKey", asRead, maxSmall, false)
	opGenerateAPIKey = newOperation("GenerateAPIKey", ifUnsent, maxSmall, true)
	opChangePassword = newOperation("ChangePassword", ifUnsent, maxSmall, true)
	opUserInfo       = newOperation("UserInfo", asRead, maxSmall, false)
	opUserList       = newOperation("UserList", asRead, maxList, false)
	opVersion        = newOperation("Version", asRead, maxSmall, false)
)

// Login opens a session and gives its SessionID, which is opaque, one word and
// never empty. It is tried a second time only if no connection came about: a refused
// login counts towards locking the account. ErrServerFault means that ECGrid
// failed and says so without contradiction, any other fault that it refused.
func (c *Client) Login(ctx context.Context, loginName, password string) (sessionID string, err error) {
	e := newEnvelope(opLogin, len(loginName)+len(password)).
		str("LoginName", loginName).str("Password", password)
	return c.callForText(ctx, opLogin, e, (*answer).credential)
}

// Logout ends a session. ECGrid's own result, which its documents disagree on,
// is not looked at.
func (c *Client) Logout(ctx context.Context, sessionID string) error {
	e := newEnvelope(opLogout, len(sessionID)).str("SessionID", sessionID)
	_, _, err := call(ctx, c, opLogout, e, func(a *answer) (struct{}, error) { return struct{}{}, a.skip() })
	return err
}

// WhoAmI tells of a live session; of a dead one it gives a fault. An answer
// without a session is ErrEmptyResult.
func (c *Client) WhoAmI(ctx context.Context, sessionID string) (ecgrid.Session, error) {
	e := newEnvelope(opWhoAmI, len(sessionID)).str("SessionID", sessionID)
	return callForRecord(ctx, c, opWhoAmI, e, sessionFields)
}

// UserGetAPIKey gives the user's persistent API key, which is opaque, one word and
// never empty: a user without one is ErrEmptyResult.
func (c *Client) UserGetAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	e := newEnvelope(opUserGetAPIKey, len(sessionID)).
		str("SessionID", sessionID).user(userID)
	return c.callForText(ctx, opUserGetAPIKey, e, (*answer).credential)
}

// GenerateAPIKey replaces the user's API key and gives the new one; the old one
// is dead at once. It is never repeated once it may have been sent: after an
// error with Sent, or ErrEmptyResult, only UserGetAPIKey can tell what became of it.
func (c *Client) GenerateAPIKey(ctx context.Context, sessionID string, userID int32) (string, error) {
	e := newEnvelope(opGenerateAPIKey, len(sessionID)).
		str("SessionID", sessionID).user(userID)
	return c.callForText(ctx, opGenerateAPIKey, e, (*answer).credential)
}

// ChangePassword changes the password of the session's own user, at once. It is
// never repeated once it may have been sent. ErrFault with the reason "answered
// false" is a definite no; an answer without a result is ErrEmptyResult.
func (c *Client) ChangePassword(ctx context.Context, sessionID, oldPassword, newPassword string) error {
	e := newEnvelope(opChangePassword, len(sessionID)+len(oldPassword)+len(newPassword)).
		str("SessionID", sessionID).str("OldPassword", oldPassword).str("NewPassword", newPassword)
	changed, found, err := call(ctx, c, opChangePassword, e, (*answer).bool)
	switch {
	case err != nil:
		return err
	case !found:
		return emptyResult(opChangePassword)
	case !changed:
		return &ecgrid.Error{Op: opChangePassword.name, Kind: ecgrid.ErrFault, Reason: "answered false", Sent: true}
	}
	return nil
}

// UserInfo tells of one user. An answer without a user is ErrEmptyResult.
func (c *Client) UserInfo(ctx context.Context, sessionID string, userID int32) (ecgrid.User, error) {
	e := newEnvelope(opUserInfo, len(sessionID)).
		str("SessionID", sessionID).user(userID)
	return callForRecord(ctx, c, opUserInfo, e, userFields)
}

// UserList gives the users that the session can see and whose name has name in
// it, in ECGrid's order; "" is all of them. None is not an error. The list is whole,
// for 100000 users and more; one too long to be true is ErrBadAnswer.
func (c *Client) UserList(ctx context.Context, sessionID, name string) ([]ecgrid.User, error) {
	e := newEnvelope(opUserList, len(sessionID)+len(name)).
		str("SessionID", sessionID).str("Name", name)
	users, _, err := call(ctx, c, opUserList, e, usersWithin(maxKept))
	return users, err
}

// Version gives ECGridOS's own version text; it needs no session. An answer
// without one is ErrEmptyResult.
func (c *Client) Version(ctx context.Context) (string, error) {
	return c.callForText(ctx, opVersion, newEnvelope(opVersion, 0), (*answer).string)
}

// value is a result of one type.
type value[T any] struct {
	parse func(*answer) (T, error)
	v     T
	found bool // the answer held a result
}

func (r *value[T]) reset() { *r = value[T]{parse: r.parse} }

func (r *value[T]) read(a *answer) (err error) {
	r.found = true
	r.v, err = r.parse(a)
	return err
}

// call makes a call whose result may be absent.
func call[T any](ctx context.Context, c *Client, op *operation, e *envelope, parse func(*answer) (T, error)) (v T, found bool, err error) {
	r := value[T]{parse: parse}
	if err := c.call(ctx, op, e, &r); err != nil {
		return v, false, err
	}
	return r.v, r.found, nil
}

// callForText makes a call whose result is a string that must say something.
func (c *Client) callForText(ctx context.Context, op *operation, e *envelope, parse func(*answer) (string, error)) (string, error) {
	text, _, err := call(ctx, c, op, e, parse)
	if err == nil && strings.Trim(text, xmlSpace) == "" {
		return "", emptyResult(op)
	}
	return text, err
}

// callForRecord makes a call whose result is a record that must be there.
func callForRecord[T any](ctx context.Context, c *Client, op *operation, e *envelope, fields []field[T]) (T, error) {
	record, found, err := call(ctx, c, op, e, func(a *answer) (T, error) { return readRecord(a, fields) })
	if err == nil && !found {
		err = emptyResult(op)
	}
	return record, err
}

func emptyResult(op *operation) error {
	return &ecgrid.Error{Op: op.name, Kind: ecgrid.ErrEmptyResult, Sent: true}
}

// field is one element of a record that is kept.
type field[T any] struct {
	name     string
	required bool
	set      func(record *T, text string) bool // false: not a value of the type
}

// Of SessionInfo (WSDL). Its SessionID is left where it is.
var sessionFields = []field[ecgrid.Session]{
	{"ECGridOSVersion", false, func(s *ecgrid.Session, t string) bool { s.ECGridOSVersion = t; return true }},
	{"UserID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.UserID) }},
	{"LoginName", false, func(s *ecgrid.Session, t string) bool { s.LoginName = t; return true }},
	{"AuthLevel", false, func(s *ecgrid.Session, t string) bool { s.AuthLevel = enum(t); return true }},
	{"OpenSessions", true, func(s *ecgrid.Session, t string) bool { return parseShort(t, &s.OpenSessions) }},
	{"TimeOut", true, func(s *ecgrid.Session, t string) bool { return parseShort(t, &s.TimeOut) }},
	{"NetworkID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.NetworkID) }},
	{"MailboxID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.MailboxID) }},
}

// Of UserIDInfo (WSDL).
var userFields = []field[ecgrid.User]{
	{"UserID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.UserID) }},
	{"LoginName", false, func(u *ecgrid.User, t string) bool { u.LoginName = t; return true }},
	{"NetworkID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.NetworkID) }},
	{"MailboxID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.MailboxID) }},
	{"AuthLevel", false, func(u *ecgrid.User, t string) bool { u.AuthLevel = enum(t); return true }},
	{"Status", false, func(u *ecgrid.User, t string) bool { u.Status = enum(t); return true }},
	{"LockedOut", false, func(u *ecgrid.User, t string) bool { return parseBool(t, &u.LockedOut) }},
}

// readRecord reads the element at hand. Fields that are not kept are passed over
// whatever they hold.
func readRecord[T any](a *answer, fields []field[T]) (record T, err error) {
	var seen uint
	err = a.children(func(start xml.StartElement) error {
		i := fieldIndex(fields, start.Name)
		if i < 0 || isNil(start) {
			return a.skip()
		}
		if seen&(1<<i) != 0 {
			return badAnswer("a field twice")
		}
		seen |= 1 << i
		text, err := a.string()
		if err == nil && !fields[i].set(&record, text) {
			err = badAnswer("not a value of its type")
		}
		return err
	})
	for i := range fields {
		if err == nil && fields[i].required && seen&(1<<i) == 0 {
			err = badAnswer("a field is missing")
		}
	}
	return record, err
}

func fieldIndex[T any](fields []field[T], name xml.Name) int {
	if name.Space != nsECGrid {
		return -1
	}
	for i := range fields {
		if fields[i].name == name.Local {
			return i
		}
	}
	return -1
}

const (
	// maxKept bounds what a list holds in memory, in bytes: room for 100000 users
	// and more.
	maxKept = 32 << 20
	// userSize is about what one User takes, its texts not counted.
	userSize = 80
	// usersPart is how many users are held together until the list is whole. One
	// slice that grows would take twice the memory each time it does.
	usersPart = 256
)

// usersWithin gives a reader of a list that keeps no more than most, in bytes.
func usersWithin(most int) func(*answer) ([]ecgrid.User, error) {
	return func(a *answer) ([]ecgrid.User, error) { return a.users(most) }
}

// users reads the element at hand, an ArrayOfUserIDInfo. A nil entry is no user.
// Anything else that is no UserIDInfo is nonsense: a list is never cut short.
func (a *answer) users(most int) ([]ecgrid.User, error) {
	var full [][]ecgrid.User
	var part []ecgrid.User
	kept := 0
	err := a.children(func(start xml.StartElement) error {
		if start.Name != (xml.Name{Space: nsECGrid, Local: "UserIDInfo"}) {
			return badAnswer(unexpectedElement)
		}
		if isNil(start) {
			return a.blank()
		}
		u, err := readRecord(a, userFields)
		if err != nil {
			return err
		}
		kept += userSize + len(u.LoginName) + len(u.AuthLevel) + len(u.Status)
		if kept > most {
			return badAnswer(tooLarge)
		}
		if len(part) == usersPart {
			full, part = append(full, part), make([]ecgrid.User, 0, usersPart)
		}
		part = append(part, u)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.Concat(append(full, part)...), nil
}

// enums are the values of AuthLevel and Status (WSDL). A list repeats them for
// every user: one copy is enough.
var enums = [...]string{
	"NoChange", "Root", "TechOps", "NetOps", "NetworkAdmin", "NetworkUser", "MailboxAdmin", "MailboxUser",
	"TPUser", "General", "Development", "Active", "Preproduction", "Suspended", "Terminated",
}

// enum gives the one copy of a known value, and an unknown one as it is: ECGrid
// may add some.
func enum(text string) string {
	text = strings.Trim(text, xmlSpace)
	for _, known := range enums {
		if text == known {
			return known
		}
	}
	return text
}

const notOneWord = "a credential with blanks or control characters inside"

// credential reads the element at hand, a key or a SessionID: opaque, but one
// word. White space of XML around it is cut off. With anything else that shows
// nothing it would break, or change, the header or file that it is put into.
func (a *answer) credential() (string, error) {
	text, err := a.string()
	if err != nil {
		return "", err
	}
	text = strings.Trim(text, xmlSpace)
	if strings.ContainsFunc(text, isBlankOrControl) {
		return "", badAnswer(notOneWord)
	}
	return text, nil
}

func isBlankOrControl(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// bool reads the element at hand, an xs:boolean.
func (a *answer) bool() (v bool, err error) {
	text, err := a.string()
	if err == nil && !parseBool(text, &v) {
		err = badAnswer("not a value of its type")
	}
	return v, err
}

// parseInt reads an xs:int, which may stand among white space and begin with '+'.
func parseInt(text string, to *int32) bool {
	n, err := strconv.ParseInt(strings.Trim(text, xmlSpace), 10, 32)
	*to = int32(n)
	return err == nil
}

// parseShort reads an xs:short.
func parseShort(text string, to *int16) bool {
	n, err := strconv.ParseInt(strings.Trim(text, xmlSpace), 10, 16)
	*to = int16(n)
	return err == nil
}

// parseBool reads an xs:boolean.
func parseBool(text string, to *bool) bool {
	switch strings.Trim(text, xmlSpace) {
	case "true", "1":
		*to = true
	case "false", "0":
		*to = false
	default:
		return false
	}
	return true
}
