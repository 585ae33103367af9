// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// TestManyUsers has 100,000 users with a session each. Code that is quadratic, or searches
// all users for one, runs into the test's timeout.
func TestManyUsers(t *testing.T) {
	t.Parallel()
	const many = 100_000
	users := []simulator.User{{UserID: 1, LoginName: "admin", Password: "the password", NetworkID: 1, AuthLevel: "NetworkAdmin"}}
	for id := int32(2); id <= many; id++ {
		users = append(users, simulator.User{UserID: id, LoginName: fmt.Sprint("user", id), Password: "p", APIKey: fmt.Sprint("key", id), NetworkID: 1})
	}
	s := newSim(t, simulator.Options{Users: users, SessionCap: 1})
	for id := int32(2); id <= many; id++ {
		s.FillSessions(id)
	}
	id := login(t, s, 1)
	for n := int32(2); n <= 5_000; n++ {
		if a := tryLogin(s, "none", "p"); a.status != http.StatusInternalServerError {
			t.Fatalf("HTTP %d", a.status)
		}
	}
	a := soapCall(s, "UserList", "SessionID", id)
	if n := strings.Count(a.body, "<UserIDInfo>"); a.status != http.StatusOK || n != many {
		t.Errorf("HTTP %d, %d users", a.status, n)
	}
	if n := strings.Count(a.body, "<OpenSessions>1</OpenSessions>"); n != many {
		t.Errorf("%d users with a session, want all", n)
	}
	if n := s.KillSessions(0); n != many {
		t.Errorf("%d sessions killed, want all", n)
	}
}
