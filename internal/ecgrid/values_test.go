// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"strings"
	"testing"
)

// mostUsers is how many users a list must be able to hold.
const mostUsers = 100_000

// The limit of the memory suffices for that many users with long texts, and is not far above.
func TestListMemorySuffices(t *testing.T) {
	t.Parallel()
	users := Users{Limit: MaxListMemory}
	u := User{LoginName: strings.Repeat("x", 100), AuthLevel: "NetworkAdmin", Status: "Preproduction"}
	for i := range mostUsers {
		u.UserID = int32(i + 1)
		if !users.Add(u) {
			t.Fatalf("user %d is too many", i+1)
		}
	}
	all := users.All()
	if len(all) != mostUsers {
		t.Fatalf("%d users", len(all))
	}
	for i, got := range all {
		if got.UserID != int32(i+1) {
			t.Fatalf("user %d is at %d", got.UserID, i)
		}
	}
	for range mostUsers {
		if !users.Add(u) {
			return
		}
	}
	t.Error("the list has no limit")
}

func TestOneWord(t *testing.T) {
	t.Parallel()
	const key = "Ab-1_{}=+/.~ключ"
	for text, want := range map[string]string{
		key: key, " \r\n\t" + key + "\t\n\r ": key, "": "", " \n": "",
		"a b": "refused", "a\tb": "refused", "a\r\nX-Header: b": "refused", "a\x7f": "refused", "a\u0085": "refused",
		"a\u00a0b": "refused", "a\u2028b": "refused", "a\u200bb": "refused", "\ufeffa": "refused", "a\u202eb": "refused",
		"a\ufffdb": "refused", "a\xffb": "refused", "a\x00": "refused",
	} {
		got, ok := OneWord(text)
		if !ok {
			if got != "" {
				t.Errorf("%q: got %q", text, got)
			}
			got = "refused"
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestEnumValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"Active": "Active", "\n Active\t": "Active", "New One": "New One", "": "", "active": "active"} {
		if got := EnumValue(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
