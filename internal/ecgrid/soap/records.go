// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"encoding/xml"
	"slices"
	"strconv"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
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
	{"AuthLevel", false, func(s *ecgrid.Session, t string) bool { s.AuthLevel = ecgrid.EnumValue(t); return true }},
	{"OpenSessions", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, newOf(&s.OpenSessions)) }},
	{"TimeOut", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, newOf(&s.TimeOut)) }},
	{"NetworkID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.NetworkID) }},
	{"MailboxID", true, func(s *ecgrid.Session, t string) bool { return parseInt(t, &s.MailboxID) }},
}

// userFields are fields of UserIDInfo (WSDL).
var userFields = []field[ecgrid.User]{
	{"UserID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.UserID) }},
	{"LoginName", false, func(u *ecgrid.User, t string) bool { u.LoginName = t; return true }},
	{"NetworkID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.NetworkID) }},
	{"MailboxID", true, func(u *ecgrid.User, t string) bool { return parseInt(t, &u.MailboxID) }},
	{"AuthLevel", false, func(u *ecgrid.User, t string) bool { u.AuthLevel = ecgrid.EnumValue(t); return true }},
	{"Status", false, func(u *ecgrid.User, t string) bool { u.Status = ecgrid.EnumValue(t); return true }},
	{"LockedOut", false, func(u *ecgrid.User, t string) bool { return parseBool(t, &u.LockedOut) }},
}

// newOf sets a pointer to a new value, and returns it.
func newOf[T any](to **T) *T {
	*to = new(T)
	return *to
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

// userList returns a parser of an ArrayOfUserIDInfo that may take maxMemory bytes. It
// skips nil entries. An entry that is not a UserIDInfo makes the whole response invalid:
// a list is never cut short.
func userList(maxMemory int) func(*parser) ([]ecgrid.User, error) {
	return func(p *parser) ([]ecgrid.User, error) {
		users := ecgrid.Users{Limit: maxMemory}
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
			if !users.Add(u) {
				return badAnswer(httpclient.TooLarge)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return users.All(), nil
	}
}

const invalidValue = "invalid value"

// credential reads the element, a key or a SessionID.
func (p *parser) credential() (string, error) {
	text, err := p.text()
	if err != nil {
		return "", err
	}
	return httpclient.OneWord(text)
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
	n, err := strconv.ParseInt(strings.Trim(text, ecgrid.Space), 10, 64)
	*to = T(n)
	return err == nil && int64(*to) == n
}

// parseBool parses an xs:boolean.
func parseBool(text string, to *bool) bool {
	switch strings.Trim(text, ecgrid.Space) {
	case "true", "1":
		*to = true
	case "false", "0":
		*to = false
	default:
		return false
	}
	return true
}
