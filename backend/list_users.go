// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"context"
	"slices"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// maxLists is how many lists are read at once.
const maxLists = 8

// ListUsers returns the users that the configured login can see, sorted by UserID.
func (c *connections) ListUsers(ctx context.Context) ([]ecgrid.User, error) {
	var users []ecgrid.User
	err := c.withConnection(ctx, func(current *connection) error {
		ctx, cancel := context.WithTimeout(ctx, current.config.requestDeadline())
		defer cancel()
		// A list may take 32 MiB, so there are few at once.
		release, err := current.acquireBulk(ctx, max(1, current.bulkCalls()/maxLists))
		if err != nil {
			return err
		}
		defer release()
		return current.use(ctx, func(ctx context.Context, by ecgrid.Credential) (err error) {
			users, err = current.client.UserList(ctx, by)
			return err
		})
	})
	if err != nil {
		return nil, withoutNotFound(err)
	}
	users = slices.DeleteFunc(users, func(u ecgrid.User) bool { return u.UserID < 1 })
	slices.SortFunc(users, func(a, b ecgrid.User) int { return cmp.Compare(a.UserID, b.UserID) })
	return slices.CompactFunc(users, func(a, b ecgrid.User) bool { return a.UserID == b.UserID }), nil
}
