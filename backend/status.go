package backend

import (
	"context"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Status is one live look at ECGrid with the stored login.
type Status struct {
	URL        string
	AuthMethod string
	Session    ecgrid.Session
}

// Status asks ECGrid who the stored login is.
func (e *Engine) Status(ctx context.Context) (Status, error) {
	var status Status
	err := e.ask(ctx, func(ctx context.Context, a *account, sessionID string) error {
		me, err := a.client.WhoAmI(ctx, sessionID)
		status = Status{URL: a.config.URL, AuthMethod: a.config.AuthMethod(), Session: me}
		return err
	})
	return status, err
}
