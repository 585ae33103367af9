// SPDX-License-Identifier: MPL-2.0

package httpclient_test

import (
	"context"
	"net/http"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// protocol is a client, and the right responses to it.
type protocol struct {
	name      string
	path      string // of the endpoint's URL
	mediaType string
	connect   func(ecgrid.Endpoint) (*client, error)
	// requestOf returns what tells the requests of the operations apart.
	requestOf func(r *http.Request) string
	// userOf returns the user whom a UserGetAPIKey is about.
	userOf     func(r *http.Request, body []byte) string
	operations []operation

	// key is the response to a UserGetAPIKey.
	key func(key string) string
	// users is the response to a UserList, with n users.
	users func(n int) string
	// denied and fault are refusals. malformed is a part of a document.
	denied, fault, malformed answer
	// rateLimited is a response that asks for fewer calls.
	rateLimited answer
	// maxList bounds the body of a UserList, in bytes.
	maxList int64
}

var protocols = []*protocol{&soapProtocol, &restProtocol}

// operation is one operation as a caller sees it, with its right response.
type operation struct {
	name string
	call func(ctx context.Context, c *client, by ecgrid.Credential) (any, error)
	read bool // may be retried
	right
}

// right is how an operation looks in one protocol.
type right struct {
	request  string // what requestOf returns
	response string
	want     any
	alone    bool // uses a new connection although it may be retried
}

var operations = []operation{
	{name: "Login", call: func(ctx context.Context, c *client, _ ecgrid.Credential) (any, error) {
		return c.Login(ctx, "jo", canaryPassword)
	}},
	{name: "Logout", read: true, call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return nil, c.Logout(ctx, by)
	}},
	{name: "WhoAmI", read: true, call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return c.WhoAmI(ctx, by)
	}},
	{name: "UserGetAPIKey", read: true, call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return c.UserGetAPIKey(ctx, by, 5001)
	}},
	{name: "GenerateAPIKey", call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return c.GenerateAPIKey(ctx, by, 5001)
	}},
	{name: "ChangePassword", call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return nil, c.ChangePassword(ctx, by, canaryPassword, "new")
	}},
	{name: "UserList", read: true, call: func(ctx context.Context, c *client, by ecgrid.Credential) (any, error) {
		return c.UserList(ctx, by)
	}},
	{name: "Version", read: true, call: func(ctx context.Context, c *client, _ ecgrid.Credential) (any, error) {
		return c.Version(ctx)
	}},
}

// inProtocol returns the operations with their right responses in one protocol.
func inProtocol(rights map[string]right) []operation {
	var all []operation
	for _, op := range operations {
		op.right = rights[op.name]
		all = append(all, op)
	}
	return all
}

// pooled returns the operations that use pooled connections.
func (p *protocol) pooled() []operation {
	var pooled []operation
	for _, op := range p.operations {
		if op.pooled() {
			pooled = append(pooled, op)
		}
	}
	return pooled
}

// pooled reports whether the operation uses pooled connections.
func (op operation) pooled() bool { return op.read && !op.alone }

// operationOf returns nil if r is not a request of an operation.
func (p *protocol) operationOf(r *http.Request) *operation {
	for i, op := range p.operations {
		if p.requestOf(r) == op.request {
			return &p.operations[i]
		}
	}
	return nil
}

// good is the right response to an operation.
func (p *protocol) good(name string) answer {
	for _, op := range p.operations {
		if op.name == name {
			return answer{status: http.StatusOK, body: op.response}
		}
	}
	return answer{}
}

// The other tests rely on this: every client gets what it wants from the right responses.
func TestRightResponses(t *testing.T) {
	t.Parallel()
	eachProtocol(t, func(t *testing.T, p *protocol) {
		c := serve(t, p, p.respond)
		for _, op := range p.operations {
			for _, by := range []ecgrid.Credential{session, apiKey} {
				op.wantSuccess(t, c, by)
			}
		}
	})
}
