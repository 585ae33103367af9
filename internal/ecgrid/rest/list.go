package rest

import (
	"context"
	"errors"
	"net/http"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/httpclient"
)

const (
	// maxPageBody bounds the body of a page, in bytes: some KiB for each user.
	maxPageBody = 8 << 20
	// maxPages bounds the pages of a list: 100000 users even if a page has 10.
	maxPages = 10_000
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
// ECGrid gives no total, and may give fewer users a page than asked. So the list ends with a
// page that is shorter than the first, is empty, has no new user, or is refused because
// there is none with that number.
func (c *Client) UserList(ctx context.Context, by ecgrid.Credential) ([]ecgrid.User, error) {
	size, page, err := c.firstPage(ctx, by)
	if err != nil {
		return nil, err
	}
	users, seen := httpclient.Users{Limit: httpclient.MaxListMemory}, map[int32]struct{}{}
	first := len(page)
	for pageNo := 2; pageNo <= maxPages; pageNo++ {
		added, err := addNew(&users, seen, page)
		if err != nil {
			return nil, err
		}
		if added == 0 || len(page) < first {
			return users.All(), nil
		}
		if page, err = c.page(ctx, by, pageRequest{pageNo, size}); isPastEnd(err) {
			return users.All(), nil
		} else if err != nil {
			return nil, err
		}
	}
	return nil, &ecgrid.Error{Op: opUserList.Name, Kind: ecgrid.ErrBadAnswer, Reason: "too many pages", Sent: true}
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
	var users httpclient.Users
	_, err := c.send(ctx, call{operation: opUserList, by: by, body: page, parse: func(p *parser, _ *http.Response) error {
		users = httpclient.Users{Limit: httpclient.MaxListMemory} // an earlier attempt may have added some
		return p.array(func() error {
			u, err := p.user()
			if err != nil {
				return err
			}
			return orNil(users.Add(u))
		})
	}})
	return users.All(), err
}

// addNew adds the users that are not in the list yet. The pages overlap if a user is created
// meanwhile.
func addNew(users *httpclient.Users, seen map[int32]struct{}, page []ecgrid.User) (added int, err error) {
	for _, u := range page {
		if _, known := seen[u.UserID]; known {
			continue
		}
		seen[u.UserID] = struct{}{}
		added++
		if f := users.Add(u); f != nil {
			return 0, &ecgrid.Error{Op: opUserList.Name, Kind: f.Kind, Reason: f.Reason, Sent: true}
		}
	}
	return added, nil
}

// isPastEnd reports whether ECGrid refused a page because there is none with that number.
// Nothing else has changed since it accepted the first.
func isPastEnd(err error) bool { return errors.Is(err, ecgrid.ErrNotFound) || isInvalidParameter(err) }

func isInvalidParameter(err error) bool {
	var failed *ecgrid.Error
	return errors.As(err, &failed) && failed.Reason == reasonInvalidParameter
}

// orNil avoids an error that is a nil pointer.
func orNil(f *httpclient.Failure) error {
	if f == nil {
		return nil
	}
	return f
}
