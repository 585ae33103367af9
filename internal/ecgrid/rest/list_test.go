// SPDX-License-Identifier: MPL-2.0

package rest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// pager is a server with n users. The documentation leaves open what it does with a page
// that is too large, and with a page past the end.
type pager struct {
	n       int
	largest int                        // 0: any size
	refuses bool                       // too large a page with 400; else it gives fewer
	pastEnd func(page []string) string // nil: an empty page
	calls   int
}

func (p *pager) serve(w http.ResponseWriter, r *http.Request) {
	p.calls++
	request := struct{ PageNo, RecordsPerPage int }{1, 25}
	if json.NewDecoder(r.Body).Decode(&request) != nil || r.Method+r.URL.Path != "POST/v2/users/list" {
		http.Error(w, "", http.StatusTeapot)
		return
	}
	size := request.RecordsPerPage
	if p.largest > 0 && size > p.largest {
		if p.refuses {
			respondWith(400, refusal("InvalidParameter"))(w, r)
			return
		}
		size = p.largest
	}
	first := (request.PageNo - 1) * size
	if first >= p.n && request.PageNo > 1 && p.pastEnd != nil {
		body := p.pastEnd(p.users((p.n-1)/size*size, p.n))
		status := 200
		if strings.Contains(body, "ObjectNotFound") {
			status = 404
		} else if strings.Contains(body, "InvalidParameter") {
			status = 400
		}
		respondWith(status, body)(w, r)
		return
	}
	respondWith(200, success("["+strings.Join(p.users(first, min(first+size, p.n)), ",")+"]"))(w, r)
}

func (p *pager) users(from, to int) (users []string) {
	for id := from + 1; id <= to; id++ {
		users = append(users, fmt.Sprintf(`{"userId":%d,"login":"user-%d","networkId":1,"mailboxId":0,"authLevel":"MailboxUser","status":"Active"}`, id, id))
	}
	return users
}

// The list is complete, however ECGrid ends it.
func TestUserList(t *testing.T) {
	t.Parallel()
	ends := map[string]func([]string) string{
		"empty":      nil,
		"null":       func([]string) string { return success("null") },
		"repeated":   func(last []string) string { return success("[" + strings.Join(last, ",") + "]") },
		"not found":  func([]string) string { return refusal("ObjectNotFound") },
		"refused":    func([]string) string { return refusal("InvalidParameter") },
		"no members": func([]string) string { return `{"success":true}` },
	}
	sizes := map[string]pager{
		"any size": {}, "cut to 25": {largest: 25}, "cut to 200": {largest: 200},
		"refused above 25": {largest: 25, refuses: true}, "refused above 100": {largest: 100, refuses: true},
	}
	for end, pastEnd := range ends {
		for size, p := range sizes {
			for _, n := range []int{0, 1, 24, 25, 26, 100, 999, 1000, 1001, 2000} {
				t.Run(fmt.Sprintf("%s/%s/%d", end, size, n), func(t *testing.T) {
					t.Parallel()
					p := p
					p.n, p.pastEnd = n, pastEnd
					c := connect(t, p.serve)
					users, err := c.UserList(t.Context(), byToken)
					if err != nil || len(users) != n {
						t.Fatalf("got %d users, %v, want %d", len(users), err, n)
					}
					for i, u := range users {
						if u.UserID != int32(i+1) || u.LoginName != fmt.Sprintf("user-%d", i+1) || u.AuthLevel != "MailboxUser" || u.Status != "Active" {
							t.Fatalf("user %d is %+v", i, u)
						}
					}
				})
			}
		}
	}
}

func TestLongUserList(t *testing.T) {
	t.Parallel()
	p := pager{n: 100_000}
	c := connect(t, p.serve)
	users, err := c.UserList(t.Context(), byToken)
	if err != nil || len(users) != p.n || p.calls > 101 {
		t.Errorf("%d users, %v, %d calls", len(users), err, p.calls)
	}
}

// ECGrid may leave out users whom the credential cannot see after it has cut the pages.
func TestShortPageInTheMiddle(t *testing.T) {
	t.Parallel()
	pages := map[int]string{1: `[{"userId":1},{"userId":2}]`, 2: `[{"userId":3}]`, 3: `[{"userId":4},{"userId":5}]`}
	c := connect(t, func(w http.ResponseWriter, r *http.Request) {
		var request struct{ PageNo int }
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		respondWith(200, success(cmp.Or(pages[request.PageNo], "[]")))(w, r)
	})
	if users, err := c.UserList(t.Context(), byToken); len(users) != 5 {
		t.Errorf("%d users, %v", len(users), err)
	}
}

// A list that cannot be read whole is an error, and never a part of the list.
func TestBrokenUserList(t *testing.T) {
	t.Parallel()
	page := func(n int) string { return success("[" + strings.Join((&pager{}).users(0, n), ",") + "]") }
	for name, test := range map[string]struct {
		second string
		status int
		kind   error
	}{
		"server error":  {refusal("InternalError"), 500, ecgrid.ErrServerFault},
		"denied":        {refusal("AccessDenied"), 403, ecgrid.ErrAccessDenied},
		"dead session":  {refusal("InvalidSession"), 401, ecgrid.ErrSessionExpired},
		"HTML":          {"<html></html>", 200, ecgrid.ErrBadAnswer},
		"truncated":     {page(3)[:100], 200, ecgrid.ErrBadAnswer},
		"no UserID":     {success(`[{"login":"x"}]`), 200, ecgrid.ErrBadAnswer},
		"UserID text":   {success(`[{"userId":"1"}]`), 200, ecgrid.ErrBadAnswer},
		"UserID large":  {success(`[{"userId":2147483648}]`), 200, ecgrid.ErrBadAnswer},
		"UserID broken": {success(`[{"userId":1.5}]`), 200, ecgrid.ErrBadAnswer},
		"a null":        {success(`[null]`), 200, ecgrid.ErrBadAnswer},
		"a list":        {success(`[[]]`), 200, ecgrid.ErrBadAnswer},
		"an object":     {success(`{"users":[]}`), 200, ecgrid.ErrBadAnswer},
		"field twice":   {success(`[{"userId":1,"userId":2}]`), 200, ecgrid.ErrBadAnswer},
		"huge":          {success(`["` + strings.Repeat("x", maxPageBody) + `"]`), 200, ecgrid.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			c := connect(t, func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					respondWith(200, page(10))(w, r)
					return
				}
				respondWith(test.status, test.second)(w, r)
			})
			users, err := c.UserList(t.Context(), byToken)
			wantFailure(t, err, test.kind)
			if len(users) > 0 {
				t.Error("a part of the list")
			}
		})
	}
}

// A server that always has a next page is not followed for ever.
func TestEndlessUserList(t *testing.T) {
	t.Parallel()
	const pages = 50
	for name, test := range map[string]struct{ size, name, most int }{
		"large": {1000, 1000, ecgrid.MaxListMemory/1000 + 1000},
		"small": {1, 1, pages + 1},
	} {
		next := 0
		login := strings.Repeat("n", test.name)
		c := connect(t, func(w http.ResponseWriter, r *http.Request) {
			users := make([]string, test.size)
			for i := range users {
				next++
				users[i] = fmt.Sprintf(`{"userId":%d,"login":"%s"}`, next, login)
			}
			respondWith(200, success("["+strings.Join(users, ",")+"]"))(w, r)
		})
		_, err := c.list(t.Context(), byToken, pages)
		wantFailure(t, err, ecgrid.ErrBadAnswer)
		if next > test.most {
			t.Errorf("%s pages: %d users were read", name, next)
		}
	}
}
