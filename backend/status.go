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

// Status asks ECGrid for the session of the stored login.
func (c *connections) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.call(ctx, func(ctx context.Context, current *connection, sessionID string) error {
		whoAmI, err := current.client.WhoAmI(ctx, sessionID)
		status = Status{URL: current.config.URL, AuthMethod: current.config.AuthMethod(), Session: whoAmI}
		return err
	})
	return status, err
}
