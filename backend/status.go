package backend

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Status is one live look at ECGrid with the stored login.
type Status struct {
	URL        string
	AuthMethod string
	Session    ecgrid.Session
}

// Status asks ECGrid who the stored login is.
func (e *Engine) Status(ctx context.Context, storage logical.Storage) (Status, error) {
	var status Status
	err := e.ask(ctx, storage, func(ctx context.Context, a *account, sessionID string) error {
		session, err := a.client.WhoAmI(ctx, sessionID)
		status = Status{URL: a.config.URL, AuthMethod: a.config.AuthMethod(), Session: session}
		return err
	})
	return status, err
}

// ask runs one call of the live account within its deadline.
func (e *Engine) ask(ctx context.Context, storage logical.Storage, call func(context.Context, *account, string) error) error {
	err := e.withAccount(ctx, storage, func(a *account) error {
		ctx, cancel := context.WithTimeout(ctx, a.config.requestDeadline())
		defer cancel()
		return a.session.use(ctx, func(ctx context.Context, sessionID string) error {
			return call(ctx, a, sessionID)
		})
	})
	if errors.Is(err, ecgrid.ErrNotFound) {
		return ecgrid.ErrFault // nothing was asked for that could be missing
	}
	return err
}
