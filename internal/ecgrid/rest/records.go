// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"encoding/json"
	"strconv"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// scalar is a value that is neither an object nor an array. Null is "".
type scalar struct {
	text     string
	isString bool
}

// scalar reads a value. ok is false if it is an object or an array.
func (p *parser) scalar() (s scalar, ok bool, err error) {
	t, err := p.next()
	if err != nil {
		return s, false, err
	}
	switch t := t.(type) {
	case string:
		return scalar{t, true}, true, nil
	case json.Number:
		return scalar{text: t.String()}, true, nil
	case bool:
		return scalar{text: strconv.FormatBool(t)}, true, nil
	case nil:
		return scalar{}, true, nil
	}
	return s, false, nil
}

// fields are the fields of a record that the client reads. They return false if the value is
// not one of the field.
type fields[T any] map[string]func(record *T, s scalar) bool

var userFields = fields[ecgrid.User]{
	"userId":    func(u *ecgrid.User, s scalar) bool { return setInt(s, &u.UserID) },
	"login":     func(u *ecgrid.User, s scalar) bool { u.LoginName = s.text; return true },
	"networkId": func(u *ecgrid.User, s scalar) bool { return setInt(s, &u.NetworkID) },
	"mailboxId": func(u *ecgrid.User, s scalar) bool { return setInt(s, &u.MailboxID) },
	"authLevel": func(u *ecgrid.User, s scalar) bool { u.AuthLevel = ecgrid.EnumValue(s.text); return true },
	"status":    func(u *ecgrid.User, s scalar) bool { u.Status = ecgrid.EnumValue(s.text); return true },
}

// setInt sets a number. Null is 0: a user may belong to no mailbox.
func setInt(s scalar, to *int32) bool {
	if s == (scalar{}) {
		*to = 0
		return true
	}
	n, err := strconv.ParseInt(s.text, 10, 32)
	*to = int32(n)
	return err == nil && !s.isString
}

// readRecord reads an object, or null. It skips other fields, whatever they have.
func readRecord[T any](p *parser, known fields[T]) (record T, err error) {
	err = p.object(func(name string) error {
		set := known[name]
		if set == nil {
			return p.skip()
		}
		s, ok, err := p.scalar()
		if err == nil && (!ok || !set(&record, s)) {
			err = httpclient.BadAnswer(invalidValue)
		}
		return err
	})
	return record, err
}

// user reads a user. Its UserID is required.
func (p *parser) user() (ecgrid.User, error) {
	u, err := readRecord(p, userFields)
	if err == nil && u.UserID == 0 {
		err = httpclient.BadAnswer("missing field")
	}
	return u, err
}

// users reads a page of a list.
func (p *parser) users() ([]ecgrid.User, error) {
	users := ecgrid.Users{Limit: ecgrid.MaxListMemory}
	err := p.array(func() error {
		u, err := p.user()
		if err == nil && !users.Add(u) {
			err = httpclient.BadAnswer(httpclient.TooLarge)
		}
		return err
	})
	return users.All(), err
}

type newToken struct{ token, expiresAt scalar }

var tokenFields = fields[newToken]{
	"token":     func(t *newToken, s scalar) bool { t.token = s; return s.isString || s == scalar{} },
	"expiresAt": func(t *newToken, s scalar) bool { t.expiresAt = s; return true },
}

// login reads a new bearer token. now is the server's time, so its lifetime is right even if
// the clocks differ.
func (p *parser) login(now time.Time) (ecgrid.LoginResult, error) {
	t, err := readRecord(p, tokenFields)
	if err != nil {
		return ecgrid.LoginResult{}, err
	}
	token, err := httpclient.OneWord(t.token.text)
	return ecgrid.LoginResult{SessionID: token, Lifetime: lifetime(t.expiresAt.text, now)}, err
}

// timeLayouts are those of ISO 8601 with an offset, and without one, as .NET may write it.
// Both accept fractions of a second. All times are UTC (REST documentation).
var timeLayouts = []string{time.RFC3339, "2006-01-02T15:04:05"}

// lifetime returns the time until expiresAt, or 0 if that is in the past or cannot be read: a
// token is used until ECGrid refuses it then.
func lifetime(expiresAt string, now time.Time) time.Duration {
	for _, layout := range timeLayouts {
		if at, err := time.Parse(layout, expiresAt); err == nil {
			return max(0, at.Sub(now))
		}
	}
	return 0
}

// versionFields has the only field of auth/version.
var versionFields = fields[string]{
	"version": func(v *string, s scalar) bool { *v = s.text; return s.isString },
}

func (p *parser) version() (string, error) { return readRecord(p, versionFields) }

// isFalse reads the data of a change that has no result: nothing, "" or true. It may also be
// false, which denies the success.
func (p *parser) isFalse() (bool, error) {
	s, ok, err := p.scalar()
	switch {
	case err != nil:
		return false, err
	case !ok || s.text != "" && s.text != "true" && s.text != "false":
		return false, httpclient.BadAnswer(invalidValue)
	}
	return s.text == "false", nil
}
