package backend

import (
	"cmp"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// DefaultURL is the live ECGridOS v4.1 endpoint. The WSDL's own address is
	// plain http and must not be used.
	DefaultURL = "https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx"
	// DefaultRequestTimeout is request_timeout where none is set.
	DefaultRequestTimeout = 15 * time.Second
	// DefaultSessionIdleTimeout is session_idle_timeout where none is set.
	DefaultSessionIdleTimeout = time.Minute

	minRequestTimeout = time.Second
	maxRequestTimeout = 20 * time.Second
	// maxConcurrentCalls bounds the calls at ECGrid at once: Vault revokes up to
	// 180 leases of a mount side by side.
	maxConcurrentCalls = 16
)

// The values of auth_method.
const (
	AuthPassword = "password"
	AuthAPIKey   = "api_key"
)

// Config is one ECGrid login and the defaults of its leases, as it is stored.
// Exactly one of Username with Password, or APIKey, is set.
type Config struct {
	URL      string `json:"url"`
	Username string `json:"username,omitempty"` // LoginName
	Password string `json:"password,omitempty"`
	APIKey   string `json:"api_key,omitempty"`

	TTL    time.Duration `json:"ttl"`     // 0 is the mount's
	MaxTTL time.Duration `json:"max_ttl"` // 0 is the mount's

	RequestTimeout     time.Duration `json:"request_timeout"`      // 1 s to 20 s
	SessionIdleTimeout time.Duration `json:"session_idle_timeout"` // 0 is Logout after every request
	KeyCacheTTL        time.Duration `json:"key_cache_ttl"`        // 0 is no cache

	CACert        string `json:"ca_cert,omitempty"` // PEM
	TLSServerName string `json:"tls_server_name,omitempty"`

	PasswordPolicy           string   `json:"password_policy,omitempty"`
	Schedule                 Schedule `json:"schedule,omitzero"` // of rotate-root
	DisableAutomatedRotation bool     `json:"disable_automated_rotation,omitempty"`
	// ManagedRotation: Vault Enterprise's rotation manager keeps the Schedule.
	ManagedRotation bool     `json:"managed_rotation,omitempty"`
	Root            Rotation `json:"root,omitzero"`

	// Pending are passwords that ECGrid may have, or may get yet.
	Pending []Pending `json:"pending,omitempty"`
	// Unsure is until when an earlier change of the password may land once more: its
	// confirmation was the second that was asked for.
	Unsure time.Time `json:"unsure,omitzero"`

	// Written is a keyed hash of the last password that an operator wrote, and
	// SupersededAt when rotate-root replaced that one; zero while it has not.
	Written string `json:"written,omitempty"`
	// Unproven is the same of one that was written since and not tried.
	Unproven     string    `json:"unproven,omitempty"`
	SupersededAt time.Time `json:"superseded_at,omitzero"`
}

// rootSchedule is when rotate-root comes by itself; an api_key has no password.
func (c Config) rootSchedule() Schedule {
	if c.DisableAutomatedRotation || c.APIKey != "" {
		return Schedule{}
	}
	return c.Schedule
}

// AuthMethod is AuthPassword or AuthAPIKey.
func (c Config) AuthMethod() string {
	if c.APIKey != "" {
		return AuthAPIKey
	}
	return AuthPassword
}

func (c Config) endpoint() ecgrid.Endpoint {
	return ecgrid.Endpoint{
		URL:            c.URL,
		CACert:         c.CACert,
		TLSServerName:  c.TLSServerName,
		RequestTimeout: c.RequestTimeout,
		LoginTimeout:   session.LoginTimeout,
		MaxConcurrent:  maxConcurrentCalls,
	}
}

// requestDeadline bounds all that one request may need of ECGrid: a call, a probe,
// a Login and the call again. It stays below the 60 s of Vault's clients.
func (c Config) requestDeadline() time.Duration { return 5 * c.RequestTimeout / 2 }

// ConfigPatch is what a write to config says. A nil field was omitted and stays
// as it is; a pointer to the zero Value of an optional field clears it.
type ConfigPatch struct {
	URL, Username, Password, APIKey *string
	CACert, TLSServerName           *string
	TTL, MaxTTL, KeyCacheTTL        *time.Duration
	RequestTimeout                  *time.Duration
	SessionIdleTimeout              *time.Duration
	PasswordPolicy                  *string
	Schedule                        SchedulePatch
	DisableAutomatedRotation        *bool

	// ClearPassword and ClearAPIKey are the nulls of a JSON merge patch. An empty
	// string is no way to clear a credential: it is refused.
	ClearPassword, ClearAPIKey bool

	// VerifyConnection logs in before anything is stored; nil is true where the
	// write touches the endpoint or the login.
	VerifyConnection *bool
}

// defaultConfig is what a first write starts from.
func defaultConfig() Config {
	return Config{
		URL:                DefaultURL,
		RequestTimeout:     DefaultRequestTimeout,
		SessionIdleTimeout: DefaultSessionIdleTimeout,
	}
}

// apply gives the config that the patch makes of old (nil where there is none),
// or says why it cannot be.
func (p ConfigPatch) apply(old *Config) (Config, error) {
	c := defaultConfig()
	if old != nil {
		c = *old
	}
	set(&c.URL, p.URL)
	set(&c.CACert, p.CACert)
	set(&c.TLSServerName, p.TLSServerName)
	set(&c.TTL, p.TTL)
	set(&c.MaxTTL, p.MaxTTL)
	set(&c.KeyCacheTTL, p.KeyCacheTTL)
	set(&c.RequestTimeout, p.RequestTimeout)
	set(&c.SessionIdleTimeout, p.SessionIdleTimeout)
	set(&c.PasswordPolicy, p.PasswordPolicy)
	set(&c.DisableAutomatedRotation, p.DisableAutomatedRotation)
	c.URL = cmp.Or(c.URL, DefaultURL)
	schedule, err := p.Schedule.apply(c.Schedule)
	if err != nil {
		return Config{}, err
	}
	c.Schedule = schedule
	if err := p.applyCredential(&c); err != nil {
		return Config{}, err
	}
	if err := c.validate(); err != nil {
		return Config{}, err
	}
	if old != nil && !sameLogin(*old, c) {
		c.Root, c.Unsure = Rotation{}, time.Time{}
		c.Written, c.Unproven, c.SupersededAt = "", "", time.Time{}
	}
	if old != nil && !p.bringsCredential() && !mayMove(*old, c) {
		return Config{}, Invalid("this changes where, or under whose trust, the stored credential is sent (host of url, ca_cert, tls_server_name): send the password or api_key in the same request")
	}
	return c, nil
}

// bringsCredential tells a write that holds a password or an API key.
func (p ConfigPatch) bringsCredential() bool { return p.Password != nil || p.APIKey != nil }

// applyCredential keeps to one credential: setting one kind clears the other.
func (p ConfigPatch) applyCredential(c *Config) error {
	if isEmpty(p.Password) || isEmpty(p.APIKey) {
		return Invalid("an empty password or api_key is not a credential: leave the field out to keep the stored one")
	}
	if p.APIKey != nil && (p.Password != nil || isSet(p.Username)) {
		return Invalid("send either username and password or api_key, not both")
	}
	if p.ClearPassword {
		c.Password = ""
	}
	if p.ClearAPIKey {
		c.APIKey = ""
	}
	if p.APIKey != nil {
		c.APIKey, c.Username, c.Password = *p.APIKey, "", ""
		return nil
	}
	set(&c.Username, p.Username)
	if p.Password != nil {
		c.Password, c.APIKey = *p.Password, ""
	}
	return nil
}

func (c Config) validate() error {
	if err := c.validateCredential(); err != nil {
		return err
	}
	if err := validateURL(c.URL); err != nil {
		return err
	}
	if c.MaxTTL > 0 && c.TTL > c.MaxTTL {
		return Invalid("ttl (%s) is above max_ttl (%s): lower ttl or raise max_ttl", c.TTL, c.MaxTTL)
	}
	if c.RequestTimeout < minRequestTimeout || c.RequestTimeout > maxRequestTimeout {
		return Invalid("request_timeout is %s: it has to be between %s and %s", c.RequestTimeout, minRequestTimeout, maxRequestTimeout)
	}
	if c.CACert != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CACert)) {
		return Invalid("ca_cert holds no PEM certificate: send the CA's certificate with its BEGIN and END lines")
	}
	if strings.ContainsAny(c.TLSServerName, " \t\r\n/:@") {
		return Invalid("tls_server_name is not a host name: send the bare name that the certificate holds")
	}
	return nil
}

func (c Config) validateCredential() error {
	switch {
	case !isPlain(c.Username) || !isPlain(c.Password) || !isPlain(c.APIKey):
		return Invalid("the credential holds a line break, a control character or text that is not UTF-8: where it comes from a file, write that without a newline, as printf '%%s' does")
	case c.APIKey != "" && c.Username != "":
		return Invalid("the config holds an api_key, which has no username: send username and password together to change over, or leave username out")
	case c.APIKey != "":
		return nil
	case c.Username == "" && c.Password == "":
		return Invalid("no credential: send username and password, or api_key")
	case c.Username == "":
		return Invalid("password without username: send the ECGridOS LoginName as username")
	case c.Password == "":
		return Invalid("username without password: send the password of that ECGridOS login")
	}
	return nil
}

// isPlain tells text that XML can carry and that no line break of a file slipped into.
func isPlain(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) || r == 0xFFFE || r == 0xFFFF
	})
}

// validateURL lets no credential out in clear: plain http goes to this machine only.
func validateURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "":
		return Invalid("url is not an absolute URL: send one like %s", DefaultURL)
	case strings.ContainsFunc(u.Hostname(), func(r rune) bool { return r > unicode.MaxASCII }):
		return Invalid("url holds a host name that is not in ASCII: send it as DNS has it, beginning with xn--")
	case u.User != nil:
		return Invalid("url must not hold a user or password: send them as username and password")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return Invalid("url must not hold a query or fragment: send the endpoint itself, without ?WSDL")
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	case u.Scheme == "http":
		return Invalid("url is plain http, which would send the password in clear: use https (http is for a loopback host only)")
	default:
		return Invalid("url has to begin with https://")
	}
	if _, err := net.LookupPort("tcp", cmp.Or(u.Port(), "443")); err != nil {
		return Invalid("url holds a port that does not exist: send one between 1 and 65535 or leave it out")
	}
	return nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// sameLogin tells whether both are about the same user of the same server.
func sameLogin(a, b Config) bool { return a.APIKey == b.APIKey && a.login() == b.login() }

// vendorServers are ECGrid's own: between them a login may move whose password only
// Vault knows.
var vendorServers = []string{"https://os.ecgrid.io:443", "https://rest.ecgrid.io:443"}

// mayMove tells whether the stored credential may be sent where, and under the
// trust that, the new config says. Whoever may edit the config, and controls a name
// or a proxy, could otherwise have it sent to himself.
func mayMove(from, to Config) bool {
	sameServer := server(from.URL) == server(to.URL)
	sameCA := strings.TrimSpace(from.CACert) == strings.TrimSpace(to.CACert)
	sameName := from.TLSServerName == to.TLSServerName
	if sameServer && sameCA && sameName {
		return true
	}
	if !slices.Contains(vendorServers, server(from.URL)) || !slices.Contains(vendorServers, server(to.URL)) {
		return false
	}
	systemsTrust := to.CACert == "" && to.TLSServerName == ""
	return systemsTrust || sameServer && sameCA && to.TLSServerName == ""
}

// server is scheme, host and port, whatever their spelling.
func server(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	return u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func isSet(s *string) bool { return s != nil && *s != "" }

func isEmpty(s *string) bool { return s != nil && *s == "" }

// touchesLogin tells whether the patch changes where or as whom to log in.
func (p ConfigPatch) touchesLogin() bool {
	return p.URL != nil || p.Username != nil || p.Password != nil || p.APIKey != nil ||
		p.CACert != nil || p.TLSServerName != nil || p.ClearPassword || p.ClearAPIKey
}

func (p ConfigPatch) wantsVerification() bool {
	if p.VerifyConnection != nil {
		return *p.VerifyConnection
	}
	return p.touchesLogin()
}
