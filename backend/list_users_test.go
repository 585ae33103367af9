// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// The users are sorted. Duplicates and invalid UserIDs are left out.
func TestListUsers(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.users = []ecgrid.User{{UserID: 20}, {UserID: 3}, {UserID: 20}, {UserID: 0}, {UserID: -4}, {UserID: 100}}
		users, err := e.ListUsers(t.Context())
		check(t, err)
		var ids []int32
		for _, u := range users {
			ids = append(ids, u.UserID)
		}
		if len(ids) != 3 || ids[0] != 3 || ids[1] != 20 || ids[2] != 100 {
			t.Errorf("got users %v, want 3, 20 and 100", ids)
		}
	})
}
