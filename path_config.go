package ecgrid

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	configPath = "config"

	fieldURL                = "url"
	fieldUsername           = "username"
	fieldPassword           = "password"
	fieldMaxTTL             = "max_ttl"
	fieldRequestTimeout     = "request_timeout"
	fieldSessionIdleTimeout = "session_idle_timeout"
	fieldKeyCacheTTL        = "key_cache_ttl"
	fieldCACert             = "ca_cert"
	fieldTLSServerName      = "tls_server_name"
	fieldVerifyConnection   = "verify_connection"
	fieldAuthMethod         = "auth_method"
	fieldPasswordPolicy     = "password_policy"
	fieldDisableRotation    = "disable_automated_rotation"
	fieldLastRootRotation   = "last_root_rotation"
	fieldNextRootRotation   = "next_root_rotation"
	fieldLastRootError      = "last_root_rotation_error"

	configHelpSynopsis    = "The ECGrid login of this mount and the defaults of its leases."
	configHelpDescription = `
Holds one ECGrid login: either username and password of an ECGridOS user, or an
api_key, with which there are no sessions. Setting one kind clears the other. The
login needs AuthLevel NetworkAdmin or above to read other users' keys.

A write is a patch: a field that is omitted stays as it is, and an empty value
clears an optional one. Before a changed endpoint or login is stored it is tried
(verify_connection); where ECGrid refuses it, nothing is changed. Changing scheme,
host or port of url, ca_cert or tls_server_name needs the password or api_key in the
same request: it decides who gets to see the credential.

While a rotate-root is not settled (see last_root_rotation_error), what would drop one
of the two passwords is refused with 409, unless it brings a credential that works.

Durations are whole seconds, or a number with a unit, such as 30s, 15m or 24h.

Reading shows all but the secrets, and does not call ECGrid. Deleting logs out and
forgets the login; leases that are out can still be revoked. It is refused with 409
while a rotate-root is not settled.
`
)

// configPaths serves config.
func (m *mount) configPaths() []*framework.Path {
	write := operation("Write the login and the defaults; what is omitted stays as it is.", m.writeConfig, failing(noContent(), ofLogin...))
	return []*framework.Path{{
		Pattern: configPath + "$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "configuration",
			Navigation:      true,
		},
		Fields:         configFields(),
		ExistenceCheck: m.configExists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: write,
			logical.UpdateOperation: write,
			logical.PatchOperation:  operation("Patch the login and the defaults; null clears a field.", m.patchConfig, failing(noContent(), ofLogin...)),
			logical.ReadOperation:   operation("Read the login and the defaults, without the secrets.", m.readConfig, failing(ok(configResponseFields()), missing)),
			logical.DeleteOperation: operation("Log out and forget the login.", m.deleteConfig, failing(noContent(), unclear)),
		},
		HelpSynopsis:    configHelpSynopsis,
		HelpDescription: configHelpDescription,
	}}
}

func configFields() map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{
		fieldURL: {
			Type:         framework.TypeString,
			Default:      backend.DefaultURL,
			Description:  "ECGridOS v4.1 SOAP endpoint; https, or plain http to a loopback host. Another scheme, host or port needs the password or api_key in the same request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "URL", Value: backend.DefaultURL},
		},
		fieldUsername: {
			Type:         framework.TypeString,
			Description:  "ECGridOS LoginName. Goes with password.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Username"},
		},
		fieldPassword: {
			Type:         framework.TypeString,
			Description:  "Password of the username. Never returned.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Password", Sensitive: true},
		},
		fieldAPIKey: {
			Type:         framework.TypeString,
			Description:  "ECGrid API key to use instead of username and password: then there are no sessions. Never returned.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "API key", Sensitive: true},
		},
		fieldTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Lease of keys/<user_id>, and of a role that sets none. 0: the mount's default.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL"},
		},
		fieldMaxTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Longest lease of keys/<user_id>, with all renewals, and of a role that sets none. 0: the mount's maximum, which it never exceeds.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Maximum TTL"},
		},
		fieldRequestTimeout: {
			Type:         framework.TypeDurationSecond,
			Default:      fmt.Sprintf("%ds", seconds(backend.DefaultRequestTimeout)),
			Description:  "Deadline of one call to ECGrid, 1s to 20s. Default 15s.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Request timeout"},
		},
		fieldSessionIdleTimeout: {
			Type:         framework.TypeDurationSecond,
			Default:      fmt.Sprintf("%ds", seconds(backend.DefaultSessionIdleTimeout)),
			Description:  "Log out of ECGrid after so long without use. 0: as soon as no request is in flight. Default 60s.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Session idle timeout"},
		},
		fieldKeyCacheTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "How long a key may be served from memory. 0: every read asks ECGrid. A rotation by this mount drops it.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Key cache TTL"},
		},
		fieldCACert: {
			Type:         framework.TypeString,
			Description:  "PEM certificates to trust for the endpoint instead of the system's. Others need the password or api_key in the same request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "CA certificate"},
		},
		fieldTLSServerName: {
			Type:         framework.TypeString,
			Description:  "Name to verify in the endpoint's certificate instead of the url's host. Another needs the password or api_key in the same request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TLS server name"},
		},
		fieldVerifyConnection: {
			Type:         framework.TypeBool,
			Default:      true,
			Description:  "Try the login before storing it; where it is refused nothing is changed. Not stored. Default true for a write that touches the endpoint or the login.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Verify connection", Value: true},
		},
		fieldPasswordPolicy: {
			Type:         framework.TypeString,
			Description:  "Vault password policy for rotate-root. Unset: a built-in generator that meets ECGrid's rule.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Password policy"},
		},
		fieldDisableRotation: {
			Type:         framework.TypeBool,
			Description:  "Stop automatic rotate-root and keep its schedule.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Disable automated rotation"},
		},
	}
	addScheduleFields(fields)
	return fields
}

// secretConfigFields are written and never read.
var secretConfigFields = []string{fieldPassword, fieldAPIKey, fieldVerifyConnection}

func configResponseFields() map[string]*framework.FieldSchema {
	fields := configFields()
	for _, name := range secretConfigFields {
		delete(fields, name)
	}
	asAnswered(fields)
	fields[fieldAuthMethod] = &framework.FieldSchema{Type: framework.TypeString, Description: "password or api_key, whichever is stored."}
	fields[fieldLastRootRotation] = &framework.FieldSchema{Type: framework.TypeTime, Description: "When rotate-root last changed the password; null if never."}
	fields[fieldNextRootRotation] = &framework.FieldSchema{Type: framework.TypeTime, Description: "When it will next do so by itself; null if never."}
	fields[fieldLastRootError] = &framework.FieldSchema{Type: framework.TypeString, Description: "Why the last rotate-root failed or is not settled yet; empty otherwise."}
	return fields
}

func (m *mount) configExists(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
	config, err := m.engine.ReadConfig(ctx)
	return config != nil, err
}

// writeConfig serves PUT and POST config.
func (m *mount) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	patch, err := configPatch(d)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.WriteConfig(ctx, patch, m.rotationManager(req))
}

// patchConfig serves PATCH config: the same, of a config that is there.
func (m *mount) patchConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	patch, err := configPatch(d)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.PatchConfig(ctx, patch, m.rotationManager(req))
}

func configPatch(d *framework.FieldData) (backend.ConfigPatch, error) {
	p := backend.ConfigPatch{
		VerifyConnection:         boolField(d, fieldVerifyConnection),
		DisableAutomatedRotation: clearableBoolField(d, fieldDisableRotation),
	}
	for name, field := range map[string]**string{
		fieldURL:            &p.URL,
		fieldUsername:       &p.Username,
		fieldPassword:       &p.Password,
		fieldAPIKey:         &p.APIKey,
		fieldCACert:         &p.CACert,
		fieldTLSServerName:  &p.TLSServerName,
		fieldPasswordPolicy: &p.PasswordPolicy,
	} {
		var err error
		if *field, err = stringField(d, name); err != nil {
			return p, err
		}
	}
	for _, f := range []struct {
		name    string
		field   **time.Duration
		cleared time.Duration
	}{
		{fieldTTL, &p.TTL, 0},
		{fieldMaxTTL, &p.MaxTTL, 0},
		{fieldKeyCacheTTL, &p.KeyCacheTTL, 0},
		{fieldRequestTimeout, &p.RequestTimeout, backend.DefaultRequestTimeout},
		{fieldSessionIdleTimeout, &p.SessionIdleTimeout, backend.DefaultSessionIdleTimeout},
	} {
		var err error
		if *f.field, err = durationField(d, f.name, f.cleared); err != nil {
			return p, err
		}
	}
	if isNull(d, fieldPassword) {
		p.Password, p.ClearPassword = nil, true
	}
	if isNull(d, fieldAPIKey) {
		p.APIKey, p.ClearAPIKey = nil, true
	}
	var err error
	p.Schedule, err = schedulePatch(d)
	return p, err
}

// readConfig serves GET config.
func (m *mount) readConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := m.engine.ReadConfig(ctx)
	if err != nil || c == nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		fieldURL:                c.URL,
		fieldUsername:           c.Username,
		fieldAuthMethod:         c.AuthMethod(),
		fieldTTL:                seconds(c.TTL),
		fieldMaxTTL:             seconds(c.MaxTTL),
		fieldRequestTimeout:     seconds(c.RequestTimeout),
		fieldSessionIdleTimeout: seconds(c.SessionIdleTimeout),
		fieldKeyCacheTTL:        seconds(c.KeyCacheTTL),
		fieldCACert:             c.CACert,
		fieldTLSServerName:      c.TLSServerName,
		fieldPasswordPolicy:     c.PasswordPolicy,
		fieldRotationPeriod:     seconds(c.Schedule.Period),
		fieldRotationSchedule:   c.Schedule.Cron,
		fieldRotationWindow:     seconds(c.Schedule.Window),
		fieldDisableRotation:    c.DisableAutomatedRotation,
		fieldLastRootRotation:   timestamp(c.Root.Last),
		fieldNextRootRotation:   timestamp(c.Root.Next),
		fieldLastRootError:      c.Root.LastError,
	}}, nil
}

// deleteConfig serves DELETE config.
func (m *mount) deleteConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return nil, m.engine.DeleteConfig(ctx, m.rotationManager(req))
}
