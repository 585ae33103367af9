// SPDX-License-Identifier: MPL-2.0

package simulator_test

import (
	"net/http"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

// accessUsers has a user of each AuthLevel. netops and othernet are in other networks.
func accessUsers() []simulator.User {
	return []simulator.User{
		{UserID: 1, LoginName: "netops", AuthLevel: "NetOps", NetworkID: 9},
		{UserID: 2, LoginName: "netadmin", AuthLevel: "NetworkAdmin", NetworkID: 1},
		{UserID: 3, LoginName: "netuser", AuthLevel: "NetworkUser", NetworkID: 1},
		{UserID: 4, LoginName: "boxadmin", AuthLevel: "MailboxAdmin", NetworkID: 1, MailboxID: 7},
		{UserID: 5, LoginName: "boxuser", AuthLevel: "MailboxUser", NetworkID: 1, MailboxID: 7},
		{UserID: 6, LoginName: "otherbox", AuthLevel: "MailboxUser", NetworkID: 1, MailboxID: 8},
		{UserID: 7, LoginName: "othernet", AuthLevel: "MailboxUser", NetworkID: 2, MailboxID: 7},
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{Users: accessUsers()})
	for actor, reach := range map[int32]string{1: "1234567", 2: "23456", 3: "3", 4: "45", 5: "5", 7: "7"} {
		key := user(t, s, actor).APIKey
		for target := int32(1); target <= 7; target++ {
			for _, op := range []string{"UserGetAPIKey", "UserInfo"} {
				a := soapCall(s, op, "SessionID", key, "UserID", decimal(target))
				if allowed := strings.Contains(reach, decimal(target)); allowed != (a.status == http.StatusOK) {
					t.Errorf("%s by %d of %d: HTTP %d", op, actor, target, a.status)
				} else if !allowed {
					wantRefused(t, a, "AccessDenied")
				}
			}
		}
		if n := strings.Count(soapCall(s, "UserList", "SessionID", key).body, "<UserIDInfo>"); n != len(reach) {
			t.Errorf("UserList by %d has %d users, want %d", actor, n, len(reach))
		}
		wantRefused(t, soapCall(s, "UserGetAPIKey", "SessionID", key, "UserID", "4711"), "NotFound")
	}
	low := user(t, s, 5).APIKey
	before := user(t, s, 6)
	wantRefused(t, soapCall(s, "GenerateAPIKey", "SessionID", low, "UserID", "6"), "AccessDenied")
	wantRefused(t, soapCall(s, "UserReset", "SessionID", low, "UserID", "6"), "AccessDenied")
	if user(t, s, 6) != before {
		t.Error("a denied operation was applied")
	}
}

func TestUserGetAPIKey(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	key := user(t, s, simulator.AdminUserID).APIKey
	if got := result(t, s, "UserGetAPIKey", "SessionID", key, "UserID", "5001"); got != user(t, s, 5001).APIKey || got == "" {
		t.Error("not user 5001's key")
	}
	a := soapCall(s, "UserGetAPIKey", "SessionID", key, "UserID", "5003")
	if _, there := a.text("UserGetAPIKeyResult"); a.status != http.StatusOK || there {
		t.Errorf("a user without a key: HTTP %d, result element present: %v", a.status, there)
	}
}

func TestGenerateAPIKey(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID).APIKey
	old := user(t, s, simulator.UserID5001).APIKey
	result(t, s, "WhoAmI", "SessionID", old)
	fresh := result(t, s, "GenerateAPIKey", "SessionID", admin, "UserID", "5001")
	if fresh == old || result(t, s, "UserGetAPIKey", "SessionID", admin, "UserID", "5001") != fresh {
		t.Error("the new key is not the user's")
	}
	result(t, s, "WhoAmI", "SessionID", fresh)
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", old), "SessionTimeout")
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	const good = "Good&<1 pass"
	for name, c := range map[string]struct{ old, new, refused string }{
		"good":          {"", good, ""},
		"wrong old":     {"wrong", good, "AccessDenied"},
		"short":         {"", "Aa1-567", "InvalidDataType"},
		"no lower case": {"", "AAAAAA1-", "InvalidDataType"},
		"no upper case": {"", "aaaaaa1-", "InvalidDataType"},
		"no digit":      {"", "aaaaaaA-", "InvalidDataType"},
		"no other":      {"", "aaaaaaA1", "InvalidDataType"},
		"empty":         {"", "", "InvalidDataType"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSim(t, simulator.Options{})
			id, before := login(t, s, simulator.AdminUserID), user(t, s, simulator.AdminUserID)
			old := c.old
			if old == "" {
				old = before.Password
			}
			a := soapCall(s, "ChangePassword", "SessionID", id, "OldPassword", old, "NewPassword", c.new)
			now, gone := c.new, before.Password
			if c.refused != "" {
				wantRefused(t, a, c.refused)
				now, gone = before.Password, c.new
			} else if ok, _ := a.text("ChangePasswordResult"); ok != "true" {
				t.Errorf("HTTP %d, result %q", a.status, ok)
			}
			if a := tryLogin(s, before.LoginName, now); a.status != http.StatusOK {
				t.Errorf("login with what should be the password: HTTP %d", a.status)
			}
			wantRefused(t, tryLogin(s, before.LoginName, gone), "AccessDenied")
		})
	}
}

func TestUserReset(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{LockoutAfter: 2})
	low := user(t, s, simulator.LowUserID)
	id := login(t, s, simulator.LowUserID)
	tryLogin(s, low.LoginName, "wrong")
	admin := login(t, s, simulator.AdminUserID)
	if got := result(t, s, "UserReset", "SessionID", admin, "UserID", "1002"); got != "true" {
		t.Errorf("result %q", got)
	}
	wantRefused(t, soapCall(s, "WhoAmI", "SessionID", id), "SessionTimeout")
	result(t, s, "WhoAmI", "SessionID", admin)
	tryLogin(s, low.LoginName, "wrong")
	if user(t, s, simulator.LowUserID).LockedOut {
		t.Error("refused logins from before the reset still count")
	}
}

func TestUserListName(t *testing.T) {
	t.Parallel()
	s := newSim(t, simulator.Options{})
	key := user(t, s, simulator.AdminUserID).APIKey
	for name, want := range map[string]int{"": 5, "SIM-500": 2, "zoë": 1, "nobody": 0, "foreign": 0} {
		if n := strings.Count(soapCall(s, "UserList", "SessionID", key, "Name", name).body, "<UserIDInfo>"); n != want {
			t.Errorf("%q: %d users, want %d", name, n, want)
		}
	}
}

func TestUserInfo(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := newSim(t, simulator.Options{Clock: c.Now})
	key := user(t, s, simulator.AdminUserID).APIKey
	login(t, s, simulator.LowUserID)
	a := soapCall(s, "UserInfo", "SessionID", key, "UserID", "1002")
	for name, want := range map[string]string{
		"UserID": "1002", "LoginName": simulator.LowLogin, "NetworkID": "100", "MailboxID": "200", "AuthLevel": "MailboxUser",
		"Status": "Active", "LockedOut": "false", "OpenSessions": "1", "LastLogin": "2026-01-02T03:04:05.12",
	} {
		if got, _ := a.text(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got, _ := soapCall(s, "UserInfo", "SessionID", key, "UserID", "5001").text("LastLogin"); got != "0001-01-01T00:00:00" {
		t.Errorf("LastLogin without a login is %q, not .NET's zero value", got)
	}
}

func TestDefaultUsers(t *testing.T) {
	t.Parallel()
	one, two := simulator.DefaultUsers(), simulator.DefaultUsers()
	s := newSim(t, simulator.Options{})
	admin := user(t, s, simulator.AdminUserID)
	if one[0].Password == two[0].Password || !strings.ContainsAny(admin.Password, "&") || !strings.Contains(admin.Password, "<") || strings.ContainsAny(admin.Password, "\"\\'\n") {
		t.Error("the administrator's password is not random, needs no XML escaping, or is hard to quote")
	}
	keys := map[string]bool{}
	for _, u := range s.Users() {
		if !simulator.PasswordAllowed(u.Password) {
			t.Errorf("user %d: the password does not meet ECGrid's rule", u.UserID)
		}
		if keys[u.APIKey] || (u.APIKey == "") != (u.UserID == simulator.KeylessUserID) {
			t.Errorf("user %d: its key is not its own, or missing, or should be", u.UserID)
		}
		keys[u.APIKey] = true
	}
}

func TestValidateUsers(t *testing.T) {
	t.Parallel()
	ok := simulator.User{UserID: 1, LoginName: "a", APIKey: "canary-key", Password: "canary-password"}
	other := simulator.User{UserID: 2, LoginName: "b"}
	for name, c := range map[string]struct {
		change func(*simulator.User)
		wrong  string
	}{
		"fine":         {func(*simulator.User) {}, ""},
		"no id":        {func(u *simulator.User) { u.UserID = 0 }, "user_id must be"},
		"same id":      {func(u *simulator.User) { u.UserID = 2 }, "user_id 2 is given twice"},
		"no login":     {func(u *simulator.User) { u.LoginName = "" }, "login_name is missing"},
		"same login":   {func(u *simulator.User) { u.LoginName = "B" }, `login_name "B" is given twice`},
		"same key":     {func(u *simulator.User) { u.APIKey = "other's" }, "api_key is another user's"},
		"key and none": {func(u *simulator.User) { u.NoAPIKey = true }, "api_key and no_api_key exclude each other"},
		"auth level":   {func(u *simulator.User) { u.AuthLevel = "admin" }, `auth_level "admin" is not one of NoChange, Root`},
		"status":       {func(u *simulator.User) { u.Status = "active" }, `status "active" is not one of Development`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, o := ok, other
			o.APIKey = "other's"
			c.change(&u)
			_, err := simulator.New(simulator.Options{Users: []simulator.User{o, u}})
			if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), "user 2: "+c.wrong)) {
				t.Fatalf("got %v, want %q", err, c.wrong)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the error holds a credential")
			}
		})
	}
	if _, err := simulator.New(simulator.Options{Users: []simulator.User{}}); err == nil {
		t.Error("an empty list was accepted")
	}
}
