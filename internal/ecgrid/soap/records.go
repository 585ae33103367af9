package soap

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// field is an element of a record that the client reads.
type field[T any] struct {
	name     string
	required bool
	set      func(record *T, text string) bool // false: text is not a value of the field's type
}

// sessionFields are fields of SessionInfo (WSDL). The SessionID is not read.
var sessionFields = []field[ecgrid.Session]{
	{"ECGridOSVersion", false, func(s *ecgrid.Session, t string) bool { s.ECGridOSVersion = t; return true }},
	{"UserID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.UserID) }},
	{"LoginName", false, func(s *ecgrid.Session, t string) bool { s.LoginName = t; return true }},
	{"AuthLevel", false, func(s *ecgrid.Session, t string) bool { s.AuthLevel = enumValue(t); return true }},
	{"OpenSessions", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.OpenSessions) }},
	{"TimeOut", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.TimeOut) }},
	{"NetworkID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.NetworkID) }},
	{"MailboxID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.MailboxID) }},
}

// userFields are fields of UserIDInfo (WSDL).
var userFields = []field[ecgrid.User]{
	{"UserID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.UserID) }},
	{"LoginName", false, func(u *ecgrid.User, t string) bool { u.LoginName = t; return true }},
	{"NetworkID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.NetworkID) }},
	{"MailboxID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.MailboxID) }},
	{"AuthLevel", false, func(u *ecgrid.User, t string) bool { u.AuthLevel = enumValue(t); return true }},
	{"Status", false, func(u *ecgrid.User, t string) bool { u.Status = enumValue(t); return true }},
	{"LockedOut", false, func(u *ecgrid.User, t string) bool { return parseBool(t, &u.LockedOut) }},
}

// session reads the element, a SessionInfo.
func (p *parser) session() (ecgrid.Session, error) { return readRecord(p, sessionFields) }

// readRecord reads the element. It skips other fields, whatever they hold.
func readRecord[T any](p *parser, fields []field[T]) (record T, err error) {
	var seen uint
	err = p.children(func(start xml.StartElement) error {
		i := slices.IndexFunc(fields, func(f field[T]) bool {
			return start.Name == xml.Name{Space: nsECGrid, Local: f.name}
		})
		if i < 0 || isNil(start) {
			return p.skip()
		}
		if seen&(1<<i) != 0 {
			return badAnswer("duplicate field")
		}
		seen |= 1 << i
		text, err := p.text()
		if err == nil && !fields[i].set(&record, text) {
			err = badAnswer(invalidValue)
		}
		return err
	})
	for i := range fields {
		if err == nil && fields[i].required && seen&(1<<i) == 0 {
			err = badAnswer("missing field")
		}
	}
	return record, err
}

const (
	// maxListMemory bounds the memory of a list, in bytes: more than 100000 users.
	maxListMemory = 32 << 20
	// userSize is about the size of one User without its texts, in bytes.
	userSize = 80
	// usersPerChunk is how many users are held together until the list is complete. One
	// slice would take twice the memory each time it grows.
	usersPerChunk = 256
)

// userList returns a parser of an ArrayOfUserIDInfo that may take maxMemory bytes. It
// skips nil entries. An entry that is not a UserIDInfo makes the whole response invalid:
// a list is never cut short.
func userList(maxMemory int) func(*parser) ([]ecgrid.User, error) {
	return func(p *parser) ([]ecgrid.User, error) {
		var full [][]ecgrid.User
		var chunk []ecgrid.User
		memory := 0
		err := p.children(func(start xml.StartElement) error {
			if start.Name != (xml.Name{Space: nsECGrid, Local: "UserIDInfo"}) {
				return badAnswer(unexpectedElement)
			}
			if isNil(start) {
				return p.nilElement()
			}
			u, err := readRecord(p, userFields)
			if err != nil {
				return err
			}
			memory += userSize + len(u.LoginName) + len(u.AuthLevel) + len(u.Status)
			if memory > maxMemory {
				return badAnswer(tooLarge)
			}
			if len(chunk) == usersPerChunk {
				full, chunk = append(full, chunk), make([]ecgrid.User, 0, usersPerChunk)
			}
			chunk = append(chunk, u)
			return nil
		})
		if err != nil {
			return nil, err
		}
		return slices.Concat(append(full, chunk)...), nil
	}
}

// enums are the values of AuthLevel and Status (WSDL). A list repeats them for every
// user, so all users share one copy.
var enums = [...]string{
	"NoChange", "Root", "TechOps", "NetOps", "NetworkAdmin", "NetworkUser", "MailboxAdmin", "MailboxUser",
	"TPUser", "General", "Development", "Active", "Preproduction", "Suspended", "Terminated",
}

// enumValue returns the shared copy of a known value. It accepts others: ECGrid may add
// some.
func enumValue(text string) string {
	text = strings.Trim(text, xmlSpace)
	if i := slices.Index(enums[:], text); i >= 0 {
		return enums[i]
	}
	return text
}

const (
	invalidValue = "invalid value"
	notOneWord   = "credential with spaces or control characters"
)

// credential reads the element, a key or a SessionID: opaque, but one word. It trims XML
// white space. Other invisible characters could break, or change, the header or file that
// the credential is put into.
func (p *parser) credential() (string, error) {
	text, err := p.text()
	if err != nil {
		return "", err
	}
	text = strings.Trim(text, xmlSpace)
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }) {
		return "", badAnswer(notOneWord)
	}
	return text, nil
}

// boolean reads the element, an xs:boolean.
func (p *parser) boolean() (v bool, err error) {
	text, err := p.text()
	if err == nil && !parseBool(text, &v) {
		err = badAnswer(invalidValue)
	}
	return v, err
}

// parseInt parses an xs:int or xs:short, with white space around it and perhaps a '+'.
func parseInt[T int16 | int32](text string, to *T) bool {
	n, err := strconv.ParseInt(strings.Trim(text, xmlSpace), 10, 64)
	*to = T(n)
	return err == nil && int64(*to) == n
}

// parseBool parses an xs:boolean.
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
