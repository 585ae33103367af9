package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// What a refusal of the engine means; match with errors.Is. Failures of ECGrid
// itself wrap the sentinels of package ecgrid, those of a login the ones of package
// session.
var (
	// ErrInvalid: the request asks for something that cannot be.
	ErrInvalid = errors.New("invalid request")
	// ErrNotConfigured: there is no config yet, or no longer.
	ErrNotConfigured = errors.New("no ECGrid login is configured")
	// ErrNoKey: the user exists and has no API key.
	ErrNoKey = errors.New("the user has no API key")
	// ErrKeyReplaced: the leased key is no longer the user's key.
	ErrKeyReplaced = errors.New("the leased key is no longer this user's key")
	// ErrRoleNotFound: there is no role of that name, or no longer.
	ErrRoleNotFound = errors.New("no such role")
	// ErrOwnKey: the key is the config's own api_key, which must not be replaced.
	ErrOwnKey = errors.New("this is the user whose api_key the config itself uses")
	// ErrOutcomeUnknown: a change was sent to ECGrid and not confirmed. It may be
	// made yet, and must not be repeated blindly.
	ErrOutcomeUnknown = errors.New("the change was sent to ECGrid and not confirmed")
	// ErrNotMade: a change was sent to ECGrid, which did not make it.
	ErrNotMade = errors.New("ECGrid did not make the change")
	// ErrRefusedOften: ECGrid refused several new passwords within a day.
	ErrRefusedOften = errors.New("ECGrid refused three new passwords within a day")
	// ErrUnsettled: it is not known which password ECGrid has after a rotate-root.
	ErrUnsettled = errors.New("a rotate-root is not settled yet")
	// ErrClosed: the mount is being unmounted, sealed or reloaded.
	ErrClosed = errors.New("the mount is shutting down")
	// ErrTainted: the mount is being removed or moved, and rotates nothing.
	ErrTainted = errors.New("the mount is being removed or moved")

	// errRoleChanged: the role was deleted, given another user or rotated meanwhile.
	errRoleChanged = errors.New("the role was changed meanwhile")
)

// meaning is a row of the one table that tells what follows from a failure.
type meaning struct {
	err    error
	status int
	advice string

	endsLease bool // a definite answer: the leased key is of no use any more
	unmade    bool // a change that failed so was surely not made
	general   bool // whatever else is due would meet it too
	session   session.Verdict
}

const (
	tryAgain      = "try again in a moment"
	needsLevel    = "the configured login needs AuthLevel NetworkAdmin or above, or MailboxAdmin of the user's own mailbox"
	askSupport    = "try again, and ask ECGrid support if it stays"
	settlesItself = "both passwords are kept and it settles by itself when ECGrid answers and logins are not paused (last_root_rotation_error of config is empty then); to end it sooner, set another password in ECGrid and write that to config"
)

var (
	blamesCaller = session.Verdict{MayBeDead: true, Refusal: true}
	blamesECGrid = session.Verdict{MayBeDead: true, Faultless: true}
)

// meanings is searched from the top: what the engine decided stands before what
// ECGrid said.
var meanings = []meaning{
	{err: ErrOutcomeUnknown, status: http.StatusConflict, advice: "it may still be made. After rotate-root nothing has to be done: both passwords are kept, and it settles by itself (last_root_rotation_error of config is empty then). After a key was rotated, read it when ECGrid answers again, to see what holds"},
	{err: ErrNotMade, status: http.StatusConflict, unmade: true, advice: "what was there before still holds; see the reason, and try again"},
	{err: ErrRefusedOften, status: http.StatusConflict, unmade: true, advice: "no more are sent until the first of them is a day old; check password_policy, and that this login may change its own password"},
	{err: ErrUnsettled, status: http.StatusConflict, advice: settlesItself},
	{err: ErrInvalid, status: http.StatusBadRequest, unmade: true},
	{err: ErrOwnKey, status: http.StatusBadRequest, unmade: true, advice: "replacing it would lock this mount out; configure username and password instead, or rotate that key in ECGrid and write the new one to config"},
	{err: ErrRoleNotFound, status: http.StatusNotFound, advice: "check the name against a list of roles/"},
	{err: ErrNotConfigured, status: http.StatusBadRequest, general: true, advice: "write url, username and password (or api_key) to config first"},
	{err: session.ErrTooSoon, status: http.StatusServiceUnavailable, general: true, unmade: true, advice: "a rotate-root that ends in doubt may cost more of them, so it is not begun now; try again then"},
	{err: session.ErrPaused, status: http.StatusServiceUnavailable, general: true, advice: "try again then; only another password, set in ECGrid and written to config, ends the pause sooner"},
	{err: session.ErrRefused, status: http.StatusBadRequest, general: true, advice: "it was not retried, so as not to lock the account; check the credential (that of config, or the one that this write brought, of which nothing was stored), that the user is active and not locked out, and that its session table is not full"},
	{err: ErrKeyReplaced, status: http.StatusBadRequest, endsLease: true, advice: "read the path again for the key that is valid now"},
	{err: ErrNoKey, status: http.StatusNotFound, endsLease: true, advice: "generate one with a write to rotate-key/ and its user ID, or in ECGrid"},
	{err: ErrTainted, status: http.StatusServiceUnavailable, general: true, unmade: true, advice: tryAgain},
	{err: ErrClosed, status: http.StatusServiceUnavailable, general: true, advice: tryAgain},
	{err: session.ErrClosed, status: http.StatusServiceUnavailable, general: true, advice: tryAgain},
	{err: ecgrid.ErrAccessDenied, status: http.StatusForbidden, endsLease: true, unmade: true, session: blamesCaller, advice: needsLevel},
	{err: ecgrid.ErrAuthentication, status: http.StatusForbidden, endsLease: true, unmade: true, session: blamesCaller, advice: needsLevel},
	{err: ecgrid.ErrNotFound, status: http.StatusNotFound, endsLease: true, unmade: true, session: blamesCaller, advice: "check the user ID against a list of keys/"},
	{err: ecgrid.ErrTimeout, status: http.StatusGatewayTimeout, general: true, advice: "ECGrid was too slow; try again, or raise request_timeout in config"},
	{err: ecgrid.ErrUnreachable, status: http.StatusServiceUnavailable, general: true, advice: "check url, ca_cert and tls_server_name in config and the network between Vault and ECGrid"},
	{err: ecgrid.ErrSessionExpired, status: http.StatusBadGateway, unmade: true, session: session.Verdict{Dead: true, Refusal: true}, advice: "ECGrid ended a session that it had just opened; sessions are bound to one IP address, so check that Vault's egress address is stable"},
	{err: ecgrid.ErrServerFault, status: http.StatusBadGateway, session: blamesECGrid, advice: "the fault is ECGrid's own; " + askSupport},
	{err: ecgrid.ErrFault, status: http.StatusBadGateway, session: blamesCaller, advice: "ECGrid gave no reason that is known; " + askSupport},
	{err: ecgrid.ErrBadAnswer, status: http.StatusBadGateway, advice: "check that url in config is the ECGridOS v4.1 SOAP endpoint and that no proxy answers in its place"},
	{err: ecgrid.ErrEmptyResult, status: http.StatusBadGateway, session: session.Verdict{Faultless: true}, advice: "ECGrid answered without a result; " + askSupport},
	{err: context.DeadlineExceeded, status: http.StatusGatewayTimeout, general: true, advice: "the request ran out of time; try again"},
	{err: context.Canceled, status: http.StatusServiceUnavailable, general: true, advice: "the request was given up before ECGrid answered; try again"},
}

// meaningOf gives the row of a failure; the zero row is one that has no meaning of
// its own, such as a failure of Vault's storage.
func meaningOf(err error) meaning {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m
		}
	}
	return meaning{}
}

// judge is what a failed call says of its session. What the engine made of it does
// not matter here.
func judge(err error) session.Verdict {
	var failed *ecgrid.Error
	if errors.As(err, &failed) {
		err = failed.Kind
	}
	return meaningOf(err).session
}

// surelyUnmade tells a change that ECGrid did not make: it was never sent, or refused.
func surelyUnmade(begun bool, err error) bool {
	return !begun || !ecgrid.MayBeSent(err) || meaningOf(err).unmade
}

// notMade is the answer to a change that was sent and that ECGrid did not make: never
// a 5xx, which clients repeat.
func notMade(err error) error {
	if meaningOf(err).status < http.StatusInternalServerError {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotMade, err)
}

// Describe gives the HTTP status and the message of a failure; ok is false for one
// that has no meaning of its own.
func Describe(err error) (status int, message string, ok bool) {
	m := meaningOf(err)
	switch {
	case m.err == nil:
		return 0, "", false
	case m.advice == "":
		return m.status, err.Error(), true
	}
	return m.status, err.Error() + ": " + m.advice, true
}

// describe is the message of a failure, for people; one without a meaning of its
// own is left to the log.
func describe(err error) string {
	if _, message, ok := Describe(err); ok {
		return message
	}
	return "internal error, see Vault's log"
}

// invalidError is a refusal that says itself what to do.
type invalidError string

func (e invalidError) Error() string { return string(e) }

func (invalidError) Unwrap() error { return ErrInvalid }

// Invalid is a refusal of the request's own content (HTTP 400). The message has
// to say what to do instead.
func Invalid(format string, args ...any) error {
	return invalidError(fmt.Sprintf(format, args...))
}
