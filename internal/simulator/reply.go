// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"encoding/json"
	"net/http"
)

// reply is an answer before it is sent.
type reply struct {
	status      int
	contentType string
	body        []byte
	cause       Cause // of a refusal
	retryAfter  int   // seconds; 0 is no header
}

func jsonReply(status int, v any) *reply {
	body, _ := json.Marshal(v) // the types here do not fail
	return &reply{status: status, contentType: jsonType, body: append(body, '\n')}
}

// refusedFor is "" for no answer.
func (rep *reply) refusedFor() Cause {
	if rep == nil {
		return ""
	}
	return rep.cause
}

func (rep *reply) send(w http.ResponseWriter) {
	rep.describe(w.Header())
	w.WriteHeader(rep.status)
	_, _ = w.Write(rep.body) // the client may have left
}

func (rep *reply) describe(h http.Header) {
	h.Set("Content-Type", rep.contentType)
	h.Set("Cache-Control", "private, max-age=0")
	if rep.retryAfter > 0 {
		h.Set("Retry-After", itoa(rep.retryAfter))
	}
}
