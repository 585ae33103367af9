// SPDX-License-Identifier: MPL-2.0

// Package ecgrid defines what the engine and every ECGrid client share: the client
// interface, the records it returns, and one sentinel error for each kind of
// failure. It knows neither the engine nor a wire format.
package ecgrid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Transport is how a client talks to ECGrid.
type Transport string

// The transports. "" in a stored Endpoint of an earlier version is SOAP.
const (
	SOAP Transport = "soap" // ECGridOS v4.1
	REST Transport = "rest" // the REST API v2, its successor
)

// OrDefault returns the transport, or SOAP for "".
func (t Transport) OrDefault() Transport { return cmp.Or(t, SOAP) }

// Endpoint is where and how a client reaches ECGrid. It holds no credential.
type Endpoint struct {
	Transport Transport
	// URL of the service, e.g. https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx.
	URL string
	// CACert is a PEM bundle to trust instead of the system's; "" means the system's.
	CACert string
	// TLSServerName is the name to verify instead of the URL's host; "" means the host.
	TLSServerName string
	// RequestTimeout bounds one call, including its retries and their backoff. Over REST,
	// each page of a UserList is a call.
	RequestTimeout time.Duration
	// LoginTimeout bounds Login instead; 0 means RequestTimeout. A Login may outlive
	// the request that needs it: a session that nobody learns of stays open.
	LoginTimeout time.Duration
	// MaxConcurrent is how many calls the caller makes at once. The pool of
	// connections has that size.
	MaxConcurrent int
}

// SameServer reports whether both reach the same server with the same trust, whatever their
// timeouts and limits.
func (e Endpoint) SameServer(other Endpoint) bool {
	return e.Transport.OrDefault() == other.Transport.OrDefault() && e.URL == other.URL && e.CACert == other.CACert && e.TLSServerName == other.TLSServerName
}

// Credential is what a call presents to ECGrid. It prints as a placeholder.
type Credential struct {
	// Value is a SessionID (over REST, a bearer token) or an API key.
	Value    string
	IsAPIKey bool
}

// Format keeps the credential out of logs and errors.
func (Credential) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[credential]") }

// MarshalText does the same for JSON.
func (Credential) MarshalText() ([]byte, error) { return []byte("[credential]"), nil }

// LoginResult is a new session.
type LoginResult struct {
	SessionID string
	// Lifetime is how long ECGrid says that the session lives, whatever its use. 0 means
	// that it did not say.
	Lifetime time.Duration
}

// Format keeps the SessionID out of logs and errors.
func (LoginResult) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[session]") }

// Client is what the engine needs of ECGrid, over any transport. The operations have the
// names of the WSDL. Every failure wraps exactly one sentinel of this package. A Client is
// safe for concurrent use.
type Client interface {
	Login(ctx context.Context, loginName, password string) (LoginResult, error)
	Logout(ctx context.Context, c Credential) error
	WhoAmI(ctx context.Context, c Credential) (Session, error)
	UserGetAPIKey(ctx context.Context, c Credential, userID int32) (string, error)
	GenerateAPIKey(ctx context.Context, c Credential, userID int32) (string, error)
	ChangePassword(ctx context.Context, c Credential, oldPassword, newPassword string) error
	// UserList returns all users that the credential can see, in any order.
	UserList(ctx context.Context, c Credential) ([]User, error)
	// Version needs no session. It shows whether ECGrid responds.
	Version(ctx context.Context) (string, error)
	// Close closes idle connections.
	Close()
}

// Connector makes a Client for an endpoint. It does no I/O.
type Connector func(Endpoint) (Client, error)

// Session is what WhoAmI returns (WSDL type SessionInfo), without the SessionID: the
// caller has it, and nobody else should.
type Session struct {
	ECGridOSVersion string // "" over REST
	UserID          int32
	LoginName       string
	AuthLevel       string // WSDL enum AuthLevel, e.g. NetworkAdmin
	OpenSessions    *int16 // nil over REST
	TimeOut         *int16 // ECGrid's own figure; the WSDL gives no unit; nil over REST
	NetworkID       int32
	MailboxID       int32
}

// User is an entry of UserList (WSDL type UserIDInfo).
type User struct {
	UserID    int32
	LoginName string
	NetworkID int32
	MailboxID int32
	AuthLevel string // WSDL enum AuthLevel
	Status    string // WSDL enum Status: Development, Active, Preproduction, Suspended, Terminated
	LockedOut bool
}

// The kinds of failure. An error of a client wraps exactly one of them; match it with
// errors.Is.
var (
	// ErrSessionExpired: ECGrid says that the session is dead.
	ErrSessionExpired = errors.New("session expired")
	// ErrAuthentication: ECGrid refused a login or a session (codes Authentication and, over
	// REST, InvalidAPIKey).
	ErrAuthentication = errors.New("authentication refused")
	// ErrAccessDenied: ECGrid answered AccessDenied or, over SOAP, Authorization.
	ErrAccessDenied = errors.New("access denied")
	// ErrNotFound: ECGrid knows no such object, or says that its ID is invalid.
	ErrNotFound = errors.New("not found")
	// ErrFault: any other fault. It blames the request, its code is not known, or its
	// codes contradict each other.
	ErrFault = errors.New("fault without a known meaning")
	// ErrServerFault: a fault that blames ECGrid, both in its fault code and in its
	// error code if it has one.
	ErrServerFault = errors.New("server fault")
	// ErrEmptyResult: a valid response whose result, a SessionID or a key, is absent,
	// nil or blank. The WSDL allows that, and the REST documentation does not rule it out.
	ErrEmptyResult = errors.New("empty result")
	// ErrBadAnswer: not a response to this call. Examples are HTML, an incomplete or
	// oversized response, a DTD, a redirect, an HTTP status without a body of ECGrid, an
	// unexpected element, a key or SessionID that is not one word.
	ErrBadAnswer = errors.New("not an ECGrid answer")
	// ErrRateLimited: ECGrid refused the call because it got too many. Only REST documents
	// that.
	ErrRateLimited = errors.New("too many calls")
	// ErrUnreachable: no response. The connection was not opened in time, refused,
	// reset or closed, TLS was not trusted, or HTTP 503 or 429 came without a fault.
	ErrUnreachable = errors.New("unreachable")
	// ErrProxy: the proxy in the plugin's environment opened no connection to ECGrid. So
	// nothing was sent.
	ErrProxy = errors.New("no connection through the proxy")
	// ErrTimeout: no complete response within Endpoint.RequestTimeout or the caller's
	// deadline.
	ErrTimeout = errors.New("too slow")
)

// Error is a failed call. Its text holds the operation, the kind and, if ECGrid sent
// one, the number or known name of its error code. It never holds a credential, a
// SessionID or text from upstream.
type Error struct {
	// Op is the ECGridOS operation, e.g. UserGetAPIKey.
	Op string
	// Kind is one of the sentinels above.
	Kind error
	// Reason is a fixed phrase of the client with more detail, or "".
	Reason string
	// Sent is false if certainly no byte of the request was sent, because no attempt
	// got a connection (including TLS): the call changed nothing. If it is true, ECGrid
	// may have carried out the call.
	Sent bool
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Kind)
	}
	return fmt.Sprintf("%s: %v (%s)", e.Op, e.Kind, e.Reason)
}

// Unwrap returns the sentinel, for errors.Is.
func (e *Error) Unwrap() error { return e.Kind }

// MayBeSent reports whether ECGrid may have carried out a call that failed. It is
// false only if certainly nothing was sent.
func MayBeSent(err error) bool {
	var failed *Error
	return !errors.As(err, &failed) || failed.Sent
}
