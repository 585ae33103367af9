// SPDX-License-Identifier: MPL-2.0

package fakegrid

import (
	"bytes"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const restBase = "/v2"

// credentials says what a call needs.
type credentials int

const (
	required credentials = iota
	forbidden
	optional // for auth/refresh: the documentation does not say
)

// jsonField is a field of a request body.
type jsonField struct {
	kind     kind
	required bool
}

// route is a call of the REST documentation.
type route struct {
	op          string // the SOAP operation of the same effect
	credentials credentials
	body        map[string]jsonField // nil: no body
	prepare     func(*Server, *request) (restEffect, error)
}

// routes are by method and path. {id} is a user's.
var routes = map[string]*route{
	"GET /auth/version": {op: "Version", credentials: forbidden, prepare: (*Server).restVersion},
	"POST /auth/login": {op: "Login", credentials: forbidden, prepare: (*Server).restLogin, body: map[string]jsonField{
		"login": {kind: text}, "email": {kind: text}, "password": {kind: text, required: true},
	}},
	"POST /auth/refresh": {op: "Refresh", credentials: optional, prepare: (*Server).restRefresh, body: map[string]jsonField{
		"token": {kind: text, required: true},
	}},
	"POST /auth/session": {op: "WhoAmI", prepare: (*Server).restSession},
	"POST /auth/logout":  {op: "Logout", prepare: (*Server).restLogout},
	"PUT /auth/password": {op: "ChangePassword", prepare: (*Server).restPassword, body: map[string]jsonField{
		"currentPassword": {kind: text, required: true}, "newPassword": {kind: text, required: true},
	}},
	"GET /users/me":                 {op: "WhoAmI", prepare: (*Server).restMe},
	"GET /users/{id}":               {op: "UserInfo", prepare: (*Server).restUser},
	"GET /users/key/{id}":           {op: "UserGetAPIKey", prepare: (*Server).restKey},
	"POST /users/key-generate/{id}": {op: "GenerateAPIKey", prepare: (*Server).restGenerateKey},
	"POST /users/list": {op: "UserList", prepare: (*Server).restList, body: map[string]jsonField{
		"networkId": {kind: integer}, "mailboxId": {kind: integer}, "authLevel": {kind: text}, "status": {kind: text},
		"pageNo": {kind: integer}, "recordsPerPage": {kind: integer},
	}},
	"POST /users/reset/{id}": {op: "UserReset", prepare: (*Server).restReset},
}

// restCall is what only a REST request has.
type restCall struct {
	*route
	bearer     bool   // the credential is a token
	credential string // "" for none
	fields     map[string]any
	who        string // the credential, or the login of auth/login
	call       string // the same for requests that ask the same with the same credential
}

// brokenRule is a violation and its answer.
type brokenRule struct {
	violation
	answer Denial
}

func (rest) read(s *Server, r *http.Request, body []byte) (*request, error) {
	q := &request{args: map[string]string{}, rest: &restCall{}}
	if err := q.findRoute(r); err != nil {
		if hasSecret(r, s.Secrets()) {
			return nil, brokenRule{"REST: a credential in the URL", InvalidParameter}
		}
		return nil, err
	}
	if err := q.readCredential(r); err != nil {
		return nil, err
	}
	if err := q.readBody(r, body); err != nil {
		return nil, err
	}
	hash := fnv.New64a()
	_, _ = hash.Write(body) // never fails
	q.rest.call = r.Method + r.URL.Path + "\n" + q.rest.credential + "\n" + strconv.FormatUint(hash.Sum64(), 16)
	s.traffic.check(q, s.addViolation)
	return q, nil
}

func hasSecret(r *http.Request, secrets []string) bool {
	parts := []string{r.URL.Path, r.URL.RawQuery}
	for _, values := range r.URL.Query() {
		parts = append(parts, values...)
	}
	return slices.ContainsFunc(secrets, func(secret string) bool {
		return secret != "" && slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(part, secret) })
	})
}

// findRoute sets the route, the operation and the user's ID.
func (q *request) findRoute(r *http.Request) error {
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		return brokenRule{"REST: a query, which no call has", InvalidParameter}
	}
	path := strings.TrimPrefix(r.URL.Path, restBase)
	q.rest.route = routes[r.Method+" "+path]
	if q.rest.route == nil {
		cut := strings.LastIndexByte(path, '/') + 1
		if q.rest.route = routes[r.Method+" "+path[:cut]+"{id}"]; q.rest.route == nil {
			return brokenRule{"REST: no call of the documentation", ObjectNotFound}
		}
		id, err := strconv.ParseInt(path[cut:], 10, 32)
		if err != nil || strconv.FormatInt(id, 10) != path[cut:] {
			return brokenRule{"REST: a user ID that is no number", InvalidParameter}
		}
		q.id = int(id)
	}
	q.op = q.rest.op
	return nil
}

func (q *request) readCredential(r *http.Request) error {
	keys, bearers := r.Header.Values("X-Api-Key"), r.Header.Values("Authorization")
	n := len(keys) + len(bearers)
	switch {
	case n > 1:
		return brokenRule{"REST: more than one credential", InvalidParameter}
	case n > 0 && q.rest.credentials == forbidden:
		return brokenRule{"REST: a credential where none is needed", InvalidParameter}
	case n == 0 && q.rest.credentials == required:
		return brokenRule{"REST: no credential", InvalidAPIKey}
	case len(keys) == 1:
		q.rest.credential = keys[0]
	case len(bearers) == 1:
		token, ok := strings.CutPrefix(bearers[0], "Bearer ")
		if !ok {
			return brokenRule{"REST: an Authorization that is not Bearer", InvalidSession}
		}
		q.rest.credential, q.rest.bearer = token, true
	}
	if n == 1 && q.rest.credential == "" {
		return brokenRule{"REST: an empty credential", InvalidAPIKey}
	}
	q.args["SessionID"], q.rest.who = q.rest.credential, q.rest.credential
	return nil
}

func (q *request) readBody(r *http.Request, body []byte) error {
	if q.rest.body == nil {
		if len(body) > 0 {
			return brokenRule{"REST: a body where none belongs", InvalidParameter}
		}
		return nil
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return brokenRule{"REST: a body whose Content-Type is not application/json", InvalidParameter}
	}
	if q.rest.fields, err = parseObject(body); err != nil {
		return brokenRule{violation("REST: " + err.Error()), InvalidParameter}
	}
	if err := q.checkFields(); err != nil {
		return err
	}
	q.setArguments()
	return nil
}

// setArguments uses the names of SOAP, by which secrets and sessions are found.
func (q *request) setArguments() {
	for field, arg := range map[string]string{"password": "Password", "currentPassword": "OldPassword", "newPassword": "NewPassword"} {
		q.args[arg] = q.field(field)
	}
	switch q.op {
	case "Login":
		q.rest.who = "login " + q.field("login") + q.field("email")
	case "Refresh":
		q.args["SessionID"] = q.field("token")
		q.rest.who = q.field("token")
	}
}

// checkFields ignores unknown fields.
func (q *request) checkFields() error {
	for name, f := range q.rest.body {
		value := q.rest.fields[name]
		if value == nil && f.required {
			return brokenRule{"REST: a required field is missing", InvalidParameter}
		}
		if value != nil && !f.kind.allows(value) {
			return brokenRule{"REST: a field of the wrong JSON type", InvalidParameter}
		}
	}
	if q.op == "Login" && q.field("login") == "" && q.field("email") == "" {
		return brokenRule{"REST: neither login nor email", InvalidParameter}
	}
	return nil
}

func (k kind) allows(value any) bool {
	if k == text {
		_, ok := value.(string)
		return ok
	}
	number, ok := value.(json.Number)
	_, err := strconv.ParseInt(number.String(), 10, 32)
	return ok && err == nil
}

func (q *request) field(name string) string {
	value, _ := q.rest.fields[name].(string)
	return value
}

// number is fallback if the field is missing.
func (q *request) number(name string, fallback int) int {
	value, ok := q.rest.fields[name].(json.Number)
	if !ok {
		return fallback
	}
	n, _ := strconv.Atoi(value.String()) // checkFields did it before
	return n
}

// parseObject is stricter than encoding/json: it rejects invalid UTF-8, a field that is
// there twice, and anything after the object.
func parseObject(body []byte) (map[string]any, error) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') || !utf8.Valid(body) {
		return nil, errors.New("the body is no JSON object in UTF-8")
	}
	all := map[string]any{}
	for d.More() {
		var value any
		name, err := d.Token()
		if err != nil || d.Decode(&value) != nil {
			return nil, errors.New("the body is no JSON")
		}
		if _, twice := all[name.(string)]; twice { // the decoder allows only strings
			return nil, errors.New("a field that is there twice")
		}
		all[name.(string)] = value
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("the body is no JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something after the JSON object")
	}
	return all, nil
}
