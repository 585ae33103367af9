// SPDX-License-Identifier: MPL-2.0

package simulator

import "slices"

// Defaults of POST /users/list.
const (
	defaultPage           = 1
	defaultRecordsPerPage = 25
)

var listParams = []restParam{
	intParam("networkId", 0), intParam("mailboxId", 0), enumParam("authLevel", "AuthLevel"), enumParam("status", "Status"),
	intParam("pageNo", 1), intParam("recordsPerPage", 1),
}

type restUser struct {
	UserID    int32  `json:"userId"`
	Login     string `json:"login"`
	Email     string `json:"email"`
	FirstName string `json:"firstName"`
	LastName  string `json:"lastName"`
	NetworkID int32  `json:"networkId"`
	MailboxID int32  `json:"mailboxId"`
	AuthLevel string `json:"authLevel"`
	Status    string `json:"status"`
	Created   string `json:"created"`
}

func newRESTUser(a *account) restUser {
	return restUser{
		a.UserID, a.LoginName, a.EMail, a.FirstName, a.LastName,
		a.NetworkID, a.MailboxID, a.AuthLevel, a.Status, iso8601(a.created),
	}
}

// keyReaders are "NetworkAdmin or above".
var keyReaders = []string{"Root", "TechOps", "NetOps", "NetworkAdmin"}

// restTarget is the user in the path. REST answers AccessDenied only if the AuthLevel is too
// low. A user out of the caller's reach is not found.
func restTarget(s *Simulator, c *restCall) (*account, Cause) {
	t, cause := s.target(c.user, c.userID)
	if cause == AccessDenied && reachByLevel[c.user.AuthLevel] != nil {
		cause = NotFound
	}
	return t, cause
}

func restMe(_ *Simulator, c *restCall) (any, Cause) { return newRESTUser(c.user), "" }

func restUserInfo(s *Simulator, c *restCall) (any, Cause) {
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	return newRESTUser(t), ""
}

// restKey is stricter than SOAP: nobody below NetworkAdmin reads a key, not even its own.
func restKey(s *Simulator, c *restCall) (any, Cause) {
	if !slices.Contains(keyReaders, c.user.AuthLevel) {
		return nil, AccessDenied
	}
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	if t.APIKey == "" {
		return nil, "" // as .NET writes a null string; not documented
	}
	return t.APIKey, ""
}

func restGenerate(s *Simulator, c *restCall) (any, Cause) {
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	key, cause := s.generateKey(t, c.timing)
	return key, cause
}

// restList returns a page of the users by UserID. A page past the end is empty.
func restList(s *Simulator, c *restCall) (any, Cause) {
	size := int64(c.number("recordsPerPage", defaultRecordsPerPage))
	if limit := int64(s.opts.PageCap); limit > 0 {
		size = min(size, limit)
	}
	skip := size * (int64(c.number("pageNo", defaultPage)) - 1)
	page := []restUser{}
	for _, a := range s.sortedUsers() {
		switch {
		case !c.user.canReach(a) || !c.finds(a):
		case skip > 0:
			skip--
		default:
			page = append(page, newRESTUser(a))
		}
		if int64(len(page)) == size {
			break
		}
	}
	return page, ""
}

// finds implements the filters of a list; an absent filter matches all users.
func (c *restCall) finds(a *account) bool {
	return c.accepts("networkId", a.NetworkID) && c.accepts("mailboxId", a.MailboxID) &&
		c.accepts("authLevel", a.AuthLevel) && c.accepts("status", a.Status)
}

func (c *restCall) accepts(name string, value any) bool {
	wanted, given := c.args[name]
	return !given || wanted == value
}

func restReset(s *Simulator, c *restCall) (any, Cause) {
	t, cause := restTarget(s, c)
	if t == nil {
		return nil, cause
	}
	s.resetUser(t)
	return true, ""
}
