// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

type userData struct {
	UserID int32  `json:"userId"`
	Login  string `json:"login"`
}

func listUsers(t *testing.T, s *simulator.Simulator, credential, body string) (ids []int32) {
	t.Helper()
	for _, u := range into[[]userData](t, rest(t, s, credential, "POST", "/users/list", body)) {
		ids = append(ids, u.UserID)
	}
	return ids
}

func TestRESTUser(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now})
	admin := keyOf(t, s, simulator.AdminUserID)
	for _, a := range []restAnswer{
		rest(t, s, admin, "GET", "/users/5002", ""),
		rest(t, s, keyOf(t, s, simulator.UserID5002), "GET", "/users/me", ""),
	} {
		got := into[map[string]any](t, a)
		for name, want := range map[string]any{
			"userId": 5002.0, "login": "sim-5002", "email": "5002@example.com", "firstName": "Zoë", "lastName": "Zulu", "networkId": 100.0,
			"mailboxId": 502.0, "authLevel": "MailboxUser", "status": "Active", "created": "2026-01-02T03:04:05Z",
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if len(got) != 10 {
			t.Errorf("%d fields", len(got))
		}
	}
}

// The reach over REST is that of SOAP, except that a key needs NetworkAdmin or above, and
// who is out of reach is not found.
func TestRESTAccess(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{Users: accessUsers()})
	for actor, c := range map[int32]struct {
		sees, keys string
		otherwise  int // the status of the others
	}{
		1: {"1234567", "1234567", 0}, 2: {"23456", "23456", 404}, 3: {"3", "", 403},
		4: {"45", "", 404}, 5: {"5", "", 403}, 7: {"7", "", 403},
	} {
		for target := int32(1); target <= 7; target++ {
			want := map[bool]int{true: http.StatusOK, false: c.otherwise}
			path, key := "/users/"+decimal(target), keyOf(t, s, actor)
			if a := rest(t, s, key, "GET", path, ""); a.status != want[slices.Contains([]byte(c.sees), decimal(target)[0])] {
				t.Errorf("%d reads %d: HTTP %d", actor, target, a.status)
			}
			if c.keys == "" {
				want[false] = http.StatusForbidden
			}
			if a := rest(t, s, key, "GET", "/users/key/"+decimal(target), ""); a.status != want[slices.Contains([]byte(c.keys), decimal(target)[0])] {
				t.Errorf("%d reads the key of %d: HTTP %d", actor, target, a.status)
			}
		}
		if got := listUsers(t, s, keyOf(t, s, actor), "{}"); len(got) != len(c.sees) {
			t.Errorf("%d lists %v", actor, got)
		}
	}
}

func TestRESTListFilters(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{Users: accessUsers()})
	s.Update(6, func(u *simulator.User) { u.Status = "Suspended" })
	netops := keyOf(t, s, 1)
	for body, want := range map[string][]int32{
		`{}`:                                                     {1, 2, 3, 4, 5, 6, 7},
		`{"networkId":1}`:                                        {2, 3, 4, 5, 6},
		`{"mailboxId":7}`:                                        {4, 5, 7},
		`{"networkId":1,"mailboxId":7}`:                          {4, 5},
		`{"mailboxId":0}`:                                        {1, 2, 3},
		`{"authLevel":"MailboxUser"}`:                            {5, 6, 7},
		`{"status":"Suspended"}`:                                 {6},
		`{"status":null,"networkId":2,"more":[]}`:                {7},
		`{"networkId":3}`:                                        nil,
		`{"pageNo":2,"recordsPerPage":3}`:                        {4, 5, 6},
		`{"pageNo":3,"recordsPerPage":3}`:                        {7},
		`{"pageNo":4,"recordsPerPage":3}`:                        nil,
		`{"networkId":1,"pageNo":2,"recordsPerPage":2}`:          {4, 5},
		`{"pageNo":2147483647,"recordsPerPage":2147483647}`:      nil,
		`{"pageNo":1,"recordsPerPage":2147483647,"status":null}`: {1, 2, 3, 4, 5, 6, 7},
	} {
		if got := listUsers(t, s, netops, body); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", body, got, want)
		}
	}
	if got := listUsers(t, s, keyOf(t, s, 2), `{"pageNo":2,"recordsPerPage":2}`); !slices.Equal(got, []int32{4, 5}) {
		t.Errorf("a page counts users that the caller cannot see: %v", got)
	}
	s.Delete(4)
	if got := listUsers(t, s, netops, `{"mailboxId":7}`); !slices.Equal(got, []int32{5, 7}) {
		t.Errorf("after a user was deleted: %v", got)
	}
}

// TestRESTListLarge reads 10,000 users by pages of the default size, and of the largest.
func TestRESTListLarge(t *testing.T) {
	t.Parallel()
	const many = 10_000
	users := []simulator.User{{UserID: many, LoginName: "admin", Password: "p", NetworkID: 1, AuthLevel: "NetworkAdmin"}}
	for id := int32(1); id < many; id++ {
		users = append(users, simulator.User{UserID: id, LoginName: fmt.Sprint("user", id), Password: "p", APIKey: fmt.Sprint("key", id), NetworkID: 1})
	}
	for body, c := range map[string]struct{ cap, pages int }{
		`{"pageNo":%d}`:                        {0, 400},
		`{"pageNo":%d,"recordsPerPage":10000}`: {0, 1},
		`{"pageNo":%d,"recordsPerPage":9000}`:  {500, 20},
	} {
		s := newSim(t, simulator.Options{Users: users, PageCap: c.cap})
		admin, next, pages := keyOf(t, s, many), int32(1), 0
		for ; ; pages++ {
			ids := listUsers(t, s, admin, fmt.Sprintf(body, pages+1))
			if len(ids) == 0 {
				break
			}
			for _, id := range ids {
				if id != next {
					t.Fatalf("page %d has user %d, want %d", pages+1, id, next)
				}
				next++
			}
		}
		if pages != c.pages || next != many+1 {
			t.Errorf("%s: %d pages, up to user %d", body, pages, next-1)
		}
	}
}
