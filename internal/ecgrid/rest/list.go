// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"context"
	"errors"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

const (
	// maxPageBody bounds the body of a page, in bytes: some KiB for each user.
	maxPageBody = 8 << 20
	// maxPages bounds the pages of a list: 100000 users, 25 a page.
	maxPages = 4000
)

// pageSizes are the sizes that are tried. The largest page is not documented. 0 is ECGrid's
// default, 25.
var pageSizes = []int{1000, 100, 0}

// pageRequest is the body of a UserList.
type pageRequest struct {
	PageNo         int `json:"pageNo"`
	RecordsPerPage int `json:"recordsPerPage,omitempty"`
}

// UserList returns the users whom the credential can see. No user is not an error. A list
// above the limits is ErrBadAnswer.
//
// ECGrid gives no total, and any page may have fewer users than asked. So the list ends with
// a page that is empty, has no new user, or is refused because there is none with that number.
func (c *Client) UserList(ctx context.Context, by ecgrid.Credential) ([]ecgrid.User, error) {
	return c.list(ctx, by, maxPages)
}

func (c *Client) list(ctx context.Context, by ecgrid.Credential, maxPages int) ([]ecgrid.User, error) {
	size, page, err := c.firstPage(ctx, by)
	if err != nil {
		return nil, err
	}
	users, seen := ecgrid.Users{Limit: ecgrid.MaxListMemory}, map[int32]struct{}{}
	repeated := false
	for pageNo := 1; pageNo <= maxPages; {
		added, ok := addNew(&users, seen, page)
		switch {
		case !ok:
			return nil, opUserList.Failed(ecgrid.ErrBadAnswer, httpclient.TooLarge)
		case len(page) == 0 || added == 0 && repeated:
			return users.All(), nil
		}
		// A page without a new user is asked for again: it may be a late copy of the page
		// before, since the response does not name its page.
		if repeated = added == 0; !repeated {
			pageNo++
		}
		if page, err = c.page(ctx, by, pageRequest{pageNo, size}); isPastEnd(err) {
			return users.All(), nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, opUserList.Failed(ecgrid.ErrBadAnswer, "too many pages")
}

// firstPage returns the first page and the size that ECGrid accepted.
func (c *Client) firstPage(ctx context.Context, by ecgrid.Credential) (size int, page []ecgrid.User, err error) {
	for _, size = range pageSizes {
		page, err = c.page(ctx, by, pageRequest{1, size})
		if !isInvalidParameter(err) {
			break
		}
	}
	return size, page, err
}

func (c *Client) page(ctx context.Context, by ecgrid.Credential, page pageRequest) ([]ecgrid.User, error) {
	users, _, err := send(ctx, c, call{operation: opUserList, by: by, body: page}, data((*parser).users))
	return users, err
}

// addNew adds the users that are not in the list yet. The pages overlap if a user is created
// meanwhile. ok is false if the list gets too large.
func addNew(users *ecgrid.Users, seen map[int32]struct{}, page []ecgrid.User) (added int, ok bool) {
	for _, u := range page {
		if _, known := seen[u.UserID]; known {
			continue
		}
		seen[u.UserID] = struct{}{}
		added++
		if !users.Add(u) {
			return added, false
		}
	}
	return added, true
}

// isPastEnd reports whether ECGrid refused a page because there is none with that number.
// Nothing else has changed since it accepted the first.
func isPastEnd(err error) bool { return errors.Is(err, ecgrid.ErrNotFound) || isInvalidParameter(err) }

func isInvalidParameter(err error) bool { return errors.Is(err, invalidParameter{}) }
