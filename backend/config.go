// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"cmp"
	"strings"
	"time"

	"vault-plugin-ecgrid/backend/session"
	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// DefaultURL is the live ECGridOS v4.1 endpoint. The address in the WSDL is plain
	// http and must not be used.
	DefaultURL     = "https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx"
	defaultRESTURL = "https://rest.ecgrid.io/v2"
	// DefaultRequestTimeout is request_timeout if it is not set.
	DefaultRequestTimeout = 15 * time.Second
	// DefaultSessionIdleTimeout is session_idle_timeout if it is not set.
	DefaultSessionIdleTimeout = time.Minute

	minRequestTimeout = time.Second
	maxRequestTimeout = 20 * time.Second
	// DefaultMaxConcurrentCalls is max_concurrent_calls if it is not set.
	DefaultMaxConcurrentCalls = 64
	mostConcurrentCalls       = 256
)

// defaultURLs are the defaults of url: the vendor's live endpoints.
var defaultURLs = map[ecgrid.Transport]string{ecgrid.SOAP: DefaultURL, ecgrid.REST: defaultRESTURL}

// The values of auth_method.
const (
	AuthPassword = "password"
	AuthAPIKey   = "api_key"
)

// Config is one ECGrid login and the defaults of its leases, as it is stored. Either
// Username and Password or APIKey is set.
type Config struct {
	Transport ecgrid.Transport `json:"transport,omitempty"` // "", in a config of an earlier version, is SOAP

	URL      string `json:"url"`
	Username string `json:"username,omitempty"` // LoginName
	Password string `json:"password,omitempty"`
	APIKey   string `json:"api_key,omitempty"`

	TTL    time.Duration `json:"ttl"`     // 0: the mount's
	MaxTTL time.Duration `json:"max_ttl"` // 0: the mount's

	RequestTimeout     time.Duration `json:"request_timeout"`      // 1 s to 20 s
	SessionIdleTimeout time.Duration `json:"session_idle_timeout"` // 0: Logout after every request
	KeyCacheTTL        time.Duration `json:"key_cache_ttl"`        // 0: no cache

	// MaxConcurrentCalls bounds the calls to ECGrid in progress, 1 to 256. 0, in a config
	// of an earlier version, is the default.
	MaxConcurrentCalls int `json:"max_concurrent_calls,omitempty"`

	CACert        string `json:"ca_cert,omitempty"` // PEM
	TLSServerName string `json:"tls_server_name,omitempty"`

	PasswordPolicy           string   `json:"password_policy,omitempty"`
	Schedule                 Schedule `json:"schedule,omitzero"` // of rotate-root
	DisableAutomatedRotation bool     `json:"disable_automated_rotation,omitempty"`
	// ManagedRotation: the rotation manager of Vault Enterprise follows the Schedule.
	ManagedRotation bool     `json:"managed_rotation,omitempty"`
	Root            Rotation `json:"root,omitzero"`

	// Pending are passwords that ECGrid may have, or may still get.
	Pending []Pending `json:"pending,omitempty"`
	// RepeatUntil is until when ECGrid may apply an earlier change of the password once
	// more, since that was sent more than once.
	RepeatUntil time.Time `json:"unsure,omitzero"`

	// Written is a keyed hash of the last password that an operator wrote. SupersededAt
	// is when rotate-root replaced that password, or zero.
	Written string `json:"written,omitempty"`
	// Unproven is a keyed hash of a password that was written since and not verified.
	Unproven     string    `json:"unproven,omitempty"`
	SupersededAt time.Time `json:"superseded_at,omitzero"`

	// LastLoginError is why ECGrid refused the stored login. ReadConfig sets it.
	LastLoginError string `json:"-"`
}

// rootSchedule is the schedule of rotate-root. An api_key has no password to rotate.
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

// TransportInUse is Transport or its default.
func (c Config) TransportInUse() ecgrid.Transport { return c.Transport.OrDefault() }

func (c Config) endpoint() ecgrid.Endpoint {
	return ecgrid.Endpoint{
		Transport:      c.TransportInUse(),
		URL:            c.URL,
		CACert:         c.CACert,
		TLSServerName:  c.TLSServerName,
		RequestTimeout: c.RequestTimeout,
		LoginTimeout:   session.LoginTimeout,
		MaxConcurrent:  c.ConcurrentCalls(),
	}
}

// ConcurrentCalls is MaxConcurrentCalls or its default.
func (c Config) ConcurrentCalls() int {
	return cmp.Or(c.MaxConcurrentCalls, DefaultMaxConcurrentCalls)
}

// requestDeadline bounds all calls of one request: a call, a WhoAmI, a Login and the call
// again. It stays below the 60 s of Vault's clients.
func (c Config) requestDeadline() time.Duration { return 5 * c.RequestTimeout / 2 }

// ConfigPatch is a write to the config. A nil field is left unchanged. A pointer to the
// zero value clears an optional field.
type ConfigPatch struct {
	Transport                       *string
	URL, Username, Password, APIKey *string
	CACert, TLSServerName           *string
	TTL, MaxTTL, KeyCacheTTL        *time.Duration
	RequestTimeout                  *time.Duration
	SessionIdleTimeout              *time.Duration
	MaxConcurrentCalls              *int
	PasswordPolicy                  *string
	Schedule                        SchedulePatch
	DisableAutomatedRotation        *bool

	// ClearPassword and ClearAPIKey are the nulls of a JSON merge patch. An empty string
	// does not clear a credential: it is refused.
	ClearPassword, ClearAPIKey bool

	// VerifyConnection: log in before anything is stored. Nil means true if the patch
	// contains the endpoint or the login.
	VerifyConnection *bool
}

// defaultConfig is what the first write is applied to.
func defaultConfig() Config {
	return Config{
		URL:                DefaultURL,
		RequestTimeout:     DefaultRequestTimeout,
		SessionIdleTimeout: DefaultSessionIdleTimeout,
	}
}

// apply returns the config after the patch; old is nil if there is none.
func (p ConfigPatch) apply(old *Config) (Config, error) {
	c := defaultConfig()
	if old != nil {
		c = *old
	}
	if err := p.applyEndpoint(&c); err != nil {
		return Config{}, err
	}
	set(&c.CACert, p.CACert)
	set(&c.TLSServerName, p.TLSServerName)
	set(&c.TTL, p.TTL)
	set(&c.MaxTTL, p.MaxTTL)
	set(&c.KeyCacheTTL, p.KeyCacheTTL)
	set(&c.RequestTimeout, p.RequestTimeout)
	set(&c.SessionIdleTimeout, p.SessionIdleTimeout)
	if n := p.MaxConcurrentCalls; n != nil && (*n < 1 || *n > mostConcurrentCalls) {
		return Config{}, Invalid("max_concurrent_calls is %d: it must be between 1 and %d", *n, mostConcurrentCalls)
	}
	set(&c.MaxConcurrentCalls, p.MaxConcurrentCalls)
	set(&c.PasswordPolicy, p.PasswordPolicy)
	set(&c.DisableAutomatedRotation, p.DisableAutomatedRotation)
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
		c.Root, c.RepeatUntil = Rotation{}, time.Time{}
		c.Written, c.Unproven, c.SupersededAt = "", "", time.Time{}
	}
	if old != nil && !p.bringsCredential() && !mayMove(*old, c) {
		return Config{}, Invalid("this changes to which server the stored credential is sent, how it is sent, or how that server is trusted (transport, scheme, host or port of url, ca_cert, tls_server_name): send the password or api_key in the same request")
	}
	return c, nil
}

// applyEndpoint sets transport and url. The url follows the transport if it is the default.
func (p ConfigPatch) applyEndpoint(c *Config) error {
	before := c.TransportInUse()
	if p.Transport != nil {
		c.Transport = ecgrid.Transport(*p.Transport).OrDefault()
	}
	transport := c.TransportInUse()
	switch {
	case defaultURLs[transport] == "":
		return Invalid("transport must be %s or %s", ecgrid.SOAP, ecgrid.REST)
	case p.URL != nil:
		c.URL = cmp.Or(*p.URL, defaultURLs[transport])
	case transport == before:
	case c.URL == defaultURLs[before]:
		c.URL = defaultURLs[transport]
	default:
		return Invalid("transport changes and url does not: send the url of ECGrid's %s endpoint in the same request, or an empty url for the default", transport)
	}
	return nil
}

// bringsCredential reports whether the patch contains a password or an API key.
func (p ConfigPatch) bringsCredential() bool { return p.Password != nil || p.APIKey != nil }

// applyCredential sets one kind of credential and clears the other.
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

// login identifies the login of the config, whatever its password. The vendor's
// endpoints share their logins.
func (c Config) login() string {
	return service(c.URL) + " " + strings.ToLower(c.Username)
}

// sameLogin reports whether both are the same user of the same server.
func sameLogin(a, b Config) bool { return a.APIKey == b.APIKey && a.login() == b.login() }

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

func isSet(s *string) bool { return s != nil && *s != "" }

func isEmpty(s *string) bool { return s != nil && *s == "" }

// touchesLogin reports whether the patch contains the endpoint or the login.
func (p ConfigPatch) touchesLogin() bool {
	return p.Transport != nil || p.URL != nil || p.Username != nil || p.Password != nil || p.APIKey != nil ||
		p.CACert != nil || p.TLSServerName != nil || p.ClearPassword || p.ClearAPIKey
}

func (p ConfigPatch) wantsVerification() bool {
	if p.VerifyConnection != nil {
		return *p.VerifyConnection
	}
	return p.touchesLogin()
}
