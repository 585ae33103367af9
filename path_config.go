package ecgrid

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	configPattern = "config$"

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

	configHelpSynopsis    = "The ECGrid login of this mount and the defaults of its leases."
	configHelpDescription = `
Holds either username and password of an ECGridOS login, or an api_key that is used
instead of a session. Setting one kind clears the other.

A write is a patch: a field that is omitted stays as it is, and an empty value
clears an optional one. Before a changed endpoint or login is stored it is tried
(verify_connection); where ECGrid refuses it, nothing is changed. Changing scheme,
host or port of url needs the password or api_key in the same request.

Reading shows all but the secrets. Deleting logs out and forgets the login; leases
that are out can still be revoked.
`
)

// configPaths serves config.
func (m *mount) configPaths() []*framework.Path {
	write := operation("Write the login and the defaults; what is omitted stays.", m.writeConfig, noContent())
	return []*framework.Path{{
		Pattern: configPattern,
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
			logical.PatchOperation:  operation("Patch the login and the defaults; null clears a field.", m.patchConfig, noContent()),
			logical.ReadOperation:   operation("Read all but the secrets.", m.readConfig, ok(configResponseFields())),
			logical.DeleteOperation: operation("Log out and forget the login.", m.deleteConfig, noContent()),
		},
		HelpSynopsis:    configHelpSynopsis,
		HelpDescription: configHelpDescription,
	}}
}

func configFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldURL: {
			Type:         framework.TypeString,
			Default:      backend.DefaultURL,
			Description:  "ECGridOS v4.1 SOAP endpoint; https, or plain http to a loopback host. Another scheme, host or port needs the password or api_key in the same request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "URL", Value: backend.DefaultURL},
		},
		fieldUsername: {
			Type:         framework.TypeString,
			Description:  "ECGridOS LoginName.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Username"},
		},
		fieldPassword: {
			Type:         framework.TypeString,
			Description:  "Password of that login. Never returned.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Password", Sensitive: true},
		},
		fieldAPIKey: {
			Type:         framework.TypeString,
			Description:  "An ECGrid API key to use instead of username and password: then there are no sessions. Never returned.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "API key", Sensitive: true},
		},
		fieldTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Lease of a key. 0: the mount's default.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL"},
		},
		fieldMaxTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Longest lease of a key, with all renewals. 0: the mount's maximum, which it never exceeds.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Maximum TTL"},
		},
		fieldRequestTimeout: {
			Type:         framework.TypeDurationSecond,
			Default:      int(seconds(backend.DefaultRequestTimeout)),
			Description:  "Deadline of one call to ECGrid, 1s to 20s.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Request timeout"},
		},
		fieldSessionIdleTimeout: {
			Type:         framework.TypeDurationSecond,
			Default:      int(seconds(backend.DefaultSessionIdleTimeout)),
			Description:  "Log out of ECGrid after so long without use. 0: after every request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Session idle timeout"},
		},
		fieldKeyCacheTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "How long a key may be served from memory. 0: every read asks ECGrid.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Key cache TTL"},
		},
		fieldCACert: {
			Type:         framework.TypeString,
			Description:  "PEM certificates to trust for the endpoint instead of the system's.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "CA certificate"},
		},
		fieldTLSServerName: {
			Type:         framework.TypeString,
			Description:  "Name to verify in the endpoint's certificate instead of the url's host.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TLS server name"},
		},
		fieldVerifyConnection: {
			Type:         framework.TypeBool,
			Default:      true,
			Description:  "Try the login before storing it; where it is refused nothing is changed. Not stored.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Verify connection", Value: true},
		},
	}
}

// secretConfigFields are written and never read.
var secretConfigFields = []string{fieldPassword, fieldAPIKey, fieldVerifyConnection}

func configResponseFields() map[string]*framework.FieldSchema {
	fields := configFields()
	for _, name := range secretConfigFields {
		delete(fields, name)
	}
	fields[fieldAuthMethod] = &framework.FieldSchema{Type: framework.TypeString, Description: "password or api_key, whichever is stored."}
	return fields
}

func (m *mount) configExists(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
	config, err := m.engine.ReadConfig(ctx, req.Storage)
	return config != nil, err
}

// writeConfig serves PUT and POST config.
func (m *mount) writeConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	patch, err := configPatch(d)
	if err != nil {
		return nil, err
	}
	return nil, m.engine.WriteConfig(ctx, req.Storage, patch)
}

// patchConfig serves PATCH config: the same, of a config that is there.
func (m *mount) patchConfig(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	exists, err := m.configExists(ctx, req, d)
	if err != nil {
		return nil, err
	}
	if !exists {
		return nil, backend.ErrNotConfigured
	}
	return m.writeConfig(ctx, req, d)
}

func configPatch(d *framework.FieldData) (backend.ConfigPatch, error) {
	p := backend.ConfigPatch{VerifyConnection: boolField(d, fieldVerifyConnection)}
	for name, field := range map[string]**string{
		fieldURL:           &p.URL,
		fieldUsername:      &p.Username,
		fieldPassword:      &p.Password,
		fieldAPIKey:        &p.APIKey,
		fieldCACert:        &p.CACert,
		fieldTLSServerName: &p.TLSServerName,
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
	return p, nil
}

// readConfig serves GET config.
func (m *mount) readConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	c, err := m.engine.ReadConfig(ctx, req.Storage)
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
	}}, nil
}

// deleteConfig serves DELETE config.
func (m *mount) deleteConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return nil, m.engine.DeleteConfig(ctx, req.Storage)
}
