// SPDX-License-Identifier: MPL-2.0

// Package simulator is a stand-in for ECGrid. It serves ECGridOS v4.1 over SOAP 1.1 and
// 1.2, with a WSDL, and the REST API v2.6, with an OpenAPI document. Both transports have
// the same users, keys, passwords and limits. It is written from the vendor's WSDL and
// documentation and not from the plugin's clients, so that it does not repeat their
// mistakes.
//
// Requests and answers strictly follow the WSDL and the REST documentation. A REST call has
// the name of the SOAP operation that does the same, so that one test can run over both.
// See Fault for failures on demand.
package simulator

import (
	"cmp"
	"net"
	"net/http"
	"sync"
	"time"
)

// Paths of the simulator. SOAPPath is the vendor's (WSDL, soap:address), RESTPath the
// vendor's base path (REST API v2.6 documentation).
const (
	SOAPPath  = "/v4.1/prod/ECGridOS.asmx"
	RESTPath  = "/v2"
	AdminPath = "/simulator"
)

// MaxBody bounds a request's body, in bytes.
const MaxBody = 1 << 20

// Defaults of Options.
const (
	// DefaultSessionCap is the documented limit of open sessions of a user.
	DefaultSessionCap = 5
	// DefaultIdleTimeout is long, so that a test that counts open sessions sees a
	// forgotten one.
	DefaultIdleTimeout = time.Hour
	// DefaultTokenLife is the lifetime of a REST token. The documentation does not say.
	DefaultTokenLife = time.Hour
	// DefaultKeepCalls bounds the memory of a long run.
	DefaultKeepCalls = 10_000
	// DefaultKeepSecrets is more than the calls kept, since tests search for dead secrets.
	DefaultKeepSecrets = 100_000
)

// Options of a Simulator. The zero value is valid.
type Options struct {
	// Clock measures the age of sessions, and is the Date of REST answers; nil is
	// time.Now.
	Clock func() time.Time
	// Users are the initial users; nil is DefaultUsers().
	Users []User
	// SessionCap is how many sessions a user may have open; 0 is DefaultSessionCap. SOAP
	// sessions and REST tokens count together. For tokens a limit is not documented.
	SessionCap int
	// IdleTimeout is how long an unused SOAP session lives; 0 is DefaultIdleTimeout.
	IdleTimeout time.Duration
	// TokenLife is how long a REST token lives; 0 is DefaultTokenLife.
	TokenLife time.Duration
	// TokenSkew is added to the expiresAt that a client is told. Above 0 the token is dead
	// before that time, below 0 it is alive after it.
	TokenSkew time.Duration
	// RateLimit is how many REST calls a second a user may make, and an address without a
	// credential; 0 is no limit. More are answered HTTP 429.
	RateLimit int
	// PageCap is the most users in a page of POST /users/list, whatever recordsPerPage
	// asks for; 0 is no limit. A limit is not documented.
	PageCap int
	// LockoutAfter is how many refused logins in a row lock a user out; 0 is never.
	LockoutAfter int
	// FaultShape is the shape of ECGrid's faults.
	FaultShape FaultShape
	// FaultShapes overrides FaultShape for single causes.
	FaultShapes map[Cause]FaultShape
	// FaultCodes overrides the error numbers of single causes, which are not documented.
	FaultCodes map[Cause]int
	// ClientIP returns the address that a request comes from, since a SessionID is valid
	// for one address only; nil is RemoteAddr. See also IPOfConnection and NewIPEachTime.
	ClientIP func(*http.Request) string
	// Record keeps requests and answers for Exchanges.
	Record bool
	// KeepCalls is how many of the newest calls, and exchanges with Record, are kept. The
	// counters count all. 0 is DefaultKeepCalls.
	KeepCalls int
	// KeepSecrets is how many of the newest former secrets are kept for Secrets; 0 is
	// DefaultKeepSecrets.
	KeepSecrets int
	// Latency delays every call before it is applied.
	Latency Latency
	// Log is called after each request; nil is no log.
	Log func(LogEntry)
}

// Simulator is a simulated ECGrid. It is an http.Handler and safe for concurrent use.
type Simulator struct {
	opts Options
	mux  *http.ServeMux

	mu       sync.Mutex
	users    map[int32]*account
	byLogin  map[string]*account // in lower case, since login names ignore case
	byKey    map[string]*account
	sorted   []*account          // see sortedUsers
	sessions map[string]*session // by SessionID or token
	events   int32
	rate     rateCounter

	nextExpiry time.Time // no session expires before
	faults     []*activeFault
	journal    journal
}

// New makes a Simulator. Passwords and keys that Options omit are random.
func New(o Options) (*Simulator, error) {
	if o.Users == nil {
		o.Users = DefaultUsers()
	}
	if err := ValidateUsers(o.Users); err != nil {
		return nil, err
	}
	o = withDefaults(o)
	s := &Simulator{
		opts:     o,
		mux:      http.NewServeMux(),
		users:    make(map[int32]*account, len(o.Users)),
		byLogin:  make(map[string]*account, len(o.Users)),
		byKey:    make(map[string]*account, len(o.Users)),
		sessions: map[string]*session{},
		journal:  newJournal(o.KeepCalls, o.KeepSecrets),
	}
	for _, u := range o.Users {
		s.addUser(u)
	}
	s.mux.HandleFunc(SOAPPath, s.serveSOAP)
	s.routeREST()
	s.routeAdmin()
	return s, nil
}

func withDefaults(o Options) Options {
	o.SessionCap = cmp.Or(o.SessionCap, DefaultSessionCap)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, DefaultIdleTimeout)
	o.TokenLife = cmp.Or(o.TokenLife, DefaultTokenLife)
	o.KeepCalls = cmp.Or(o.KeepCalls, DefaultKeepCalls)
	o.KeepSecrets = cmp.Or(o.KeepSecrets, DefaultKeepSecrets)
	o.FaultShape = cmp.Or(o.FaultShape, ShapeDetails)
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.ClientIP == nil {
		o.ClientIP = remoteIP
	}
	return o
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// ServeHTTP serves SOAP, REST, the WSDL, the OpenAPI document and the admin endpoints.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.opts.Log != nil {
		s.serveLogged(w, r)
		return
	}
	s.route(w, r)
}

func (s *Simulator) route(w http.ResponseWriter, r *http.Request) {
	if s.opts.Record {
		s.serveRecorded(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}
