// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// opRefresh is the one REST operation without a SOAP operation that does the same.
const opRefresh = "Refresh"

// restRoute is a call of the REST API v2.6 documentation. The OpenAPI document is made from
// it too.
type restRoute struct {
	method, path string
	op           string // as in Call.Op
	id           string // operationId
	summary      string
	public       bool // needs no credential
	params       []restParam
	data         schema
	run          func(*Simulator, *restCall) (any, Cause)
}

var restRoutes = []restRoute{
	{"GET", "/auth/version", "Version", "getVersion", "The version of the API.", true, nil,
		objectOf("version", textType), restVersion},
	{"POST", "/auth/login", "Login", "login", "Opens a token. Either login or email has the login name.", true, loginParams,
		ref("Token"), restLogin},
	{"POST", "/auth/refresh", opRefresh, "refresh", "Replaces a token. The old one is invalid at once.", false, refreshParams,
		ref("Token"), restRefresh},
	{"POST", "/auth/session", "WhoAmI", "getSession", "The session of the credential.", false, nil,
		ref("Session"), restSession},
	{"POST", "/auth/logout", "Logout", "logout", "Ends the token. An API key stays valid.", false, nil,
		nullOnly, restLogout},
	{"PUT", "/auth/password", "ChangePassword", "changePassword", "Changes the password of the caller. Open tokens stay valid.", false, passwordParams,
		nullOnly, restPassword},
	{"GET", "/users/me", "WhoAmI", "getMe", "The caller.", false, nil,
		ref("User"), restMe},
	{"GET", "/users/{id}", "UserInfo", "getUser", "A user.", false, nil,
		ref("User"), restUserInfo},
	{"GET", "/users/key/{id}", "UserGetAPIKey", "getKey", "The API key of a user, null if there is none. Needs NetworkAdmin or above.", false, nil,
		nullable(textType), restKey},
	{"POST", "/users/key-generate/{id}", "GenerateAPIKey", "generateKey", "A new API key of a user. The old one is invalid at once.", false, nil,
		textType, restGenerate},
	{"POST", "/users/list", "UserList", "listUsers", "A page of the users that the caller can see.", false, listParams,
		arrayOf(ref("User")), restList},
	{"POST", "/users/reset/{id}", "UserReset", "resetUser", "Ends all sessions of a user.", false, nil,
		booleanType, restReset},
}

// isUsersFamily tells which answers leave errorCode and message out on success.
func (r *restRoute) isUsersFamily() bool { return strings.HasPrefix(r.path, "/users/") }

func (r *restRoute) hasID() bool { return strings.HasSuffix(r.path, "/{id}") }

func (s *Simulator) routeREST() {
	for i := range restRoutes {
		route := &restRoutes[i]
		s.mux.HandleFunc(route.method+" "+RESTPath+route.path, func(w http.ResponseWriter, r *http.Request) {
			s.serveREST(w, r, route)
		})
	}
	s.mux.HandleFunc("GET "+RESTPath+OpenAPIPath, serveOpenAPI)
	s.mux.HandleFunc(RESTPath+"/", func(w http.ResponseWriter, _ *http.Request) {
		s.refuseREST(w, restNotFound.saying("no such path, or not with this method"))
	})
}

// restCall is a valid REST request. The simulator is locked.
type restCall struct {
	ip     string
	userID int32 // in the path
	args   map[string]any
	user   *account // nil if the call needs no credential
	token  *session // nil for an API key
	timing
}

// serveREST refuses an invalid request before it is a call, as serveSOAP does.
func (s *Simulator) serveREST(w http.ResponseWriter, r *http.Request, route *restRoute) {
	w.Header().Set("Date", s.opts.Clock().UTC().Format(http.TimeFormat))
	if r.Method != route.method { // GET patterns match HEAD
		s.refuseREST(w, restNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		s.refuseREST(w, restInvalidParameter.saying("the body is too large or incomplete"))
		return
	}
	userID, ok := restUserID(r.PathValue("id"))
	if route.hasID() && !ok {
		s.refuseREST(w, restInvalidParameter.saying("the id in the path is not a user's"))
		return
	}
	args, refusal := readArgs(r.Header.Get("Content-Type"), body, route.params)
	if refusal != nil {
		s.refuseREST(w, *refusal)
		return
	}
	cred, ip := readCredential(r.Header), s.opts.ClientIP(r) // once: each call may return another one
	s.handle(w, r, &request{
		op: route.op, transport: TransportREST, sessionID: cred.value, login: loginOf(args), cred: cred, ip: ip,
		echo: append([]byte(r.Method+" "+r.URL.Path+" "+cred.value+" "), body...),
		apply: func(l timing) *reply {
			return s.applyREST(route, cred, &restCall{ip: ip, userID: userID, args: args, timing: l})
		},
		fault: func(cause Cause, f Fault) *reply { return restErrorFor(cause, cred).changedBy(f).reply() },
	})
}

func (s *Simulator) refuseREST(w http.ResponseWriter, e restError) {
	s.countBadRequest()
	e.reply().send(w)
}

// restUserID reads a UserID in its only spelling.
func restUserID(text string) (int32, bool) {
	id, err := strconv.ParseInt(text, 10, 32)
	return int32(id), err == nil && id > 0 && itoa(id) == text
}

// applyREST applies a call, as applySOAP does.
func (s *Simulator) applyREST(route *restRoute, cred restCredential, c *restCall) *reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, cause := s.runREST(route, cred, c)
	if cause == "" {
		return jsonReply(http.StatusOK, newEnvelope(route, data))
	}
	refusal := restErrorFor(cause, cred).reply()
	refusal.cause = cause
	if cause == RateLimited {
		refusal.retryAfter = 1
	}
	return refusal
}

func (s *Simulator) runREST(route *restRoute, cred restCredential, c *restCall) (any, Cause) {
	if !route.public && !s.identify(c, cred) {
		return nil, SessionDead
	}
	if s.isAboveRate(c) {
		return nil, RateLimited
	}
	return route.run(s, c)
}

// restEnvelope is the body of every answer.
type restEnvelope struct {
	Success   bool    `json:"success"`
	Data      any     `json:"data"`
	ErrorCode *string `json:"errorCode,omitempty"`
	Message   *string `json:"message,omitempty"`
}

func newEnvelope(route *restRoute, data any) restEnvelope {
	e := restEnvelope{Success: true, Data: data}
	if !route.isUsersFamily() {
		e.ErrorCode, e.Message = new(string), new(string)
	}
	return e
}

// restError is a row of the documented error table.
type restError struct {
	status        int
	code, message string
}

var (
	restInvalidParameter = restError{http.StatusBadRequest, "InvalidParameter", "Invalid parameter"}
	restInvalidKey       = restError{http.StatusUnauthorized, "InvalidAPIKey", "Invalid API key"}
	restInvalidSession   = restError{http.StatusUnauthorized, "InvalidSession", "Invalid session"}
	restAccessDenied     = restError{http.StatusForbidden, "AccessDenied", "Access denied"}
	restNotFound         = restError{http.StatusNotFound, "ObjectNotFound", "Not found"}
	restRateLimited      = restError{http.StatusTooManyRequests, "RateLimitExceeded", "Rate limit exceeded"}
	restInternal         = restError{http.StatusInternalServerError, "InternalError", "Internal error"}
	// ASP.NET's own; the table has no such status.
	restNotJSON = restError{http.StatusUnsupportedMediaType, "InvalidParameter", "the body is not application/json in UTF-8"}

	// A refused login is not documented. SessionDead depends on the credential.
	restErrors = map[Cause]restError{
		LoginRefused:     restInvalidSession.saying("Login failed"),
		AccessDenied:     restAccessDenied,
		NotFound:         restNotFound,
		InvalidParameter: restInvalidParameter,
		RateLimited:      restRateLimited,
		SystemError:      restInternal,
	}
)

// restErrorFor is the error of a call with this credential.
func restErrorFor(cause Cause, cred restCredential) restError {
	if cause == SessionDead {
		return cred.refusal()
	}
	return restErrors[cause]
}

// restErrorByStatus has no code for a status that is not in the table.
func restErrorByStatus(status int, cred restCredential) restError {
	if status == http.StatusUnauthorized {
		return cred.refusal()
	}
	for _, e := range restErrors {
		if e.status == status {
			return e
		}
	}
	return restError{status: status}
}

func (e restError) saying(message string) restError {
	e.message = message
	return e
}

func (e restError) changedBy(f Fault) restError {
	return restError{cmp.Or(f.Status, e.status), cmp.Or(f.ErrorCode, e.code), cmp.Or(f.Message, e.message)}
}

func (e restError) reply() *reply {
	return jsonReply(e.status, restEnvelope{ErrorCode: &e.code, Message: &e.message})
}
