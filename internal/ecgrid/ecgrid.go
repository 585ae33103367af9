// Package ecgrid is the vocabulary that every way of talking to ECGrid
// shares: the records an answer is read into and one sentinel per meaning of a
// failure. The SOAP client returns them, backend decides by them; neither needs
// to know the other.
package ecgrid

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Endpoint is where and how ECGrid is reached. It holds no credential.
type Endpoint struct {
	// URL of the service, e.g. https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx.
	URL string
	// CACert is the PEM bundle to trust instead of the system's; "" is the system's.
	CACert string
	// TLSServerName is the name to verify instead of the URL's host; "" is the host.
	TLSServerName string
	// RequestTimeout bounds one call, its repeats and its backoff included.
	RequestTimeout time.Duration
	// LoginTimeout bounds Login instead, which may outlive the request that needs
	// it: a session that nobody learns of stays open. 0 is RequestTimeout.
	LoginTimeout time.Duration
	// MaxConcurrent is how many calls the caller makes at once; the pool of kept
	// connections is sized to it.
	MaxConcurrent int
}

// Client is what the engine needs of ECGrid, over whatever transport. Where a
// method takes a sessionID, an API key may stand for it (vendor docs). Every
// failure wraps one sentinel of this package. It is safe for concurrent use.
type Client interface {
	Login(ctx context.Context, loginName, password string) (sessionID string, err error)
	Logout(ctx context.Context, sessionID string) error
	WhoAmI(ctx context.Context, sessionID string) (Session, error)
	UserGetAPIKey(ctx context.Context, sessionID string, userID int32) (string, error)
	GenerateAPIKey(ctx context.Context, sessionID string, userID int32) (string, error)
	ChangePassword(ctx context.Context, sessionID, oldPassword, newPassword string) error
	UserList(ctx context.Context, sessionID, name string) ([]User, error)
	// Version needs no session: it tells whether ECGrid answers at all.
	Version(ctx context.Context) (string, error)
	// Close lets go of kept connections.
	Close()
}

// Connector makes a Client for an endpoint. It does no I/O.
type Connector func(Endpoint) (Client, error)

// Session is what WhoAmI tells of a session (WSDL type SessionInfo), less the
// SessionID, which the caller has and nothing else should.
type Session struct {
	ECGridOSVersion string
	UserID          int32
	LoginName       string
	AuthLevel       string // WSDL enum AuthLevel, e.g. NetworkAdmin
	OpenSessions    int16
	TimeOut         int16 // ECGrid's own figure; the WSDL gives no unit
	NetworkID       int32
	MailboxID       int32
}

// User is what UserList and UserInfo tell of a user (WSDL type UserIDInfo).
type User struct {
	UserID    int32
	LoginName string
	NetworkID int32
	MailboxID int32
	AuthLevel string // WSDL enum AuthLevel
	Status    string // WSDL enum Status: Development, Active, Preproduction, Suspended, Terminated
	LockedOut bool
}

// What a failure means. An error of a client wraps exactly one of these; match
// with errors.Is.
var (
	// ErrSessionExpired: ECGrid says that the session is dead.
	ErrSessionExpired = errors.New("session expired")
	// ErrAuthentication: ECGrid says Authentication, of a session or of a login.
	ErrAuthentication = errors.New("authentication refused")
	// ErrAccessDenied: ECGrid says Authorization or AccessDenied.
	ErrAccessDenied = errors.New("access denied")
	// ErrNotFound: ECGrid knows no such object, or calls its ID invalid.
	ErrNotFound = errors.New("not found")
	// ErrFault: any other fault: one that blames the request, one whose code is
	// not known, or whose codes contradict each other.
	ErrFault = errors.New("fault without a known meaning")
	// ErrServerFault: a fault that blames ECGrid itself, in its fault code and in
	// its error code if there is one.
	ErrServerFault = errors.New("server fault")
	// ErrEmptyResult: an answer of the right shape, with nothing unexpected in it,
	// whose result, a SessionID or a key, is absent, nil or blank, which the WSDL
	// allows.
	ErrEmptyResult = errors.New("empty result")
	// ErrBadAnswer: not an answer to this call: HTML, half an answer, too large,
	// a DTD, a redirect, an HTTP status without a SOAP body, an element that does
	// not belong there, a key or SessionID that is not one word.
	ErrBadAnswer = errors.New("not an ECGridOS answer")
	// ErrUnreachable: no answer at all: no connection in the time for one, refused,
	// reset, closed, TLS not trusted, HTTP 503 or 429 without a fault in it.
	ErrUnreachable = errors.New("unreachable")
	// ErrTimeout: no whole answer within Endpoint.RequestTimeout or the caller's
	// deadline.
	ErrTimeout = errors.New("too slow")
)

// Error is a failed call. Its text holds the operation, the meaning and, where
// ECGrid gave one, the number or known name of its error code; never a
// credential, a SessionID or text that came from upstream.
type Error struct {
	// Op is the ECGridOS operation, e.g. UserGetAPIKey.
	Op string
	// Kind is one of the sentinels above.
	Kind error
	// Reason is one of our own phrases that says more, or "".
	Reason string
	// Sent is false when it is certain that no byte of the request left, since no
	// try had a connection, TLS included: the call has changed nothing. True means
	// that it may have been carried out.
	Sent bool
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Kind)
	}
	return fmt.Sprintf("%s: %v (%s)", e.Op, e.Kind, e.Reason)
}

// Unwrap gives the sentinel to errors.Is.
func (e *Error) Unwrap() error { return e.Kind }

// MayBeSent tells whether a call that failed may have been carried out: false only
// where it is certain that nothing of it left.
func MayBeSent(err error) bool {
	var failed *Error
	return !errors.As(err, &failed) || failed.Sent
}
