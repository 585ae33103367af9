// SPDX-License-Identifier: MPL-2.0

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

// The status codes of failures, apart from Vault's own.
var (
	// ecgridErrors are those of any call to ECGrid.
	ecgridErrors = []int{http.StatusBadRequest, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}
	// statusErrors are those of a call that checks the login.
	statusErrors = slices.Concat(ecgridErrors, []int{http.StatusForbidden})
	// userErrors are those of a call about an ECGrid user.
	userErrors = slices.Concat(ecgridErrors, []int{http.StatusForbidden, http.StatusNotFound})
	// rotationErrors are those of a key rotation.
	rotationErrors = slices.Concat(userErrors, []int{http.StatusConflict})
	// configErrors are those of a write to config.
	configErrors = slices.Concat(ecgridErrors, []int{http.StatusConflict})
	// rootErrors are those of rotate-root.
	rootErrors = slices.Concat(configErrors, []int{http.StatusForbidden})
)

var errorDescriptions = map[int]string{
	http.StatusBadRequest:         "Bad input, no config, or ECGrid refuses the login.",
	http.StatusForbidden:          "ECGrid denies the configured login access to this user.",
	http.StatusNotFound:           "Not found. The message says what.",
	http.StatusConflict:           "A change was sent to ECGrid but not confirmed, and may still happen. Or the request would drop a password that ECGrid may have, or may still get from an earlier rotate-root.",
	http.StatusBadGateway:         "ECGrid sends a malformed or incomplete answer, or a server fault.",
	http.StatusServiceUnavailable: "ECGrid is unreachable or limits how often it is called, or logins are paused after a refused one.",
	http.StatusGatewayTimeout:     "ECGrid is too slow.",
}

// withErrors adds the status codes of failures.
func withErrors(responses map[int][]framework.Response, codes ...int) map[int][]framework.Response {
	for _, code := range codes {
		responses[code] = []framework.Response{{Description: errorDescriptions[code]}}
	}
	return responses
}
