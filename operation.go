// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
	"vault-plugin-ecgrid/internal/panics"
)

// HandleRequest is the way in for all requests, including renewals, revocations
// and rotation jobs. It gives every error its status code. It also recovers from a
// panic, which would otherwise end all mounts of the process.
func (m *mount) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer panics.Recover(m.Logger(), &err)
	if resp, err = m.handle(ctx, req); err != nil {
		return nil, codedError(err)
	}
	return resp, nil
}

// handle passes a request to the framework. The framework's messages about malformed
// values quote the value, which may be a secret, so they are avoided or replaced.
func (m *mount) handle(ctx context.Context, req *logical.Request) (*logical.Response, error) {
	if !isUserOperation(req.Operation) {
		return m.Backend.HandleRequest(ctx, req)
	}
	if err := rejectNestedValues(req.Data); err != nil {
		return nil, err
	}
	resp, err := m.Backend.HandleRequest(ctx, req)
	if err == nil && resp.IsError() { // only the framework answers in this form
		return nil, backend.Invalid("a field has a value of the wrong type: send durations as seconds or as 30s, 15m or 24h, and booleans as true or false")
	}
	return resp, err
}

// HandleExistenceCheck drops the request's data. The check does not need it, and
// the framework's errors would quote it in Vault's log.
func (m *mount) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checkFound, exists bool, err error) {
	bare := *req
	bare.Data = nil
	return m.Backend.HandleExistenceCheck(ctx, &bare)
}

func isUserOperation(op logical.Operation) bool {
	return slices.Contains([]logical.Operation{
		logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation,
		logical.ReadOperation, logical.ListOperation, logical.DeleteOperation,
	}, op)
}

// rejectNestedValues refuses lists and objects. Every field of this engine is a
// single value.
func rejectNestedValues(data map[string]any) error {
	for name, value := range data {
		switch value.(type) {
		case map[string]any, []any:
			return backend.Invalid("a field must be a single value, not a list or an object: check %s", quoteName(name))
		}
	}
	return nil
}

// operation makes one operation of a path. It refuses unknown fields.
func operation(summary string, handler framework.OperationFunc, responses map[int][]framework.Response) *framework.PathOperation {
	return &framework.PathOperation{
		Summary:   summary,
		Responses: responses,
		Callback: func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
			if err := rejectUnknownFields(req, d); err != nil {
				return nil, err
			}
			return handler(ctx, req, d)
		},
		// Only the active node of the primary cluster calls ECGrid and writes.
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

// rejectUnknownFields refuses fields that the framework would ignore with a warning.
// A misspelled field of a credential must not look like success.
func rejectUnknownFields(req *logical.Request, d *framework.FieldData) error {
	if req.Operation == logical.ListOperation {
		return nil // clients add their own paging parameters
	}
	var unknown []string
	for name := range req.Data {
		if _, ok := d.Schema[name]; !ok {
			unknown = append(unknown, quoteName(name))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return backend.Invalid("unknown field %s: run `vault path-help` on this path for its fields", strings.Join(unknown, ", "))
}

// quoteName quotes the beginning of a field name. Somebody may have sent a secret
// in its place.
func quoteName(name string) string {
	const maxLength = 20
	if len(name) > maxLength {
		name = name[:maxLength] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// codedError gives an error its status code and advice. Vault answers 500 unless
// the coded error is the outermost one.
func codedError(err error) error {
	status, message, ok := backend.Describe(err)
	if !ok {
		return err
	}
	return logical.CodedError(status, message)
}
