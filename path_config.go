// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	configPath = "config"

	configHelpSynopsis    = "Configure the ECGrid login of this mount and the default lease settings."
	configHelpDescription = `
Stores one ECGrid login: the username and password of an ECGridOS user, or an
api_key. With an api_key there are no sessions. Setting one kind clears the other.
To read other users' keys, the login needs AuthLevel NetworkAdmin or above.

A write is a patch. An omitted field keeps its value. An empty value clears an
optional field. A changed endpoint or login is tried before it is stored (see
verify_connection). If ECGrid refuses it, nothing changes. A write that changes
transport, ca_cert, tls_server_name, or the scheme, host or port of url must also send
the password or api_key, because these fields decide who receives the credential. A
login may move between ECGrid's own endpoints without it: write transport=rest or
transport=soap. Outstanding leases survive the move.

While a rotate-root is unconfirmed (see last_root_rotation_error), a write that would
drop one of the two passwords fails with 409, unless it sends a credential that works.

Durations are whole seconds, or a number with a unit, such as 30s, 15m or 24h.

A read returns all fields except the secrets and does not call ECGrid. A delete logs
out and removes the login. Existing leases can still be revoked. A delete fails with
409 while a rotate-root is unconfirmed, or while ECGrid may still apply an earlier one.
The message says until when.
`
)

// configFields lists the fields of config. To add a field, add a row here, its value to
// Config and ConfigPatch in backend/config.go, and set it in ConfigPatch.apply.
var configFields = slices.Concat(fieldTable[backend.ConfigPatch, *backend.Config]{
	stringField("transport", "Transport",
		"How ECGrid is called: soap (ECGridOS v4.1) or rest (the REST API v2, its successor). To change it, send the password or api_key in the same request, unless both endpoints are ECGrid's own.",
		func(p *backend.ConfigPatch) **string { return &p.Transport },
		func(c *backend.Config) string { return string(c.TransportInUse()) }).withDefault("soap"),
	stringField("url", "URL",
		"ECGrid's endpoint for the transport. Must be https, or http to a loopback host. An empty url, or none, means ECGrid's own. To change the scheme, host or port, send the password or api_key in the same request.",
		func(p *backend.ConfigPatch) **string { return &p.URL },
		func(c *backend.Config) string { return c.URL }).withDefault(backend.DefaultURL),
	stringField("username", "Username",
		"ECGridOS LoginName. Used with password.",
		func(p *backend.ConfigPatch) **string { return &p.Username },
		func(c *backend.Config) string { return c.Username }),
	credentialField("password", "Password",
		"Password of the username. Never returned.",
		func(p *backend.ConfigPatch) (**string, *bool) { return &p.Password, &p.ClearPassword }),
	credentialField(fieldAPIKey, "API key",
		"ECGrid API key, used without sessions instead of username and password. Never returned.",
		func(p *backend.ConfigPatch) (**string, *bool) { return &p.APIKey, &p.ClearAPIKey }),
	returnedField[backend.ConfigPatch]("auth_method", framework.TypeString,
		"Kind of the stored credential: password or api_key.",
		func(c *backend.Config) any { return c.AuthMethod() }),
	durationField(fieldTTL, "TTL",
		"Lease duration of keys/<user_id>, and of roles without a ttl. 0 means the mount's default.", 0,
		func(p *backend.ConfigPatch) **time.Duration { return &p.TTL },
		func(c *backend.Config) time.Duration { return c.TTL }),
	durationField(fieldMaxTTL, "Maximum TTL",
		"Maximum lease duration of keys/<user_id>, including renewals, and of roles without a max_ttl. 0 means the mount's maximum, which is never exceeded.", 0,
		func(p *backend.ConfigPatch) **time.Duration { return &p.MaxTTL },
		func(c *backend.Config) time.Duration { return c.MaxTTL }),
	durationField("request_timeout", "Request timeout",
		"Timeout of one call to ECGrid, 1s to 20s. Default 15s.", backend.DefaultRequestTimeout,
		func(p *backend.ConfigPatch) **time.Duration { return &p.RequestTimeout },
		func(c *backend.Config) time.Duration { return c.RequestTimeout }),
	intField("max_concurrent_calls", "Maximum concurrent calls",
		"Calls to ECGrid in progress at once, 1 to 256; more wait. Lists and rotations take at most half of them. Default 64.", backend.DefaultMaxConcurrentCalls,
		func(p *backend.ConfigPatch) **int { return &p.MaxConcurrentCalls },
		func(c *backend.Config) int { return c.ConcurrentCalls() }),
	durationField("session_idle_timeout", "Session idle timeout",
		"Idle time after which the ECGrid session is logged out. 0 means as soon as no request is in flight. Default 60s.", backend.DefaultSessionIdleTimeout,
		func(p *backend.ConfigPatch) **time.Duration { return &p.SessionIdleTimeout },
		func(c *backend.Config) time.Duration { return c.SessionIdleTimeout }),
	durationField("key_cache_ttl", "Key cache TTL",
		"How long a key may be served from memory. 0 means that every read calls ECGrid. A rotation by this mount drops the cached key.", 0,
		func(p *backend.ConfigPatch) **time.Duration { return &p.KeyCacheTTL },
		func(c *backend.Config) time.Duration { return c.KeyCacheTTL }),
	stringField("ca_cert", "CA certificate",
		"PEM certificates to trust for the endpoint instead of the system's. To change them, send the password or api_key in the same request.",
		func(p *backend.ConfigPatch) **string { return &p.CACert },
		func(c *backend.Config) string { return c.CACert }),
	stringField("tls_server_name", "TLS server name",
		"Name to verify in the endpoint's certificate instead of the host of url. To change it, send the password or api_key in the same request.",
		func(p *backend.ConfigPatch) **string { return &p.TLSServerName },
		func(c *backend.Config) string { return c.TLSServerName }),
	optionField("verify_connection", "Verify connection",
		"Try the login before it is stored. If ECGrid refuses it, nothing changes. Not stored. Default true if the write changes the endpoint or the login.",
		func(p *backend.ConfigPatch) **bool { return &p.VerifyConnection }).withDefault(true),
	stringField("password_policy", "Password policy",
		"Vault password policy for rotate-root. If unset, a built-in generator makes passwords that ECGrid accepts.",
		func(p *backend.ConfigPatch) **string { return &p.PasswordPolicy },
		func(c *backend.Config) string { return c.PasswordPolicy }),
	boolField("disable_automated_rotation", "Disable automated rotation",
		"Stop automatic rotate-root but keep its schedule.",
		func(p *backend.ConfigPatch) **bool { return &p.DisableAutomatedRotation },
		func(c *backend.Config) bool { return c.DisableAutomatedRotation }),
	returnedField[backend.ConfigPatch]("last_root_rotation", framework.TypeTime,
		"When rotate-root last changed the password, or null if never.",
		func(c *backend.Config) any { return timestamp(c.Root.Last) }),
	returnedField[backend.ConfigPatch]("next_root_rotation", framework.TypeTime,
		"When the next automatic rotate-root is due, or null if never.",
		func(c *backend.Config) any { return timestamp(c.Root.Next) }),
	returnedField[backend.ConfigPatch]("last_root_rotation_error", framework.TypeString,
		"Why the last rotate-root failed, was not started, or is still unconfirmed. Empty otherwise.",
		func(c *backend.Config) any { return c.Root.LastError }),
	returnedField[backend.ConfigPatch]("last_login_error", framework.TypeString,
		"Why ECGrid refuses the stored login, and what to do. Empty if the last Login worked, or if none was tried. No ECGrid call is made to find out.",
		func(c *backend.Config) any { return c.LastLoginError }),
}, scheduleFields(
	func(p *backend.ConfigPatch) *backend.SchedulePatch { return &p.Schedule },
	func(c *backend.Config) backend.Schedule { return c.Schedule },
))

type configRow = fieldRow[backend.ConfigPatch, *backend.Config]

// credentialField is a secret. A null clears it, and the backend refuses an empty
// string.
func credentialField(name, title, description string, patch func(p *backend.ConfigPatch) (value **string, clear *bool)) configRow {
	schema := newSchema(framework.TypeString, title, description)
	schema.DisplayAttrs.Sensitive = true
	return configRow{name: name, request: schema, parse: func(d *framework.FieldData, p *backend.ConfigPatch) (err error) {
		value, clear := patch(p)
		if raw, sent := d.Raw[name]; sent && raw == nil {
			*clear = true
			return nil
		}
		*value, err = parseString(d, name)
		return err
	}}
}

// optionField is a bool that controls the write and is not stored.
func optionField(name, title, description string, patch func(*backend.ConfigPatch) **bool) configRow {
	return configRow{name: name, request: newSchema(framework.TypeBool, title, description), parse: func(d *framework.FieldData, p *backend.ConfigPatch) error {
		*patch(p) = parseBool(d, name)
		return nil
	}}
}

// configPaths serves config.
func (m *mount) configPaths() []*framework.Path {
	write := operation("Configure the login and the defaults. Omitted fields keep their values.", m.writeConfig(m.engine.WriteConfig), withErrors(noContent(), configErrors...))
	return []*framework.Path{{
		Pattern: configPath + "$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "configuration",
			Navigation:      true,
		},
		Fields:         configFields.requestSchema(),
		ExistenceCheck: m.configExists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.CreateOperation: write,
			logical.UpdateOperation: write,
			logical.PatchOperation:  operation("Patch the login and the defaults. A null clears a field.", m.writeConfig(m.engine.PatchConfig), withErrors(noContent(), configErrors...)),
			logical.ReadOperation:   operation("Read the login and the defaults, without the secrets.", m.readConfig, withErrors(ok(configFields.responseSchema()), http.StatusNotFound)),
			logical.DeleteOperation: operation("Log out and remove the login.", m.deleteConfig, withErrors(noContent(), http.StatusConflict)),
		},
		HelpSynopsis:    configHelpSynopsis,
		HelpDescription: configHelpDescription,
	}}
}

func (m *mount) configExists(ctx context.Context, req *logical.Request, _ *framework.FieldData) (bool, error) {
	config, err := m.engine.ReadConfig(ctx)
	return config != nil, err
}

// writeConfig serves POST and PATCH config. They differ in the engine's method.
func (m *mount) writeConfig(write func(context.Context, backend.ConfigPatch, backend.RotationManager) error) framework.OperationFunc {
	return func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
		patch, err := configFields.patch(d)
		if err != nil {
			return nil, err
		}
		return nil, write(ctx, patch, m.rotationManager(req))
	}
}

// readConfig serves GET config.
func (m *mount) readConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	config, err := m.engine.ReadConfig(ctx)
	if err != nil || config == nil {
		return nil, err
	}
	return &logical.Response{Data: configFields.data(config)}, nil
}

// deleteConfig serves DELETE config.
func (m *mount) deleteConfig(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	return nil, m.engine.DeleteConfig(ctx, m.rotationManager(req))
}
