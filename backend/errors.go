// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

// The refusals of this package. Match them with errors.Is. Failures of ECGrid wrap the
// sentinels of package ecgrid, and failures to log in those of package session.
var (
	// ErrInvalid: the request asks for something that is not possible.
	ErrInvalid = errors.New("invalid request")
	// ErrNotConfigured: the mount has no config.
	ErrNotConfigured = errors.New("no ECGrid login is configured")
	// ErrNoKey: the user exists and has no API key.
	ErrNoKey = errors.New("the user has no API key")
	// ErrKeyReplaced: the leased key is no longer the user's key.
	ErrKeyReplaced = errors.New("the leased key is no longer this user's key")
	// ErrRoleNotFound: there is no role of that name.
	ErrRoleNotFound = errors.New("no such role")
	// ErrOwnKey: the key is the config's own api_key, which must not be replaced.
	ErrOwnKey = errors.New("this is the user whose api_key the config itself uses")
	// ErrUnconfirmed: a change was sent to ECGrid and not confirmed. ECGrid may still
	// apply it, so it must not be repeated blindly.
	ErrUnconfirmed = errors.New("the change was sent to ECGrid and not confirmed")
	// ErrKeyUnconfirmed is ErrUnconfirmed for the replacement of a user's key.
	ErrKeyUnconfirmed = fmt.Errorf("%w", ErrUnconfirmed)
	// ErrNotApplied: a change was sent to ECGrid, which did not apply it.
	ErrNotApplied = errors.New("ECGrid did not apply the change")
	// ErrTooManyRefused: ECGrid refused several new passwords within a day.
	ErrTooManyRefused = errors.New("ECGrid refused three new passwords within a day")
	// ErrUnresolved: it is unknown which password ECGrid has after a rotate-root.
	ErrUnresolved = errors.New("the last rotate-root is not resolved yet")
	// ErrPasswordKept: the config has the only copy of a password that the login may still
	// get, by an earlier rotate-root.
	ErrPasswordKept = errors.New("ECGrid may still apply an earlier rotate-root")
	// ErrClosed: the mount is being unmounted, sealed or reloaded.
	ErrClosed = errors.New("the mount is shutting down")
	// ErrTainted: the mount is being removed or moved. Nothing is rotated meanwhile.
	ErrTainted = errors.New("the mount is being removed or moved")

	// errRoleChanged: the role was deleted, changed or rotated by another request.
	errRoleChanged = errors.New("the role was changed by another request")
)

// meaning is a row of the one table that says what follows from a failure.
type meaning struct {
	err    error
	class  string // a stable word for events
	status int
	advice string

	endsLease    bool // a definite answer: the leased key is useless
	notApplied   bool // ECGrid did not apply the change that failed like this
	maybeApplied bool // ECGrid may have applied it
	systemic     bool // the next call would fail like this too
	outOfTime    bool // the call ran out of time, which a longer one may not
	skipped      bool // a scheduled rotation that ends like this did not fail
	notStarted   bool // a rotation that ends like this sent no change, and is no failure
	revokeAnyway bool // the last lease of a key may end although the key cannot be replaced
	ofCall       bool // a call to ECGrid can fail like this
	session      session.Verdict
}

const (
	tryAgain      = "try again in a moment"
	needsLevel    = "the configured login needs AuthLevel NetworkAdmin or above or, over SOAP, MailboxAdmin of the user's own mailbox"
	askSupport    = "try again, and ask ECGrid support if it persists"
	resolvesAlone = "both passwords are kept. The plugin resolves this by itself as soon as ECGrid answers and logins are not paused; last_root_rotation_error in config is empty then. To end it sooner, set another password in ECGrid and write it to config"
)

// keyMayBeReplaced does not say that a read of the key tells: only who has the old key can
// compare. The renewal of a lease does that.
const keyMayBeReplaced = "ECGrid may have replaced the key, or may still do so. Reads return the key that is valid then: for 15 minutes each asks ECGrid. To learn whether the key was replaced, renew a lease from before when ECGrid answers again. If the renewal is refused, the key was replaced: read it again. If it succeeds, and no warning says that ECGrid did not answer, the old key is still valid: rotate it again. The schedule of a role and the end of a lease do that by themselves"

// mayBeRestored is the cause of a refused login that its user does not think of.
const mayBeRestored = "If Vault was restored from a snapshot, the stored password may be older than the one that ECGrid has: set a new one in ECGrid and write it to config"

var (
	blamesCaller = session.Verdict{MaybeDead: true, Refusal: true}
	blamesECGrid = session.Verdict{MaybeDead: true, Inconclusive: true, Faulted: true}
)

// meanings is searched from the top. What the engine decided comes before what ECGrid
// answered.
var meanings = []meaning{
	{err: ErrKeyUnconfirmed, class: "unconfirmed", status: http.StatusConflict, maybeApplied: true, advice: keyMayBeReplaced},
	{err: ErrUnconfirmed, class: "unconfirmed", status: http.StatusConflict, maybeApplied: true, advice: "ECGrid may still apply it. You need not do anything: both passwords are kept, and the plugin finds out which one is right (last_root_rotation_error in config is empty then)"},
	{err: ErrNotApplied, class: "not-applied", status: http.StatusConflict, notApplied: true, advice: "the old password or key is still valid; see the reason and try again"},
	{err: ErrTooManyRefused, class: "too-many-refused", status: http.StatusConflict, notApplied: true, advice: "no more are sent until the first of them is a day old; check password_policy, and that this login may change its own password"},
	{err: ErrUnresolved, class: "unresolved", status: http.StatusConflict, maybeApplied: true, advice: resolvesAlone},
	{err: ErrPasswordKept, class: "password-kept", status: http.StatusConflict, notApplied: true, advice: "delete config after that time. Until then it has the only copy of a password that the login may get. Reads and rotations work meanwhile, and so do writes to config, which do not shorten the wait. If the whole mount is to go, set a password that you know in ECGrid and disable the mount"},
	{err: ErrInvalid, class: "invalid", status: http.StatusBadRequest, notApplied: true},
	{err: ErrOwnKey, class: "own-key", status: http.StatusBadRequest, notApplied: true, revokeAnyway: true, advice: "replacing it would lock this mount out; configure username and password instead, or rotate that key in ECGrid and write the new one to config"},
	{err: ErrRoleNotFound, class: "no-such-role", status: http.StatusNotFound, skipped: true, advice: "list roles/ to see the names that exist"},
	{err: errRoleChanged, class: "role-changed", status: http.StatusConflict, skipped: true, advice: tryAgain},
	{err: ErrNotConfigured, class: "not-configured", status: http.StatusBadRequest, systemic: true, revokeAnyway: true, advice: "write username and password, or api_key, to config first"},
	{err: session.ErrTooSoon, class: "login-paused", status: http.StatusServiceUnavailable, systemic: true, notApplied: true, notStarted: true, advice: "an unconfirmed rotate-root may need more logins, so it is not started now; try again then (a scheduled one starts by itself)"},
	{err: session.ErrPaused, class: "login-paused", status: http.StatusServiceUnavailable, systemic: true, notStarted: true, advice: "try again then. If ECGrid refused logins, last_login_error in config says what to check. Only another password, set in ECGrid and written to config, ends the pause sooner"},
	{err: session.ErrRefused, class: "login-refused", status: http.StatusBadRequest, systemic: true, advice: "it was not retried, so that the account is not locked. Check the credential (the one in config or, if this was a write to config, the one in that write; then nothing was stored), that the user is active and not locked out, and that its session table is not full. " + mayBeRestored},
	{err: ErrKeyReplaced, class: "key-replaced", status: http.StatusBadRequest, endsLease: true, advice: "read the path again to get the key that is valid now"},
	{err: ErrNoKey, class: "no-key", ofCall: true, status: http.StatusNotFound, endsLease: true, advice: "generate one in ECGrid, or with a write to rotate-key/ and the user ID"},
	{err: ErrTainted, class: "mount-removed", status: http.StatusServiceUnavailable, systemic: true, notApplied: true, skipped: true, advice: tryAgain},
	{err: ErrClosed, class: "mount-closed", status: http.StatusServiceUnavailable, systemic: true, advice: tryAgain},
	{err: session.ErrClosed, class: "mount-closed", status: http.StatusServiceUnavailable, systemic: true, advice: tryAgain},
	{err: ecgrid.ErrAccessDenied, class: "access-denied", ofCall: true, status: http.StatusForbidden, endsLease: true, notApplied: true, session: blamesCaller, advice: needsLevel},
	{err: ecgrid.ErrAuthentication, class: "access-denied", ofCall: true, status: http.StatusForbidden, endsLease: true, notApplied: true, session: blamesCaller, advice: needsLevel},
	{err: ecgrid.ErrNotFound, class: "no-such-user", ofCall: true, status: http.StatusNotFound, endsLease: true, notApplied: true, revokeAnyway: true, session: blamesCaller, advice: "list keys/ to see the user IDs that exist"},
	{err: ecgrid.ErrTimeout, class: "timeout", ofCall: true, status: http.StatusGatewayTimeout, systemic: true, outOfTime: true, advice: "ECGrid was too slow; try again, or raise request_timeout in config"},
	{err: ecgrid.ErrRateLimited, class: "rate-limited", ofCall: true, status: http.StatusServiceUnavailable, systemic: true, notApplied: true, session: session.Verdict{Faulted: true}, advice: "ECGrid limits how often it is called; try again later, or lower max_concurrent_calls in config"},
	{err: ecgrid.ErrUnreachable, class: "unreachable", ofCall: true, status: http.StatusServiceUnavailable, systemic: true, advice: "check url, ca_cert and tls_server_name in config and the network between Vault and ECGrid"},
	{err: ecgrid.ErrProxy, class: "proxy", ofCall: true, status: http.StatusServiceUnavailable, systemic: true, advice: "check HTTPS_PROXY and NO_PROXY in the plugin's environment (vault plugin register -env) and that the proxy lets this node reach ECGrid"},
	{err: ecgrid.ErrSessionExpired, class: "session-expired", ofCall: true, status: http.StatusBadGateway, notApplied: true, session: session.Verdict{Dead: true, Refusal: true}, advice: "ECGrid ended a session that it had just opened. Over SOAP, sessions are bound to one IP address, so check that Vault's egress address is stable"},
	{err: ecgrid.ErrServerFault, class: "server-fault", ofCall: true, status: http.StatusBadGateway, session: blamesECGrid, advice: "the fault is ECGrid's own; " + askSupport},
	{err: ecgrid.ErrFault, class: "fault", ofCall: true, status: http.StatusBadGateway, session: blamesCaller, advice: "ECGrid gave no known reason; " + askSupport},
	{err: ecgrid.ErrBadAnswer, class: "bad-answer", ofCall: true, status: http.StatusBadGateway, advice: "check that url in config is the endpoint for its transport and that no proxy answers in its place"},
	{err: ecgrid.ErrEmptyResult, class: "bad-answer", ofCall: true, status: http.StatusBadGateway, session: session.Verdict{Inconclusive: true}, advice: "ECGrid answered without a result; " + askSupport},
	{err: context.DeadlineExceeded, class: "timeout", ofCall: true, status: http.StatusGatewayTimeout, systemic: true, outOfTime: true, advice: "the request ran out of time; try again"},
	{err: context.Canceled, class: "canceled", ofCall: true, status: http.StatusServiceUnavailable, systemic: true, outOfTime: true, advice: "the request was canceled before ECGrid answered; try again"},
}

// meaningOf returns the row of a failure. A failure without a row, such as one of
// Vault's storage, gets the zero row.
func meaningOf(err error) meaning {
	for _, m := range meanings {
		if errors.Is(err, m.err) {
			return m
		}
	}
	return meaning{}
}

// internalClass is the class of a failure without a meaning of its own.
const internalClass = "internal"

// classOf returns the class of a failure.
func classOf(err error) string { return cmp.Or(meaningOf(err).class, internalClass) }

// callClasses returns the classes of failed calls to ECGrid.
func callClasses() []string {
	classes := []string{internalClass}
	for _, m := range meanings {
		if m.ofCall && !slices.Contains(classes, m.class) {
			classes = append(classes, m.class)
		}
	}
	return classes
}

// classify returns what a failed call says about its session. Only ECGrid's part of the
// failure counts.
func classify(err error) session.Verdict {
	var failed *ecgrid.Error
	if errors.As(err, &failed) {
		err = failed.Kind
	}
	return meaningOf(err).session
}

// notApplied reports whether ECGrid certainly did not apply a change: it was never
// sent, or it was refused.
func notApplied(begun bool, err error) bool {
	return !begun || !ecgrid.MayBeSent(err) || meaningOf(err).notApplied
}

// asConflict turns the refusal of a change that was sent into a 4xx. Clients repeat a
// 5xx by themselves.
func asConflict(err error) error {
	if meaningOf(err).status < http.StatusInternalServerError {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotApplied, err)
}

// withoutNotFound replaces "not found" in the failure of a call that looks nothing up:
// there it has no known meaning.
func withoutNotFound(err error) error {
	if errors.Is(err, ecgrid.ErrNotFound) {
		return ecgrid.ErrFault
	}
	return err
}

// Describe returns the HTTP status and the message of a failure; ok is false for a
// failure without a meaning of its own.
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

// describeRefused returns the message of refused logins, or "" if there are none.
func describeRefused(refused session.Refusals) string {
	if refused.Last.IsZero() {
		return ""
	}
	return fmt.Sprintf("ECGrid refused the stored login, the last time at %s; %s: check that the user is active and not locked out. %s",
		refused.Last.UTC().Format(time.RFC3339), refused.Failed, mayBeRestored)
}

// describe returns the message of a failure. A failure without a meaning of its own is
// only in the log.
func describe(err error) string {
	if _, message, ok := Describe(err); ok {
		return message
	}
	return "internal error, see Vault's log"
}

// describeLasting is describe for a message that is stored or logged: it has times and no
// durations.
func describeLasting(err error) string {
	message := describe(err)
	if paused := new(session.Paused); errors.As(err, &paused) {
		return strings.ReplaceAll(message, paused.Error(), paused.Lasting())
	}
	return message
}

// notStartedUntil returns when to try a rotation again that was not started, or the zero time
// if it was.
func notStartedUntil(err error) time.Time {
	if paused := new(session.Paused); meaningOf(err).notStarted && errors.As(err, &paused) {
		return paused.Until
	}
	return time.Time{}
}

// invalidError is a refusal whose text already says what to do.
type invalidError string

func (e invalidError) Error() string { return string(e) }

func (invalidError) Unwrap() error { return ErrInvalid }

// Invalid returns a refusal of the request's own content (HTTP 400). The message must
// say what to do instead.
func Invalid(format string, args ...any) error {
	return invalidError(fmt.Sprintf(format, args...))
}
