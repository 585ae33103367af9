package simulator

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The REST operations, as in Call.Op and Fault.Op (REST API v2.6 documentation).
const (
	RESTUserMe      = "RESTUserMe"      // GET /users/me
	RESTUserKey     = "RESTUserKey"     // GET /users/key/{id}
	RESTKeyGenerate = "RESTKeyGenerate" // POST /users/key-generate/{id}
	RESTLogin       = "RESTLogin"       // POST /auth/login
	RESTLogout      = "RESTLogout"      // POST /auth/logout
	RESTPassword    = "RESTPassword"    // PUT /auth/password
)

var restOps = []string{RESTUserMe, RESTUserKey, RESTKeyGenerate, RESTLogin, RESTLogout, RESTPassword}

// tokenLife is the lifetime of a bearer token. The documentation does not say.
const tokenLife = time.Hour

// restCall is a REST request. The simulator is locked.
type restCall struct {
	id    string
	token string // bearer token; "" if a key was sent
	user  *account
	body  map[string]string
	timing
}

// restError is a row of the documented error table.
type restError struct {
	status int
	code   string
}

var (
	restInvalidParameter = restError{http.StatusBadRequest, "InvalidParameter"}
	restInvalidKey       = restError{http.StatusUnauthorized, "InvalidAPIKey"}
	restInvalidSession   = restError{http.StatusUnauthorized, "InvalidSession"}
	restAccessDenied     = restError{http.StatusForbidden, "AccessDenied"}
	restNotFound         = restError{http.StatusNotFound, "ObjectNotFound"}
	restInternal         = restError{http.StatusInternalServerError, "InternalError"}

	restErrors = map[Cause]restError{
		SessionDead:      restInvalidSession,
		LoginRefused:     restInvalidSession,
		AccessDenied:     restAccessDenied,
		NotFound:         restNotFound,
		InvalidParameter: restInvalidParameter,
		SystemError:      restInternal,
	}
)

// restCodes are the codes of statuses without a Cause.
var restCodes = map[int]string{
	http.StatusTooManyRequests:     "RateLimitExceeded",
	http.StatusInternalServerError: "InternalError",
}

// restEnvelope is the body of every answer.
type restEnvelope struct {
	Success   bool   `json:"success"`
	Data      any    `json:"data"`
	ErrorCode string `json:"errorCode"`
	Message   string `json:"message"`
}

func (s *Simulator) routeREST() {
	routes := []struct {
		pattern, op string
		public      bool // needs no credential
		run         func(*Simulator, *restCall) (any, Cause)
	}{
		{"GET /users/me", RESTUserMe, false, restMe},
		{"GET /users/key/{id}", RESTUserKey, false, restKey},
		{"POST /users/key-generate/{id}", RESTKeyGenerate, false, restGenerate},
		{"POST /auth/login", RESTLogin, true, restLogin},
		{"POST /auth/logout", RESTLogout, false, restLogout},
		{"PUT /auth/password", RESTPassword, false, restPassword},
	}
	for _, route := range routes {
		method, path, _ := strings.Cut(route.pattern, " ")
		s.mux.HandleFunc(method+" "+RESTPath+path, func(w http.ResponseWriter, r *http.Request) {
			s.serveREST(w, r, route.op, route.public, route.run)
		})
	}
	s.mux.HandleFunc(RESTPath+"/", func(w http.ResponseWriter, _ *http.Request) { restNotFound.reply("no such path").send(w) })
}

func (s *Simulator) serveREST(w http.ResponseWriter, r *http.Request, op string, public bool, run func(*Simulator, *restCall) (any, Cause)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		restInvalidParameter.reply("the body is too large or incomplete").send(w)
		return
	}
	key := r.Header.Get("X-API-Key")
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	s.handle(w, r, &request{
		op: op, sessionID: cmp.Or(key, token), ip: s.opts.ClientIP(r), body: body,
		apply: func(l timing) *reply {
			s.mu.Lock()
			defer s.mu.Unlock()
			c := &restCall{id: r.PathValue("id"), token: token, body: map[string]string{}, timing: l}
			if !public {
				if refusal := s.identify(c, key); refusal != nil {
					return refusal
				}
			}
			if len(bytes.TrimSpace(body)) > 0 && json.Unmarshal(body, &c.body) != nil {
				return restInvalidParameter.reply("the body is not a JSON object of strings")
			}
			return restAnswer(run(s, c))
		},
		fault: func(cause Cause, f Fault) *reply {
			return restErrors[cause].reply(cmp.Or(f.Message, errorInfos[cause].message))
		},
	})
}

// identify sets the user of the call. It returns the refusal of an invalid credential.
func (s *Simulator) identify(c *restCall, key string) *reply {
	if key != "" {
		c.user, c.token = s.userByKey(key), ""
		if c.user == nil || !c.user.isActive() {
			return restInvalidKey.reply("invalid API key")
		}
		return nil
	}
	s.expire()
	n := s.tokens[c.token]
	if n == nil || !n.user.isActive() {
		return restInvalidSession.reply("invalid session")
	}
	c.user = n.user
	return nil
}

func restAnswer(data any, cause Cause) *reply {
	if cause != "" {
		refusal := restErrors[cause].reply(errorInfos[cause].message)
		refusal.cause = cause
		return refusal
	}
	return jsonReply(http.StatusOK, restEnvelope{Success: true, Data: data})
}

func (e restError) reply(message string) *reply {
	return jsonReply(e.status, restEnvelope{ErrorCode: e.code, Message: message})
}

// restTarget is the user in the path.
func restTarget(s *Simulator, c *restCall) (*account, Cause) {
	id, err := strconv.ParseInt(c.id, 10, 32)
	if err != nil || id < 1 || id > math.MaxInt32 {
		return nil, InvalidParameter
	}
	return s.target(c.user, int32(id))
}

func restMe(_ *Simulator, c *restCall) (any, Cause) {
	u := c.user
	return map[string]any{
		"userId": u.UserID, "loginName": u.LoginName, "firstName": u.FirstName, "lastName": u.LastName,
		"company": u.Company, "email": u.EMail, "phone": u.Phone, "networkId": u.NetworkID,
		"mailboxId": u.MailboxID, "authLevel": u.AuthLevel, "status": u.Status,
	}, ""
}

func restKey(s *Simulator, c *restCall) (any, Cause) {
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	return t.APIKey, ""
}

func restGenerate(s *Simulator, c *restCall) (any, Cause) {
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	key, cause := s.generateKey(t, c.timing)
	if cause != "" {
		return nil, cause
	}
	return key, ""
}

// restLogin accepts the login as "login" or, as one page of the docs says, as "email".
func restLogin(s *Simulator, c *restCall) (any, Cause) {
	a := s.authenticate(cmp.Or(c.body["login"], c.body["email"]), c.body["password"], false)
	if a == nil {
		return nil, LoginRefused
	}
	now := s.opts.Clock()
	n := &session{id: "sim." + newGUID(), user: a, opened: now, used: now, expires: now.Add(tokenLife)}
	s.tokens[n.id] = n
	s.journal.addSecrets(n.id)
	return map[string]any{"token": n.id, "expiresAt": n.expires.UTC().Format(time.RFC3339), "userId": a.UserID}, ""
}

func restLogout(s *Simulator, c *restCall) (any, Cause) {
	delete(s.tokens, c.token)
	return nil, ""
}

func restPassword(s *Simulator, c *restCall) (any, Cause) {
	return nil, s.changePassword(c.user, c.body["currentPassword"], c.body["newPassword"], c.timing)
}
