// SPDX-License-Identifier: MPL-2.0

package simulator

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Login names and IDs of DefaultUsers.
const (
	// AdminLogin is a NetworkAdmin of the default network.
	AdminLogin = "sim-admin"
	// LowLogin is a MailboxUser. It may read its own key only.
	LowLogin = "sim-mailbox-user"

	AdminUserID   = 1001
	LowUserID     = 1002
	UserID5001    = 5001
	UserID5002    = 5002
	KeylessUserID = 5003 // has no API key
	ForeignUserID = 6001 // is in another network
)

// User is an ECGridOS user (WSDL type UserIDInfo) with its credentials.
type User struct {
	UserID    int32  `json:"user_id"`
	LoginName string `json:"login_name"`
	// Password is random if it is "".
	Password string `json:"password,omitempty"`
	// APIKey is random if it is "" and NoAPIKey is false.
	APIKey    string `json:"api_key,omitempty"`
	NoAPIKey  bool   `json:"no_api_key,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Company   string `json:"company,omitempty"`
	EMail     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
	NetworkID int32  `json:"network_id,omitempty"`
	MailboxID int32  `json:"mailbox_id,omitempty"`
	// AuthLevel is a value of the WSDL's enumeration; "" is MailboxUser.
	AuthLevel string `json:"auth_level,omitempty"`
	// Status is a value of the WSDL's enumeration; "" is Active.
	Status    string `json:"status,omitempty"`
	LockedOut bool   `json:"locked_out,omitempty"`
}

// account is a User with its state.
type account struct {
	User
	created, modified, lastLogin time.Time
	refusedLogins                int // logins in a row
	openSessions                 int // SOAP sessions and REST tokens
}

// DefaultUsers have random credentials. The administrator's password contains & and <,
// which a client has to escape.
func DefaultUsers() []User {
	const network, foreign = 100, 900
	return []User{
		{UserID: AdminUserID, LoginName: AdminLogin, Password: "&<" + randomPassword(), FirstName: "Ada", LastName: "Admin", Company: "Simulated & Sons", EMail: "admin@example.com", NetworkID: network, AuthLevel: "NetworkAdmin"},
		{UserID: LowUserID, LoginName: LowLogin, FirstName: "Max", LastName: "Mailbox", EMail: "mailbox@example.com", NetworkID: network, MailboxID: 200, AuthLevel: "MailboxUser"},
		{UserID: UserID5001, LoginName: "sim-5001", FirstName: "Eve", LastName: "Exchange", EMail: "5001@example.com", NetworkID: network, MailboxID: 501, AuthLevel: "MailboxUser"},
		{UserID: UserID5002, LoginName: "sim-5002", FirstName: "Zoë", LastName: "Zulu", EMail: "5002@example.com", NetworkID: network, MailboxID: 502, AuthLevel: "MailboxUser"},
		{UserID: KeylessUserID, LoginName: "sim-keyless", EMail: "5003@example.com", NetworkID: network, MailboxID: 503, AuthLevel: "MailboxUser", NoAPIKey: true},
		{UserID: ForeignUserID, LoginName: "sim-foreign", EMail: "6001@example.com", NetworkID: foreign, MailboxID: 901, AuthLevel: "NetworkAdmin"},
	}
}

// ValidateUsers names wrong users by their position in the list. Its error contains no
// credential.
func ValidateUsers(users []User) error {
	if len(users) == 0 {
		return errors.New("no users: at least one is needed")
	}
	var errs []error
	ids, logins, keys := map[int32]bool{}, map[string]bool{}, map[string]bool{}
	for i, u := range users {
		bad := func(format string, a ...any) {
			errs = append(errs, fmt.Errorf("user %d: %s", i+1, fmt.Sprintf(format, a...)))
		}
		if u.UserID < 1 {
			bad("user_id must be a whole number of at least 1")
		}
		if u.LoginName == "" {
			bad("login_name is missing")
		}
		if ids[u.UserID] {
			bad("user_id %d is given twice", u.UserID)
		}
		if logins[strings.ToLower(u.LoginName)] {
			bad("login_name %q is given twice", u.LoginName)
		}
		if u.APIKey != "" && keys[u.APIKey] {
			bad("api_key is another user's")
		}
		if u.APIKey != "" && u.NoAPIKey {
			bad("api_key and no_api_key exclude each other")
		}
		if u.AuthLevel != "" && !slices.Contains(enums["AuthLevel"], u.AuthLevel) {
			bad("auth_level %q is not one of %s", u.AuthLevel, strings.Join(enums["AuthLevel"], ", "))
		}
		if u.Status != "" && !slices.Contains(enums["Status"], u.Status) {
			bad("status %q is not one of %s", u.Status, strings.Join(enums["Status"], ", "))
		}
		ids[u.UserID], logins[strings.ToLower(u.LoginName)], keys[u.APIKey] = true, true, true
	}
	return errors.Join(errs...)
}

func (s *Simulator) addUser(u User) {
	u.Password = cmp.Or(u.Password, randomPassword())
	u.AuthLevel = cmp.Or(u.AuthLevel, "MailboxUser")
	u.Status = cmp.Or(u.Status, "Active")
	if u.APIKey == "" && !u.NoAPIKey {
		u.APIKey = newGUID()
	}
	now := s.opts.Clock()
	a := &account{User: u, created: now}
	s.users[u.UserID], s.sorted = a, nil
	s.changeAccount(a, func() {})
}

// changeAccount makes every change of a user: it updates the indexes and keeps the
// secrets for Secrets. A deleted user stays deleted.
func (s *Simulator) changeAccount(a *account, how func()) {
	s.unindex(a)
	how()
	a.modified = s.opts.Clock()
	s.journal.addSecrets(a.Password, a.APIKey)
	if s.users[a.UserID] != a {
		return
	}
	s.byLogin[strings.ToLower(a.LoginName)] = a
	if a.APIKey != "" {
		s.byKey[a.APIKey] = a
	}
}

func (s *Simulator) unindex(a *account) {
	if login := strings.ToLower(a.LoginName); s.byLogin[login] == a {
		delete(s.byLogin, login)
	}
	if s.byKey[a.APIKey] == a {
		delete(s.byKey, a.APIKey)
	}
}

func (s *Simulator) userByLogin(login string) *account { return s.byLogin[strings.ToLower(login)] }
func (s *Simulator) userByKey(key string) *account     { return s.byKey[key] }

// sortedUsers returns all users by UserID. They are sorted once, since each page of a list
// needs them.
func (s *Simulator) sortedUsers() []*account {
	if s.sorted == nil {
		byID := func(a, b *account) int { return cmp.Compare(a.UserID, b.UserID) }
		s.sorted = slices.SortedFunc(maps.Values(s.users), byID)
	}
	return s.sorted
}

// isActive reports whether the user's credentials are valid.
func (a *account) isActive() bool { return a.Status != "Suspended" && a.Status != "Terminated" }

// reachByLevel says on which other users an AuthLevel may act. The vendor's docs: a
// NetworkAdmin and above within the network. A support article: a MailboxAdmin within its
// own mailbox.
var reachByLevel = map[string]func(actor, target *account) bool{
	"Root":         anywhere,
	"TechOps":      anywhere,
	"NetOps":       anywhere,
	"NetworkAdmin": sameNetwork,
	"MailboxAdmin": sameMailbox,
}

func anywhere(_, _ *account) bool             { return true }
func sameNetwork(actor, target *account) bool { return actor.NetworkID == target.NetworkID }
func sameMailbox(actor, target *account) bool {
	return sameNetwork(actor, target) && actor.MailboxID == target.MailboxID
}

func (a *account) canReach(target *account) bool {
	if a.UserID == target.UserID {
		return true
	}
	may := reachByLevel[a.AuthLevel]
	return may != nil && may(a, target)
}

// target returns the user that a call is about, or why the actor may not see it.
func (s *Simulator) target(actor *account, userID int32) (*account, Cause) {
	t := s.users[userID]
	if t == nil {
		return nil, NotFound
	}
	if !actor.canReach(t) {
		return nil, AccessDenied
	}
	return t, ""
}

func (s *Simulator) replaceKey(a *account) string {
	s.changeAccount(a, func() { a.APIKey = newGUID() })
	return a.APIKey
}

// The vendor's rule is one regular expression with lookaheads, which RE2 does not have.
// These are its parts and the length.
var passwordRule = []*regexp.Regexp{
	regexp.MustCompile(`[a-z]`), regexp.MustCompile(`[A-Z]`), regexp.MustCompile(`\d`),
	regexp.MustCompile(`[^a-zA-Z0-9]`), regexp.MustCompile(`^.{8,}$`),
}

// PasswordAllowed reports whether a password meets ECGrid's documented rule.
func PasswordAllowed(password string) bool {
	return !slices.ContainsFunc(passwordRule, func(re *regexp.Regexp) bool { return !re.MatchString(password) })
}

// randomPassword meets the rule and needs no escaping in JSON.
func randomPassword() string { return rand.Text() + "-aZ7" }

// newGUID returns a random GUID as .NET prints it.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func itoa[T ~int | ~int32 | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
