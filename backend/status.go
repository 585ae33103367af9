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
	err := c.withConnection(ctx, func(current *connection) error {
		status.URL, status.AuthMethod = current.config.URL, current.config.AuthMethod()
		return current.use(ctx, func(ctx context.Context, sessionID string) (err error) {
			status.Session, err = current.client.WhoAmI(ctx, sessionID)
			return err
		})
	})
	return status, withoutNotFound(err)
}
