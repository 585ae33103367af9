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

// HandleRequest guards the process: a panic in one request must not end every
// mount of the plugin. And it refuses values that no field of ours takes before
// the framework would quote them in an error.
func (m *mount) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer panics.Recover(m.Logger(), &err)
	if err := flat(req.Data); err != nil && isUserOperation(req.Operation) {
		return nil, answer(err)
	}
	resp, err = m.Backend.HandleRequest(ctx, req)
	if err == nil && resp.IsError() && isUserOperation(req.Operation) {
		// Ours are never of this kind: it is the framework's, and quotes a value.
		return nil, answer(backend.Invalid("a field holds a value of the wrong type: durations are seconds or like 30s, 15m, 24h; switches are true or false"))
	}
	return resp, err
}

// HandleExistenceCheck leaves the data out: existence does not depend on it, and
// the framework's errors would quote it into Vault's log.
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

// flat refuses lists and objects: every field of this engine is one value.
func flat(data map[string]any) error {
	for name, value := range data {
		switch value.(type) {
		case map[string]any, []any:
			return backend.Invalid("a field has to be a single value, not a list or an object: check %s", quoteName(name))
		}
	}
	return nil
}

// operation makes one operation of a path: it refuses unknown fields, and turns
// failures into status codes.
func operation(summary string, handler framework.OperationFunc, responses map[int][]framework.Response) *framework.PathOperation {
	return &framework.PathOperation{
		Summary:   summary,
		Responses: responses,
		Callback: func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
			if err := knownFields(req, d); err != nil {
				return nil, answer(err)
			}
			resp, err := handler(ctx, req, d)
			if err != nil {
				return nil, answer(err)
			}
			return resp, nil
		},
		// What asks ECGrid or writes is for the active node of the primary.
		ForwardPerformanceStandby:   true,
		ForwardPerformanceSecondary: true,
	}
}

// knownFields refuses what the framework would ignore with a warning: a misspelt
// field of a credential must not look like success.
func knownFields(req *logical.Request, d *framework.FieldData) error {
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
	return backend.Invalid("unknown field %s: see `vault path-help` of this path for those it takes", strings.Join(unknown, ", "))
}

// quoteName shows a field's name and never much of it: a value may stand there by mistake.
func quoteName(name string) string {
	const most = 20
	if len(name) > most {
		name = name[:most] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// answer gives a failure its status code. It has to be the outermost error, and
// alone, or Vault answers 500.
func answer(err error) error {
	status, message, ok := backend.Describe(err)
	if !ok {
		return err
	}
	return logical.CodedError(status, message)
}
