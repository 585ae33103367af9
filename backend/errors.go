package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// What a refusal of the engine means; match with errors.Is. Failures of ECGrid
// itself wrap the sentinels of package ecgrid.
var (
	// ErrInvalid: the request asks for something that cannot be.
	ErrInvalid = errors.New("invalid request")
	// ErrNotConfigured: there is no config yet, or no longer.
	ErrNotConfigured = errors.New("no ECGrid login is configured")
	// ErrLoginRefused: ECGrid does not take the configured login or api_key.
	ErrLoginRefused = errors.New("ECGrid refused the configured login")
	// ErrLoginPaused: ECGrid refused the login a short while ago and is not asked again yet.
	ErrLoginPaused = errors.New("logins are paused after a refused one")
	// ErrNoKey: the user exists and has no API key.
	ErrNoKey = errors.New("the user has no API key")
	// ErrKeyReplaced: the leased key is no longer the user's key.
	ErrKeyReplaced = errors.New("the leased key is no longer this user's key")
	// ErrRoleNotFound: there is no role of that name, or no longer.
	ErrRoleNotFound = errors.New("no such role")
	// ErrOwnKey: the key is the config's own api_key, which must not be replaced.
	ErrOwnKey = errors.New("this is the user whose api_key the config itself uses")
	// ErrOutcomeUnknown: a change was sent to ECGrid, and it could not be found out
	// whether it was made. It must not be repeated blindly.
	ErrOutcomeUnknown = errors.New("it is not known whether ECGrid has made the change")
	// ErrClosed: the mount is being unmounted, sealed or reloaded.
	ErrClosed = errors.New("the mount is shutting down")
)

// meaning is a row of the one table that turns failures into answers.
type meaning struct {
	err    error
	status int
	advice string
}

// meanings is searched from the top: what the engine decided stands before what
// ECGrid said.
var meanings = []meaning{
	{ErrOutcomeUnknown, http.StatusConflict, "it was not repeated; once ECGrid answers again, read the key or the config's last_root_rotation_error to see what holds"},
	{ErrInvalid, http.StatusBadRequest, ""},
	{ErrOwnKey, http.StatusBadRequest, "replacing it would lock this mount out; configure username and password instead, or rotate that key in ECGrid and write the new one to config"},
	{ErrRoleNotFound, http.StatusNotFound, "check the name against a list of roles/"},
	{ErrNotConfigured, http.StatusBadRequest, "write url, username and password (or api_key) to config first"},
	{ErrLoginPaused, http.StatusServiceUnavailable, "correct the login with a write to config, which ends the pause, or try again later"},
	{ErrLoginRefused, http.StatusBadRequest, "it was not retried, so as not to lock the account; check the credential in config, that the user is active and not locked out, and that its session table is not full"},
	{ErrKeyReplaced, http.StatusBadRequest, "read the path again for the key that is valid now"},
	{ErrNoKey, http.StatusNotFound, "generate one with a write to rotate-key/ and its user ID, or in ECGrid"},
	{ErrClosed, http.StatusServiceUnavailable, "try again in a moment"},
	{errSessionClosed, http.StatusServiceUnavailable, "try again in a moment"},
	{ecgrid.ErrAccessDenied, http.StatusForbidden, "the configured login needs AuthLevel NetworkAdmin or above, or MailboxAdmin of the user's own mailbox"},
	{ecgrid.ErrAuthentication, http.StatusForbidden, "the configured login needs AuthLevel NetworkAdmin or above, or MailboxAdmin of the user's own mailbox"},
	{ecgrid.ErrNotFound, http.StatusNotFound, "check the user ID against a list of keys/"},
	{ecgrid.ErrTimeout, http.StatusGatewayTimeout, "ECGrid was too slow; try again, or raise request_timeout in config"},
	{ecgrid.ErrUnreachable, http.StatusServiceUnavailable, "check url, ca_cert and tls_server_name in config and the network between Vault and ECGrid"},
	{ecgrid.ErrSessionExpired, http.StatusBadGateway, "ECGrid ended a session that it had just opened; sessions are bound to one IP address, so check that Vault's egress address is stable"},
	{ecgrid.ErrServerFault, http.StatusBadGateway, "the fault is ECGrid's own; try again, and ask ECGrid support if it stays"},
	{ecgrid.ErrFault, http.StatusBadGateway, "ECGrid gave no reason that is known; try again, and ask ECGrid support if it stays"},
	{ecgrid.ErrBadAnswer, http.StatusBadGateway, "check that url in config is the ECGridOS v4.1 SOAP endpoint and that no proxy answers in its place"},
	{ecgrid.ErrEmptyResult, http.StatusBadGateway, "ECGrid answered without a result; try again, and ask ECGrid support if it stays"},
	{context.DeadlineExceeded, http.StatusGatewayTimeout, "the request ran out of time; try again"},
	{context.Canceled, http.StatusServiceUnavailable, "the request was given up before ECGrid answered; try again"},
}

// Describe gives the HTTP status and the message of a failure; ok is false for
// one that has no meaning of its own, such as a failure of Vault's storage.
func Describe(err error) (status int, message string, ok bool) {
	for _, m := range meanings {
		if !errors.Is(err, m.err) {
			continue
		}
		if m.advice == "" {
			return m.status, err.Error(), true
		}
		return m.status, err.Error() + ": " + m.advice, true
	}
	return 0, "", false
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
