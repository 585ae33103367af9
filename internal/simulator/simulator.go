// Package simulator is a stand-in for ECGrid: ECGridOS v4.1 over SOAP 1.1 and
// 1.2 with its own WSDL, and the part of the REST API v2.6 an API key is used
// for. It is written from the vendor's WSDL and documentation, never from a
// client of ours, so that a client's mistake cannot hide in it.
//
// It keeps to the WSDL strictly, in what it answers and in what it takes, and
// it misbehaves on demand: see Fault.
package simulator

import (
	"net"
	"net/http"
	"sync"
	"time"
)

// Paths the simulator serves; the SOAP one is the vendor's (WSDL, soap:address),
// the REST one is the vendor's base path (REST API v2.6 documentation).
const (
	SOAPPath  = "/v4.1/prod/ECGridOS.asmx"
	RESTPath  = "/v2"
	AdminPath = "/simulator"
)

// Defaults of Options.
const (
	// DefaultSessionCap is the documented number of open sessions a user may have.
	DefaultSessionCap = 5
	// DefaultIdleTimeout is deliberately long: a session a client forgot must
	// stay visible to a test that counts open sessions.
	DefaultIdleTimeout = time.Hour
	// DefaultMaxBody bounds a request's body, in bytes.
	DefaultMaxBody = 1 << 20
	// DefaultKeepCalls bounds what is remembered, so that a long run under load
	// does not fill the memory.
	DefaultKeepCalls = 10_000
)

// Options set a Simulator up; the zero value is a useful one.
type Options struct {
	// Clock is the time sessions are measured with; nil is time.Now.
	Clock func() time.Time
	// Users are the users that exist; nil is DefaultUsers().
	Users []User
	// SessionCap is how many sessions a user may have open; 0 is DefaultSessionCap.
	SessionCap int
	// IdleTimeout is how long an unused session lives; 0 is DefaultIdleTimeout.
	IdleTimeout time.Duration
	// LockoutAfter is how many refused logins in a row lock a user; 0 is never.
	LockoutAfter int
	// FaultShape is how ECGrid's own faults are shaped.
	FaultShape FaultShape
	// FaultShapes overrides FaultShape for single causes.
	FaultShapes map[Cause]FaultShape
	// FaultCodes overrides the error number of single causes, since the real
	// ones are not documented.
	FaultCodes map[Cause]int
	// MaxBody bounds a request's body, in bytes; 0 is DefaultMaxBody.
	MaxBody int64
	// ClientIP tells where a request comes from, since a SessionID is good only from
	// there; nil is its RemoteAddr. See also IPOfConnection and NewIPEachTime.
	ClientIP func(*http.Request) string
	// Record keeps requests and answers, raw, for Exchanges.
	Record bool
	// KeepCalls is how many calls are remembered for Calls, and how many exchanges
	// with Record: the newest. What is counted goes on being so. 0 is
	// DefaultKeepCalls.
	KeepCalls int
}

// Simulator is one ECGrid. It is an http.Handler and safe for concurrent use.
type Simulator struct {
	opts Options
	mux  *http.ServeMux

	mu       sync.Mutex
	users    map[int32]*account
	byLogin  map[string]*account // in lower case: login names do not depend on case
	byKey    map[string]*account
	sessions map[string]*session
	tokens   map[string]*session // REST, by bearer token
	events   int32

	expireFrom time.Time // no session ends before
	faults     []*armed
	seen       journal
}

// New makes a Simulator. Passwords and keys that Options leave out are random.
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
		tokens:   map[string]*session{},
		seen:     newJournal(o.KeepCalls),
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
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.SessionCap == 0 {
		o.SessionCap = DefaultSessionCap
	}
	if o.IdleTimeout == 0 {
		o.IdleTimeout = DefaultIdleTimeout
	}
	if o.MaxBody == 0 {
		o.MaxBody = DefaultMaxBody
	}
	if o.KeepCalls == 0 {
		o.KeepCalls = DefaultKeepCalls
	}
	if o.ClientIP == nil {
		o.ClientIP = remoteIP
	}
	if o.FaultShape == "" {
		o.FaultShape = ShapeDetails
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

// ServeHTTP serves SOAP, REST, the WSDL and the admin endpoints.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.opts.Record {
		s.serveRecorded(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}
