package ecgrid

import (
	"net/http"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
)

// ok documents a 200 with these fields.
func ok(fields map[string]*framework.FieldSchema) map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusOK: {{Description: http.StatusText(http.StatusOK), Fields: fields}},
	}
}

// noContent documents a 204.
func noContent() map[int][]framework.Response {
	return map[int][]framework.Response{
		http.StatusNoContent: {{Description: http.StatusText(http.StatusNoContent)}},
	}
}

// asAnswered makes the fields of a write those of a read: durations are answered
// in seconds, and a stored value has no default.
func asAnswered(fields map[string]*framework.FieldSchema) {
	for _, field := range fields {
		field.Default, field.Required = nil, false
		if field.Type == framework.TypeDurationSecond {
			field.Type = framework.TypeInt
			field.Description += " In seconds."
		}
	}
}

// What the operations answer when they fail; Vault's own refusals come on top.
const (
	wrong   = http.StatusBadRequest
	missing = http.StatusNotFound
	denied  = http.StatusForbidden
	unclear = http.StatusConflict
)

var (
	// atECGrid is what any call to ECGrid may come to.
	atECGrid = []int{wrong, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	// ofUser is what a call about a user may come to.
	ofUser = slices.Concat(atECGrid, []int{denied, missing})
	// inDoubt is what the rotation of a key may come to.
	inDoubt = slices.Concat(ofUser, []int{unclear})
	// ofLogin is what a write of the login may come to.
	ofLogin = slices.Concat(atECGrid, []int{unclear})
)

var failures = map[int]string{
	wrong:                         "Bad input, no config, or a login that ECGrid refuses.",
	denied:                        "ECGrid denies the configured login this user.",
	missing:                       "There is no such thing; the message says what.",
	unclear:                       "A change was sent to ECGrid and not confirmed: it may be made yet. Or this would drop a password while it is not known which of two ECGrid has.",
	http.StatusBadGateway:         "ECGrid answers nonsense, half an answer or a server fault.",
	http.StatusServiceUnavailable: "ECGrid is unreachable, or logins are paused after a refused one.",
	http.StatusGatewayTimeout:     "ECGrid is too slow.",
}

// failing adds the status codes that an operation may fail with.
func failing(responses map[int][]framework.Response, codes ...int) map[int][]framework.Response {
	for _, code := range codes {
		responses[code] = []framework.Response{{Description: failures[code]}}
	}
	return responses
}
