// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"errors"
	"io"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

// envelope is what surrounds the data of a response.
type envelope struct {
	success   *bool
	errorCode string
	found     bool  // there is data, and it is not null
	unknown   bool  // there are fields that are not documented
	refused   error // the data is not what the call returns
}

// parseResponse reads the body of a response. parse reads the data, if the status is 200.
// found is false if there is none, or if it is null.
func parseResponse(body io.Reader, status int, call call, parse func(*parser) error) (found bool, f *httpclient.Failure) {
	e, err := parseEnvelope(newParser(body), status, parse)
	if err == nil {
		err = e.check(status, call)
	}
	if err == nil || errors.As(err, &f) {
		return e.found, f
	}
	return false, httpclient.BadAnswer(notJSON)
}

func parseEnvelope(p *parser, status int, parse func(*parser) error) (e envelope, err error) {
	err = p.object(func(name string) (err error) {
		switch name {
		case "success":
			e.success, err = p.boolean()
		case "errorCode":
			e.errorCode, err = p.text()
		case "message":
			err = p.skip()
		case "data":
			return p.data(&e, status, parse)
		default:
			e.unknown = true
			err = p.skip()
		}
		return err
	})
	if err != nil {
		return e, err
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return e, httpclient.BadAnswer("data after the response")
	}
	return e, nil
}

// data reads the data of a response. That of another kind than the call returns does not
// keep the rest from being read, since ECGrid may have refused the call.
func (p *parser) data(e *envelope, status int, parse func(*parser) error) error {
	if status != http.StatusOK {
		return p.skip()
	}
	p.first = true // next sees whether it is null
	err := p.attempt(func() error { return parse(p) })
	if p.broken {
		return err
	}
	if e.found = !p.null; e.found {
		e.refused = err
	}
	return nil
}

// check returns what the response means, or nil if it is a success.
func (e envelope) check(status int, call call) error {
	switch {
	case e.success == nil:
		return httpclient.BadAnswer("not an answer of ECGrid's REST API")
	case !*e.success:
		return classify(status, e.errorCode, call.by.IsAPIKey)
	case status != http.StatusOK || e.errorCode != "":
		return contradiction(status, e.errorCode)
	case e.refused != nil:
		return e.refused
	case !e.found && e.unknown && !call.noResult: // the result may be in another field
		return httpclient.BadAnswer("result in an unexpected place")
	}
	return nil
}

// errorCodes are the documented errors.
var errorCodes = []struct {
	status int
	code   string
	kind   error
}{
	{http.StatusBadRequest, "InvalidParameter", invalidParameter{}},
	{http.StatusUnauthorized, "InvalidAPIKey", ecgrid.ErrAuthentication},
	{http.StatusUnauthorized, "InvalidSession", ecgrid.ErrSessionExpired},
	{http.StatusForbidden, "AccessDenied", ecgrid.ErrAccessDenied},
	{http.StatusNotFound, "ObjectNotFound", ecgrid.ErrNotFound},
	{http.StatusTooManyRequests, "RateLimitExceeded", ecgrid.ErrRateLimited},
	{http.StatusInternalServerError, "InternalError", ecgrid.ErrServerFault},
	// The documentation says to retry after a 503, but not which code it has.
	{http.StatusServiceUnavailable, "InternalError", ecgrid.ErrUnreachable},
	// Without a code, the status may still tell who is to blame.
	{http.StatusUnauthorized, "", ecgrid.ErrAuthentication},
	{http.StatusInternalServerError, "", ecgrid.ErrServerFault},
	{http.StatusServiceUnavailable, "", ecgrid.ErrUnreachable},
}

// invalidParameter is the kind of a call that ECGrid refused for what it asked. To others it
// is ErrFault.
type invalidParameter struct{}

func (invalidParameter) Error() string { return ecgrid.ErrFault.Error() }

func (invalidParameter) Is(target error) bool { return target == ecgrid.ErrFault }

// classify returns the failure that an error means. If status and code contradict each
// other, or are not documented, it is ErrFault: no definite answer for a change and for a
// lease, and a refusal for a Login.
func classify(status int, code string, byKey bool) *httpclient.Failure {
	for _, e := range errorCodes {
		if e.status != status || e.code != code {
			continue
		}
		f := &httpclient.Failure{Kind: e.kind, Reason: "code " + code, Transient: httpclient.IsTransient(status)}
		if code == "" {
			f.Reason = httpclient.StatusReason(status)
		}
		if byKey && e.kind == ecgrid.ErrSessionExpired { // there is no session
			f.Kind = ecgrid.ErrAuthentication
		}
		return f
	}
	return contradiction(status, code)
}

func contradiction(status int, code string) *httpclient.Failure {
	reason := httpclient.StatusReason(status)
	for _, e := range errorCodes {
		if e.code == code && code != "" {
			reason += " with code " + code
			break
		}
	}
	return &httpclient.Failure{Kind: ecgrid.ErrFault, Reason: reason, Transient: httpclient.IsTransient(status)}
}
