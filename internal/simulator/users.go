package simulator

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
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
	// LowLogin is a MailboxUser: it may read its own key and no other.
	LowLogin = "sim-mailbox-user"

	AdminUserID   = 1001
	LowUserID     = 1002
	UserID5001    = 5001
	UserID5002    = 5002
	KeylessUserID = 5003 // has no API key
	ForeignUserID = 6001 // is of another network than the rest
)

// User is one ECGridOS user (WSDL type UserIDInfo, plus its credentials).
type User struct {
	UserID    int32  `json:"user_id"`
	LoginName string `json:"login_name"`
	// Password is random where it is "".
	Password string `json:"password,omitempty"`
	// APIKey is random where it is "" and NoAPIKey is false.
	APIKey    string `json:"api_key,omitempty"`
	NoAPIKey  bool   `json:"no_api_key,omitempty"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
	Company   string `json:"company,omitempty"`
	EMail     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
	NetworkID int32  `json:"network_id,omitempty"`
	MailboxID int32  `json:"mailbox_id,omitempty"`
	// AuthLevel is of the WSDL's enumeration; "" is MailboxUser.
	AuthLevel string `json:"auth_level,omitempty"`
	// Status is of the WSDL's enumeration; "" is Active.
	Status    string `json:"status,omitempty"`
	LockedOut bool   `json:"locked_out,omitempty"`
}

// account is a User and what the simulator remembers of it.
type account struct {
	User
	created, modified, lastLogin time.Time
	refused                      int // logins in a row
	open                         int // SOAP sessions
}

// DefaultUsers are the users of a Simulator that is given none. Their
// credentials are random; the administrator's password holds & and <, which a
// client that does not escape gets wrong.
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

// ValidateUsers tells what is wrong with a list of users, naming each by its
// place in the list, and never a credential.
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
			bad("api_key is another user's too")
		}
		if u.APIKey != "" && u.NoAPIKey {
			bad("api_key and no_api_key exclude each other")
		}
		if u.AuthLevel != "" && !slices.Contains(enums["AuthLevel"], u.AuthLevel) {
			bad("auth_level %q is none of %s", u.AuthLevel, strings.Join(enums["AuthLevel"], ", "))
		}
		if u.Status != "" && !slices.Contains(enums["Status"], u.Status) {
			bad("status %q is none of %s", u.Status, strings.Join(enums["Status"], ", "))
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
	s.users[u.UserID] = a
	s.change(a, func() {})
}

// change is the one way to change a user: it keeps users to be found, and their
// secrets known. A user that was deleted meanwhile stays so.
func (s *Simulator) change(a *account, how func()) {
	s.unindex(a)
	how()
	a.modified = s.opts.Clock()
	s.seen.secret(a.Password, a.APIKey)
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

// sortedUsers are all users, by UserID.
func (s *Simulator) sortedUsers() []*account {
	all := make([]*account, 0, len(s.users))
	for _, a := range s.users {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b *account) int { return cmp.Compare(a.UserID, b.UserID) })
	return all
}

// alive tells whether a user's credentials count at all.
func (a *account) alive() bool { return a.Status != "Suspended" && a.Status != "Terminated" }

// reach is whom an AuthLevel may act upon besides itself. Vendor's docs: a
// NetworkAdmin and above within the network; a support article: a MailboxAdmin
// within its own mailbox.
var reach = map[string]func(actor, target *account) bool{
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

func (a *account) mayReach(target *account) bool {
	if a.UserID == target.UserID {
		return true
	}
	may := reach[a.AuthLevel]
	return may != nil && may(a, target)
}

// target is the user a call is about, or why the actor may not have it.
func (s *Simulator) target(actor *account, userID int32) (*account, Cause) {
	t := s.users[userID]
	if t == nil {
		return nil, NotFound
	}
	if !actor.mayReach(t) {
		return nil, AccessDenied
	}
	return t, ""
}

func (s *Simulator) replaceKey(a *account) string {
	s.change(a, func() { a.APIKey = newGUID() })
	return a.APIKey
}

// The vendor's rule is one regular expression with lookaheads; RE2 has none, so
// it is its four parts, and the length.
var passwordRule = []*regexp.Regexp{
	regexp.MustCompile(`[a-z]`), regexp.MustCompile(`[A-Z]`), regexp.MustCompile(`\d`),
	regexp.MustCompile(`[^a-zA-Z0-9]`), regexp.MustCompile(`^.{8,}$`),
}

// PasswordAllowed tells whether ECGrid's documented rule takes a password.
func PasswordAllowed(password string) bool {
	return !slices.ContainsFunc(passwordRule, func(re *regexp.Regexp) bool { return !re.MatchString(password) })
}

// randomPassword meets the rule and needs no quoting in JSON.
func randomPassword() string { return rand.Text() + "-aZ7" }

// newGUID is a random GUID as .NET prints one.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

func itoa[T ~int | ~int32 | ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
