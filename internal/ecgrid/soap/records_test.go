// SPDX-License-Identifier: MPL-2.0

package soap

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestRecords(t *testing.T) {
	t.Parallel()
	set := func(field, value string) string {
		head, rest, ok := strings.Cut(userInfo, "<"+field+">")
		_, tail, ok2 := strings.Cut(rest, "</"+field+">")
		if !ok || !ok2 {
			t.Fatalf("no field %s", field)
		}
		return head + value + tail
	}
	full := func(field, value string) string { return set(field, "<"+field+">"+value+"</"+field+">") }
	but := func(change func(*ecgrid.User)) ecgrid.User {
		u := jo
		change(&u)
		return u
	}
	for name, test := range map[string]struct {
		record string
		want   ecgrid.User
	}{
		"complete":         {userInfo, jo},
		"plus and space":   {full("UserID", "\n +5001 "), jo},
		"zeros":            {full("NetworkID", "007"), jo},
		"smallest":         {full("MailboxID", "-2147483648"), but(func(u *ecgrid.User) { u.MailboxID = -2147483648 })},
		"not locked":       {full("LockedOut", "0"), but(func(u *ecgrid.User) { u.LockedOut = false })},
		"locked, 1":        {full("LockedOut", " 1 "), jo},
		"nil locked":       {set("LockedOut", `<LockedOut xsi:nil="1"/>`), but(func(u *ecgrid.User) { u.LockedOut = false })},
		"no name":          {set("LoginName", ""), but(func(u *ecgrid.User) { u.LoginName = "" })},
		"nil name":         {set("LoginName", `<LoginName xsi:nil="true"/>`), but(func(u *ecgrid.User) { u.LoginName = "" })},
		"new status":       {full("Status", "Retired"), but(func(u *ecgrid.User) { u.Status = "Retired" })},
		"space, status":    {full("Status", "\n\tActive "), jo},
		"extra":            {userInfo + "<New><UserID>1</UserID></New><UserID xmlns='urn:x'>1</UserID>", jo},
		"other order":      {"<LockedOut>true</LockedOut>" + set("LockedOut", ""), jo},
		"any date":         {full("Created", canaryUpstream), jo},
		"no user ID":       {set("UserID", ""), ecgrid.User{}},
		"nil user ID":      {set("UserID", `<UserID xsi:nil="true"/>`), ecgrid.User{}},
		"empty user ID":    {full("UserID", ""), ecgrid.User{}},
		"user ID twice":    {userInfo + "<UserID>5001</UserID>", ecgrid.User{}},
		"text as ID":       {full("UserID", canaryUpstream), ecgrid.User{}},
		"too large an ID":  {full("UserID", "2147483648"), ecgrid.User{}},
		"hexadecimal":      {full("UserID", "0x10"), ecgrid.User{}},
		"underscore":       {full("UserID", "5_001"), ecgrid.User{}},
		"float":            {full("UserID", "5001.0"), ecgrid.User{}},
		"two signs":        {full("UserID", "+-5"), ecgrid.User{}},
		"wide space":       {full("UserID", "\u00a05001"), ecgrid.User{}},
		"no network":       {set("NetworkID", ""), ecgrid.User{}},
		"no mailbox":       {set("MailboxID", ""), ecgrid.User{}},
		"neither":          {full("LockedOut", "maybe"), ecgrid.User{}},
		"element in field": {full("LoginName", "<b>jo</b>"), ecgrid.User{}},
		"text between":     {userInfo + canaryUpstream, ecgrid.User{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := "<UserListResult><UserIDInfo>" + test.record + "</UserIDInfo></UserListResult>"
			got, err := serve(t, respondWith(200, response("UserList", list))).UserList(t.Context(), session)
			if test.want == (ecgrid.User{}) {
				wantFailure(t, err, ecgrid.ErrBadAnswer)
			} else if err != nil || !slices.Equal(got, []ecgrid.User{test.want}) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

// Each integer field of SessionInfo must be present and valid.
func TestSessionRecord(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"UserID", "OpenSessions", "TimeOut", "NetworkID", "MailboxID"} {
		head, rest, _ := strings.Cut(sessionInfo, "<"+field+">")
		_, tail, _ := strings.Cut(rest, "</"+field+">")
		for _, value := range []string{"", "<" + field + ">99999999999</" + field + ">"} {
			c := serve(t, respondWith(200, response("WhoAmI", "<WhoAmIResult>"+head+value+tail+"</WhoAmIResult>")))
			_, err := c.WhoAmI(t.Context(), session)
			wantFailure(t, err, ecgrid.ErrBadAnswer)
		}
	}
	for _, short := range []string{"32768", "-32769"} {
		if parseInt(short, new(int16)) {
			t.Errorf("%s is accepted as an xs:short", short)
		}
	}
}

func TestUserLists(t *testing.T) {
	t.Parallel()
	entry := "<UserIDInfo>" + userInfo + "</UserIDInfo>"
	for name, test := range map[string]struct {
		list string
		want int // -1: refused
	}{
		"none":          {"", 0},
		"one":           {entry, 1},
		"two":           {entry + "\n" + entry, 2},
		"nil between":   {entry + `<UserIDInfo xsi:nil="true" />` + entry, 2},
		"nil alone":     {`<UserIDInfo xsi:nil="true"/>`, 0},
		"full nil":      {`<UserIDInfo xsi:nil="true">` + userInfo + `</UserIDInfo>`, -1},
		"other entry":   {entry + "<Other>x</Other>", -1},
		"other alone":   {"<Other/>", -1},
		"foreign entry": {entry + `<UserIDInfo xmlns="urn:x"/>`, -1},
		"foreign alone": {`<UserIDInfo xmlns="urn:x">` + userInfo + `</UserIDInfo>`, -1},
		"empty entry":   {entry + "<UserIDInfo/>", -1},
		"half good":     {entry + "<UserIDInfo><UserID>x</UserID></UserIDInfo>", -1},
		"text":          {entry + canaryUpstream, -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, respondWith(200, response("UserList", "<UserListResult>"+test.list+"</UserListResult>")))
			users, err := c.UserList(t.Context(), session)
			if test.want < 0 {
				wantFailure(t, err, ecgrid.ErrBadAnswer)
				if users != nil {
					t.Error("got an incomplete list")
				}
				return
			}
			if err != nil || len(users) != test.want {
				t.Errorf("got %v, %v", users, err)
			}
			for _, u := range users {
				if u != jo {
					t.Errorf("got %+v", u)
				}
			}
		})
	}
}

// A key or SessionID is one word. White space around it is formatting; inside, it is malformed.
func TestCredentialsAreOneWord(t *testing.T) {
	t.Parallel()
	const key = "Ab-1_{}=+/.~"
	for name, test := range map[string]struct {
		text string
		kind error
	}{
		"as it is":         {key, nil},
		"blanks around":    {"  " + key + " ", nil},
		"lines around":     {"\r\n\t" + key + "\n", nil},
		"escaped around":   {"&#13;&#10;&#9;" + key + "&#13;", nil},
		"not ASCII":        {"ключ-" + key, nil},
		"blank within":     {"a " + key, ecgrid.ErrBadAnswer},
		"tab within":       {"a\t" + key, ecgrid.ErrBadAnswer},
		"LF within":        {"a\n" + key, ecgrid.ErrBadAnswer},
		"CR within":        {"a&#13;" + key, ecgrid.ErrBadAnswer},
		"CRLF within":      {key + "&#13;&#10;X-Header: a", ecgrid.ErrBadAnswer},
		"DEL":              {key + "&#127;", ecgrid.ErrBadAnswer},
		"C1":               {key + "&#x9b;", ecgrid.ErrBadAnswer},
		"NEL around":       {key + "&#x85;", ecgrid.ErrBadAnswer},
		"NBSP within":      {"a&#xa0;" + key, ecgrid.ErrBadAnswer},
		"NBSP alone":       {"&#xa0;", ecgrid.ErrBadAnswer},
		"line separator":   {"a&#x2028;" + key, ecgrid.ErrBadAnswer},
		"zero width":       {"a&#x200b;" + key, ecgrid.ErrBadAnswer},
		"byte order mark":  {"&#xfeff;" + key, ecgrid.ErrBadAnswer},
		"right to left":    {"a&#x202e;" + key, ecgrid.ErrBadAnswer},
		"blanks":           {" \r\n\t&#13; ", ecgrid.ErrEmptyResult},
		"sentence":         {canaryUpstream + " is down for maintenance", ecgrid.ErrBadAnswer},
		"blank in CDATA":   {"<![CDATA[a b]]>", ecgrid.ErrBadAnswer},
		"comment in a key": {"Ab-1_{}<!-- x -->=+/.~", nil},
	} {
		want := key
		if name == "not ASCII" {
			want = "ключ-" + key
		}
		for _, op := range allOps {
			switch op.name {
			case "Login", "UserGetAPIKey", "GenerateAPIKey":
			default:
				continue
			}
			t.Run(op.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				result := "<" + op.name + "Result>" + test.text + "</" + op.name + "Result>"
				var calls atomic.Int32
				c := serve(t, func(w http.ResponseWriter, r *http.Request) {
					calls.Add(1)
					respondWith(200, response(op.name, result))(w, r)
				})
				got, err := op.call(t.Context(), c)
				if calls.Load() != 1 {
					t.Errorf("%d calls", calls.Load())
				}
				if test.kind == nil {
					if err != nil || got != want {
						t.Errorf("wrong credential, %v", err)
					}
					return
				}
				if e := wantFailure(t, err, test.kind); !e.Sent || got != "" {
					t.Errorf("got %+v", e)
				}
			})
		}
	}
}
