// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// FuzzRecords reads any data as each kind of record. What is accepted is what another reader
// of JSON finds.
func FuzzRecords(f *testing.F) {
	for _, data := range []string{
		`[{"userId":5001,"login":"jo","networkId":1,"mailboxId":null,"authLevel":"General","status":"Active"}]`, `[]`, `[null]`, `[{"userId":1},{"userId":1}]`,
		`{"userId":5001,"login":"jo"}`, `{"userId":"5001"}`, `{"userId":5001.0}`, `{"userId":5e3}`, `{"userId":2147483648}`, `{"userId":-1}`, `{"userId":0}`,
		`{"userId":1,"userId":2}`, `{"userId":1,"UserId":2}`, `{"userId":1,"login":{"a":[1]}}`, `{"token":"abc","expiresAt":"2031-01-01T00:00:00Z"}`,
		`{"token":"abc","expiresAt":"9999-12-31T23:59:59.9999999"}`, `{"token":"a b"}`, `{"token":1}`, `{"token":null}`, `{"version":"2.6"}`, `{"":1e700}`, `true`, `"x"`, `{`,
	} {
		f.Add(data)
	}
	now := time.Date(2031, time.January, 1, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data string) {
		var users []ecgrid.User
		if readData(data, func(p *parser) (err error) { users, err = p.users(); return err }) {
			checkUsers(t, data, users)
		}
		var user ecgrid.User
		if readData(data, func(p *parser) (err error) { user, err = p.user(); return err }) {
			checkUsers(t, "["+data+"]", []ecgrid.User{user})
		}
		var token ecgrid.LoginResult
		if readData(data, func(p *parser) (err error) { token, err = p.login(now); return err }) {
			checkToken(t, data, token)
		}
		readData(data, func(p *parser) error { _, err := p.version(); return err })
		readData(data, func(p *parser) error { _, err := p.isFalse(); return err })
	})
}

// readData reads a successful response with this data. It returns false if the response was
// refused, or if the data is null.
func readData(data string, read func(*parser) error) bool {
	found, failed := parseResponse(strings.NewReader(success(data)), http.StatusOK, call{operation: opUserList}, read)
	return found && failed == nil
}

func checkUsers(t *testing.T, data string, users []ecgrid.User) {
	t.Helper()
	var other []map[string]any
	if err := unmarshal(data, &other); err != nil || len(other) != len(users) {
		t.Fatalf("%d users of %s, which encoding/json reads as %v, %v", len(users), data, other, err)
	}
	for i, u := range users {
		number, _ := other[i]["userId"].(json.Number)
		id, _ := number.Float64()
		login, isText := other[i]["login"].(string)
		if float64(u.UserID) != id || id == 0 || id != math.Trunc(id) || isText && u.LoginName != login {
			t.Errorf("user %d of %s", u.UserID, data)
		}
	}
}

func checkToken(t *testing.T, data string, got ecgrid.LoginResult) {
	t.Helper()
	var other map[string]any
	err := unmarshal(data, &other)
	text, _ := other["token"].(string)
	if err != nil || strings.Trim(text, ecgrid.Space) != got.SessionID || got.Lifetime < 0 {
		t.Errorf("the token of %s: %v, lifetime %v", data, err, got.Lifetime)
	}
}

// unmarshal leaves numbers as they are: not every number of JSON fits into a float64.
func unmarshal(data string, into any) error {
	d := json.NewDecoder(strings.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}
