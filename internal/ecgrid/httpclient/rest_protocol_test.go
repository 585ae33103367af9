// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"net/http"
	"path"
	"strings"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/rest"
)

var restProtocol = protocol{
	name:      "REST",
	path:      "/v2",
	mediaType: "application/json",
	connect: func(e ecgrid.Endpoint) (*client, error) {
		c, err := rest.Connect(e)
		if c == nil {
			return nil, err
		}
		return &client{c, c.Client}, err
	},
	// Some tests use an endpoint without a path.
	requestOf: func(r *http.Request) string { return r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v2") },
	userOf:    func(r *http.Request, _ []byte) string { return path.Base(r.URL.Path) },
	operations: inProtocol(map[string]right{
		"Login":          {"POST /auth/login", restSuccess(`{"token":"t-1","userId":5001}`), ecgrid.LoginResult{SessionID: "t-1"}, false},
		"Logout":         {"POST /auth/logout", restSuccess("true"), nil, true},
		"WhoAmI":         {"GET /users/me", restSuccess(restUser), restSessionRead, false},
		"UserGetAPIKey":  {"GET /users/key/5001", restSuccess(`"k-1"`), "k-1", false},
		"GenerateAPIKey": {"POST /users/key-generate/5001", restSuccess(`"k-2"`), "k-2", false},
		"ChangePassword": {"PUT /auth/password", restSuccess("true"), nil, false},
		"UserList":       {"POST /users/list", restSuccess("[]"), []ecgrid.User(nil), false}, // a user would be followed by a second page
		"Version":        {"GET /auth/version", restSuccess(`{"version":"2.6"}`), "2.6", false},
	}),
	key: func(key string) string { return restSuccess(`"` + key + `"`) },
	users: func(n int) string {
		return restSuccess("[" + strings.TrimSuffix(strings.Repeat(restUser+",", n), ",") + "]")
	},
	denied:      answer{403, restError("AccessDenied"), ecgrid.ErrAccessDenied, "code AccessDenied"},
	fault:       answer{400, restError("InvalidParameter"), ecgrid.ErrFault, "code InvalidParameter"},
	malformed:   answer{200, `{"success":true,"data":`, ecgrid.ErrBadAnswer, "not well-formed JSON"},
	rateLimited: answer{429, restError("RateLimitExceeded"), ecgrid.ErrRateLimited, "code RateLimitExceeded"},
	maxList:     8 << 20,
}

const restUser = `{"userId":5001,"login":"jo","email":"jo@ecgrid.test","firstName":"Jo","lastName":"Do","networkId":7,` +
	`"mailboxId":8,"authLevel":"NetworkAdmin","status":"Active","created":"2024-01-02T03:04:05Z"}`

var restSessionRead = ecgrid.Session{UserID: 5001, LoginName: "jo", AuthLevel: "NetworkAdmin", NetworkID: 7, MailboxID: 8}

func restSuccess(data string) string {
	return `{"success":true,"data":` + data + `,"errorCode":"","message":""}`
}

func restError(code string) string {
	return `{"success":false,"data":null,"errorCode":"` + code + `","message":"` + canaryUpstream + `"}`
}
