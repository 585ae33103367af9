// Package simulator is a stand-in for ECGrid. It serves ECGridOS v4.1 over SOAP 1.1 and
// 1.2, with a WSDL, and the part of the REST API v2.6 that uses an API key. It is written
// from the vendor's WSDL and documentation and not from the plugin's client, so that it
// does not repeat the client's mistakes.
//
// Requests and answers strictly follow the WSDL. See Fault for failures on demand.
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
	// DefaultKeepCalls bounds the memory of a long run.
	DefaultKeepCalls = 10_000
)

// Options of a Simulator. The zero value is valid.
type Options struct {
	// Clock measures the age of sessions; nil is time.Now.
	Clock func() time.Time
	// Users are the initial users; nil is DefaultUsers().
	Users []User
	// SessionCap is how many sessions a user may have open; 0 is DefaultSessionCap.
	SessionCap int
	// IdleTimeout is how long an unused session lives; 0 is DefaultIdleTimeout.
	IdleTimeout time.Duration
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
}

// Simulator is a simulated ECGrid. It is an http.Handler and safe for concurrent use.
type Simulator struct {
	opts Options
	mux  *http.ServeMux

	mu       sync.Mutex
	users    map[int32]*account
	byLogin  map[string]*account // in lower case, since login names ignore case
	byKey    map[string]*account
	sessions map[string]*session
	tokens   map[string]*session // REST, by bearer token
	events   int32

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
		tokens:   map[string]*session{},
		journal:  newJournal(o.KeepCalls),
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
	o.KeepCalls = cmp.Or(o.KeepCalls, DefaultKeepCalls)
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

// ServeHTTP serves SOAP, REST, the WSDL and the admin endpoints.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.opts.Record {
		s.serveRecorded(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}
