package backend

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

const (
	// ConfigStorageKey is where the config, and with it the credential, is stored.
	ConfigStorageKey = "config"

	// DefaultURL is the live ECGridOS v4.1 endpoint. The WSDL's own address is
	// plain http and must not be used.
	DefaultURL = "https://os.ecgrid.io/v4.1/prod/ECGridOS.asmx"
	// DefaultRequestTimeout is request_timeout where none is set.
	DefaultRequestTimeout = 15 * time.Second
	// DefaultSessionIdleTimeout is session_idle_timeout where none is set.
	DefaultSessionIdleTimeout = time.Minute

	minRequestTimeout = time.Second
	maxRequestTimeout = 20 * time.Second
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

	// Superseded is a keyed hash of the password before the last rotate-root.
	Superseded   string    `json:"superseded,omitempty"`
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
		LoginTimeout:   loginTimeout,
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
		c.Root, c.Superseded, c.SupersededAt = Rotation{}, "", time.Time{}
	}
	if old != nil && !sameServer(old.URL, c.URL) && p.Password == nil && p.APIKey == nil {
		return Config{}, Invalid("url names another server than the stored one: send the password or api_key in the same request, since the stored one is never sent to a new server")
	}
	return c, nil
}

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

// sameLogin tells whether both are the same user of the same server.
func sameLogin(a, b Config) bool {
	return a.Username == b.Username && sameServer(a.URL, b.URL)
}

// sameServer compares scheme, host and port, whatever their spelling.
func sameServer(a, b string) bool {
	return server(a) == server(b)
}

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

// ReadConfig gives the stored config, or nil where there is none. It does not
// call ECGrid.
func (e *Engine) ReadConfig(ctx context.Context, storage logical.Storage) (*Config, error) {
	entry, err := storage.Get(ctx, ConfigStorageKey)
	if err != nil {
		return nil, fmt.Errorf("reading the config from storage: %w", err)
	}
	if entry == nil {
		return nil, nil
	}
	c := new(Config)
	if err := entry.DecodeJSON(c); err != nil {
		return nil, fmt.Errorf("decoding the stored config: %w", err)
	}
	return c, nil
}

func writeConfig(ctx context.Context, storage logical.Storage, c Config) error {
	entry, err := logical.StorageEntryJSON(ConfigStorageKey, c)
	if err != nil {
		return fmt.Errorf("encoding the config: %w", err)
	}
	if err := storage.Put(ctx, entry); err != nil {
		return fmt.Errorf("storing the config: %w", err)
	}
	return nil
}

// RotationManager is Vault Enterprise's. On Community it takes no jobs.
type RotationManager interface {
	// Keep gives it the schedule of rotate-root, or takes that back where it is
	// zero. It tells whether it will see to it.
	Keep(ctx context.Context, schedule Schedule) bool
}

// WriteConfig applies a patch: it is checked, then the login tried, then stored,
// and only then used. Where any of this fails all stays as it was.
func (e *Engine) WriteConfig(ctx context.Context, storage logical.Storage, patch ConfigPatch, manager RotationManager) error {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	if err := e.recoverRoot(ctx, storage); err != nil && patch.Password == nil && patch.APIKey == nil {
		return fmt.Errorf("a rotate-root is not settled yet: %w", err)
	}
	old, err := e.ReadConfig(ctx, storage)
	if err != nil {
		return err
	}
	config, err := patch.apply(old)
	if err != nil {
		return err
	}
	if err := e.refuseSuperseded(ctx, storage, config, patch); err != nil {
		return err
	}
	planned := e.planRoot(ctx, old, config, manager)
	next, err := e.newAccount(planned)
	if err != nil {
		e.unplanRoot(ctx, old, planned, manager)
		return err
	}
	verified := patch.wantsVerification()
	if verified {
		err = e.verify(ctx, next)
	}
	if err == nil {
		err = writeConfig(ctx, storage, next.config)
	}
	if err != nil {
		e.closeAccount(next)
		e.unplanRoot(ctx, old, planned, manager)
		return err
	}
	e.swap(next)
	if verified {
		e.forgetRootWALs(ctx, storage)
	}
	return nil
}

// refuseSuperseded refuses the password from before the last rotate-root, which
// declarative tools send again. It is not tried: that would be a refused login.
func (e *Engine) refuseSuperseded(ctx context.Context, storage logical.Storage, c Config, patch ConfigPatch) error {
	if patch.Password == nil || c.Superseded == "" {
		return nil
	}
	fingerprint, err := e.fingerprint(ctx, storage, *patch.Password)
	if err != nil || !isFingerprintOf(fingerprint, c.Superseded) {
		return err
	}
	return Invalid("this password was superseded by rotate-root at %s: leave password out of the write to keep the one that is valid now", c.SupersededAt.Format(time.RFC3339))
}

// planRoot plans the next rotate-root anew where its schedule or the login has changed.
func (e *Engine) planRoot(ctx context.Context, old *Config, c Config, manager RotationManager) Config {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	planned := c.rootSchedule().IsZero() || !c.Root.Next.IsZero()
	if c.rootSchedule() == before && planned {
		return c
	}
	c.ManagedRotation = manager.Keep(ctx, c.rootSchedule())
	c.Root = c.Root.replan(c.rootSchedule(), e.Clock.Now(), e.fraction())
	return c
}

// unplanRoot gives the rotation manager the old schedule back after a refused write.
func (e *Engine) unplanRoot(ctx context.Context, old *Config, planned Config, manager RotationManager) {
	var before Schedule
	if old != nil {
		before = old.rootSchedule()
	}
	if planned.rootSchedule() != before {
		manager.Keep(context.WithoutCancel(ctx), before)
	}
}

// forgetRootWALs: a password that was just seen to work needs no other to fall
// back on.
func (e *Engine) forgetRootWALs(ctx context.Context, storage logical.Storage) {
	wals, err := rootWALs(ctx, storage)
	for _, w := range wals {
		err = errors.Join(err, deleteWAL(ctx, storage, w.id))
	}
	if err != nil {
		e.Logger.Warn("the write-ahead log could not be cleared", "error", err)
	}
	e.recovery = pause{}
}

// verify tries the login of an account that is not in use yet. A session opened
// for that stays, for the first read. Before, the idle session of the same user
// is logged out: it may hold the last place in that user's session table.
func (e *Engine) verify(ctx context.Context, next *account) error {
	if old := e.live.Load(); old != nil && old.config.Username == next.config.Username {
		old.session.logoutUnused(ctx)
	}
	return next.session.verify(ctx)
}

// DeleteConfig forgets the login: it is logged out, and nothing of it stays in
// memory. Deleting what is not there is no error.
func (e *Engine) DeleteConfig(ctx context.Context, storage logical.Storage, manager RotationManager) error {
	if err := e.configLock.Acquire(ctx, 1); err != nil {
		return err
	}
	defer e.configLock.Release(1)
	if err := storage.Delete(ctx, ConfigStorageKey); err != nil {
		return fmt.Errorf("deleting the config from storage: %w", err)
	}
	manager.Keep(ctx, Schedule{})
	e.forgetRootWALs(ctx, storage)
	e.swap(nil)
	return nil
}
