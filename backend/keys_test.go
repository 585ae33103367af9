package backend

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestParseUserID(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]int32{
		"1": 1, "5001": 5001, "2147483647": 2147483647,
		"0": 0, "-1": 0, "+5001": 0, "05001": 0, " 5001": 0, "5001 ": 0, "5001/": 0, "0x1389": 0,
		"5_001": 0, "5e3": 0, "5001.0": 0, "2147483648": 0, "99999999999999999999": 0, "": 0,
		"٥٠٠١": 0, "5001\x00": 0, "5001\n": 0, "five": 0,
	} {
		got, err := ParseUserID(s)
		if got != want || (err == nil) != (want != 0) || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
}

func FuzzParseUserID(f *testing.F) {
	for _, s := range []string{"5001", "05001", "+1", "", "2147483648", "٥"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseUserID(s); err == nil && strconv.Itoa(int(id)) != s {
			t.Errorf("%q was taken for user %d", s, id)
		}
	})
}

func TestOverlappingReadsShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f)
		atOnce(200, func(i int) {
			userID := int32(5001 + i%2)
			issued, err := e.IssueKey(t.Context(), userID, 0)
			if err != nil || issued.APIKey != f.keys[userID] {
				t.Errorf("user %d: wrong key or %v", userID, err)
			}
		})
		if f.count("Login") != 1 || f.count("UserGetAPIKey") != 2 {
			t.Errorf("%d logins, %d calls for 200 reads of 2 users", f.count("Login"), f.count("UserGetAPIKey"))
		}
		if _, err := e.IssueKey(t.Context(), 5001, 0); err != nil {
			t.Fatal(err)
		}
		if f.count("UserGetAPIKey") != 3 {
			t.Error("a later read was not asked of ECGrid")
		}
		e.Close()
	})
}

func TestKeyCache(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		e, _ := configured(t, f, func(c *Config) { c.KeyCacheTTL = time.Minute })
		read := func(want string) {
			t.Helper()
			issued, err := e.IssueKey(t.Context(), 5001, 0)
			if err != nil || issued.APIKey != want {
				t.Errorf("another key than expected, or %v", err)
			}
		}
		read("key-5001")
		f.setKey(5001, "new")
		read("key-5001")
		if f.count("UserGetAPIKey") != 1 {
			t.Error("the cache was not used")
		}
		time.Sleep(time.Minute)
		read("new")
		f.setKey(5001, "newer")
		if err := e.WriteConfig(t.Context(), ConfigPatch{TTL: ptr(time.Hour)}, noManager{}); err != nil {
			t.Fatal(err)
		}
		read("newer")
		e.Close()
	})
}

func TestReadRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		userID int32
		fail   error
		want   error
	}{
		{9, nil, ecgrid.ErrNotFound},
		{6000, nil, ErrNoKey},
		{5001, ecgrid.ErrAccessDenied, ecgrid.ErrAccessDenied},
		{5001, ecgrid.ErrTimeout, ecgrid.ErrTimeout},
		{5001, ecgrid.ErrBadAnswer, ecgrid.ErrBadAnswer},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake()
			f.setKey(6000, "")
			f.failWith("UserGetAPIKey", tt.fail)
			e, _ := configured(t, f)
			if _, err := e.IssueKey(t.Context(), tt.userID, 0); !errors.Is(err, tt.want) {
				t.Errorf("user %d: got %v, want %v", tt.userID, err, tt.want)
			}
			f.failWith("UserGetAPIKey", nil)
			if _, err := e.IssueKey(t.Context(), 5002, 0); err != nil {
				t.Errorf("the next read: %v", err)
			}
			e.Close()
		})
	}
}

// An empty SessionID is no user without a key.
func TestEmptySessionID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.failWith("Login", ecgrid.ErrEmptyResult)
		e, _ := configured(t, f)
		if _, err := e.IssueKey(t.Context(), 5001, 0); !errors.Is(err, ecgrid.ErrEmptyResult) || errors.Is(err, ErrNoKey) {
			t.Errorf("got %v", err)
		}
		e.Close()
	})
}

func TestListUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.users = []ecgrid.User{{UserID: 20}, {UserID: 3}, {UserID: 20}, {UserID: 0}, {UserID: -4}, {UserID: 100}}
		e, _ := configured(t, f)
		users, err := e.ListUsers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []int32
		for _, u := range users {
			ids = append(ids, u.UserID)
		}
		if len(ids) != 3 || ids[0] != 3 || ids[1] != 20 || ids[2] != 100 {
			t.Errorf("got %v", ids)
		}
		e.Close()
	})
}
