// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestPolicyOfOneUser(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	team := m.withRules(t, fmt.Sprintf(`path %q { capabilities = ["read"] }`, m.at("keys/5001")))

	if out, code := team.cli("read", m.at("keys/5001")); code != 0 {
		t.Errorf("the team's own key: %s", out)
	}
	if _, code := team.cli("read", m.at("keys/5002")); code == 0 {
		t.Error("another user's key can be read")
	}
	team.wantStatus(t, http.StatusForbidden, http.MethodGet, m.at("keys/5002"), nil)
	for _, p := range []string{"keys", "config", "status", "info", "metrics"} {
		team.wantStatus(t, http.StatusForbidden, http.MethodGet, m.at(p), nil)
	}
	if n := m.Count("UserGetAPIKey"); n != 1 {
		t.Errorf("ECGrid was asked for %d keys, want 1", n)
	}
}

// A deny on keys/5001 covers the user: no other spelling of the path reads the key.
func TestDenyHoldsForEverySpelling(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	guest := m.withRules(t, fmt.Sprintf(`
path %q { capabilities = ["read", "list", "create", "update", "patch", "sudo"] }
path %q { capabilities = ["deny"] }`, m.at("keys/*"), m.at("keys/5001")))

	if a := guest.ok(t, http.MethodGet, m.at("keys/5002"), nil); a.Data["api_key"] != m.key(simulator.UserID5002) {
		t.Fatal("the policy allows nothing, so the test would prove nothing")
	}
	key := m.key(simulator.UserID5001)
	for _, spelling := range spellingsOf5001 {
		for _, method := range []string{http.MethodGet, http.MethodPost, "LIST"} {
			a, err := guest.do(method, m.at("keys")+"/"+spelling, nil)
			if err != nil {
				continue // not a valid URL
			}
			if strings.Contains(string(a.Body), key) {
				t.Errorf("%s keys/%s gives the key of 5001", method, spelling)
			}
			if a.Status == http.StatusOK && method == http.MethodGet && !strings.HasPrefix(spelling, "?") {
				t.Errorf("%s keys/%s reads a key: %s", method, spelling, a.Body)
			}
		}
	}
	for _, spelling := range []string{"5001", "05001", "+5001", " 5001", "5001 ", "0x1389", "5001/", "/5001", "%35001", "5001.0"} {
		out, code := guest.cli("read", m.at("keys")+"/"+spelling)
		if code == 0 || strings.Contains(out, key) {
			t.Errorf("vault read keys/%s works", spelling)
		}
	}
	asked := 0
	for _, call := range m.Calls() {
		if call.Op == "UserGetAPIKey" {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("ECGrid was asked %d times, want once, for 5002", asked)
	}
}

// spellingsOf5001 are sent as they are in the URL.
var spellingsOf5001 = []string{
	"5001", "5001?x=1", "5001?user_id=5002", "5001/", "5001//", "/5001", "//5001", "./5001", "../keys/5001", "x/../5001", "5001/.", "5001/..", "5001/../5001",
	"%2e/5001", "%2F5001", "5001%2F", "5001%2F.", "%35001", "%35%30%30%31", "%2535001",
	"05001", "005001", "00000000000000005001", "+5001", "%2B5001", "-5001", "--5001", "%205001", "5001%20", "5001+", "5001%09", "5001%0A", "5001%0D%0A", "5001%00", "%005001", "50%0001",
	"5001%C2%A0", "%E2%80%8B5001", "5001%E2%80%8B", "%EF%BB%BF5001",
	"5001.0", "5001.", "5001.00", "5,001", "5_001", "5001e0", "5.001e3", "50.01e2", "0x1389", "0X1389", "0o11611", "011611", "0b1001110001001", "1389h", "5001L", "5001n",
	"4294972297", "18446744073709556617", "-4294962295",
	"\u0665\u0660\u0660\u0661", "\uff15\uff10\uff10\uff11", "\u096b\u0966\u0966\u0967", "5001\u0301", "\u2460",
	"5001;", "5001,", "5001;5002", "5001,5002", "5002,5001", "5001%23", "5001%3Fx", "%225001%22", "'5001'", "[5001]", "(5001)", "%7B5001%7D", "$5001", "=5001", "*", "500*", "5001*",
	"?user_id=5001", "5002/../5001", "5002%2F..%2F5001", "5002%00/../5001",
}

// Only the path selects the user.
func TestQueryCannotNameAnotherUser(t *testing.T) {
	t.Parallel()
	m := configuredMount(t, sharedVault(t), nil)
	team := m.withRules(t, fmt.Sprintf(`path %q { capabilities = ["read", "update", "create"] }`, m.at("keys/5002")))
	for _, query := range []string{"?user_id=5001", "?user_id=5001&user_id=5002", "?id=5001"} {
		a, err := team.do(http.MethodGet, m.at("keys/5002")+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(a.Body), m.key(simulator.UserID5001)) {
			t.Errorf("keys/5002%s gives the key of 5001", query)
		}
	}
	a, err := team.do(http.MethodGet, m.at("keys/5002"), fields{"user_id": "5001"})
	if err != nil || strings.Contains(string(a.Body), m.key(simulator.UserID5001)) {
		t.Errorf("a body with user_id gives the key of 5001 (%v)", err)
	}
}
