// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// Status is one live look at ECGrid with the stored login.
type Status struct {
	Transport  ecgrid.Transport
	URL        string
	AuthMethod string
	Session    ecgrid.Session
}

// Status asks ECGrid for the session of the stored login. The version is "" if it is told by
// a call of its own which fails: the login works all the same.
func (c *connections) Status(ctx context.Context) (Status, error) {
	var status Status
	err := c.withConnection(ctx, func(current *connection) error {
		status.Transport = current.config.TransportInUse()
		status.URL, status.AuthMethod = current.config.URL, current.config.AuthMethod()
		err := current.use(ctx, func(ctx context.Context, by ecgrid.Credential) (err error) {
			status.Session, err = current.client.WhoAmI(ctx, by)
			return err
		})
		if err == nil && status.Session.ECGridOSVersion == "" {
			status.Session.ECGridOSVersion, _ = current.client.Version(ctx)
		}
		return err
	})
	return status, withoutNotFound(err)
}
