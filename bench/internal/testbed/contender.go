// SPDX-License-Identifier: MPL-2.0

package testbed

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"vault-plugin-ecgrid/bench/internal/load"
	"vault-plugin-ecgrid/bench/internal/proc"
	"vault-plugin-ecgrid/bench/internal/upstream"
	"vault-plugin-ecgrid/internal/simulator"
)

// Names of contenders that other code refers to. Noop is one, too.
const (
	ECGrid        = "ecgrid"
	ECGridDefault = "ecgrid-default"
	ECGridREST    = "ecgrid-rest"
	ECGridCached  = "ecgrid-cached"
	NoopBare      = "noop-bare"
	Livefloor     = "livefloor"
	Twin          = "livefloor-twin"
	Direct        = "direct"
)

// Contender is one way to read a key. Its mount, its process and its binary in the
// plugin directory have its name.
type Contender struct {
	Name, About string
	// Program and Args are the plugin. A builtin engine has a Type instead. A contender
	// with neither is not in Vault.
	Program string
	Args    []string
	Type    string
	// CallsUpstream means that every read calls the upstream. Other contenders are
	// measured only without a latency, because it makes no difference to them.
	CallsUpstream bool
	// OnlyIfLimited means that it is measured only with a latency and with more readers
	// than the default of max_concurrent_calls.
	OnlyIfLimited bool
	// Optional means that this build of the plugin may not have it yet. Then it is left
	// out.
	Optional bool

	// Config returns what is written to "config". It is nil if there is no config.
	Config func(upstream.Access) map[string]any

	path    string                                               // of a read, with load.Placeholder
	perUser func(user string) (path string, body map[string]any) // written for each user
}

// maxCalls is the highest max_concurrent_calls that the plugin accepts. With 128 readers
// its default of 64 would limit the plugin to 64 ÷ latency reads per second.
const maxCalls = 256

const maxCallsField = "max_concurrent_calls"

// Contenders are all contenders, in the order of the tables.
var Contenders = []Contender{
	{Name: ECGrid, About: "this plugin over SOAP, max_concurrent_calls=256", Program: Plugin, CallsUpstream: true, path: "keys/{}", Config: soapConfig},
	{Name: ECGridDefault, About: "this plugin over SOAP, max_concurrent_calls at its default; only with a latency and 128 readers", Program: Plugin, CallsUpstream: true, OnlyIfLimited: true, path: "keys/{}", Config: loginConfig},
	{Name: ECGridREST, About: "this plugin over REST, max_concurrent_calls=256", Program: Plugin, CallsUpstream: true, Optional: true, path: "keys/{}", Config: restConfig},
	{Name: "ecgrid-creds", About: "this plugin, reads of roles, max_concurrent_calls=256", Program: Plugin, path: "creds/bench-{}", Config: soapConfig, perUser: role},
	{Name: "ecgrid-static", About: "this plugin, reads without a lease, max_concurrent_calls=256", Program: Plugin, Optional: true, path: "static-creds/bench-{}", Config: soapConfig, perUser: role},
	{Name: ECGridCached, About: "this plugin, key_cache_ttl=1h, max_concurrent_calls=256", Program: Plugin, path: "keys/{}", Config: cachedConfig},
	{Name: "ecgrid-other", About: "the build of the plugin that -other names, max_concurrent_calls=256 if it has that field", Program: Other, CallsUpstream: true, path: "keys/{}", Config: soapConfig},
	{Name: Noop, About: "a plugin that only creates leases", Program: Noop, path: "keys/{}"},
	{Name: NoopBare, About: "noop without the SDK's hidden calls back to Vault", Program: Noop, Args: []string{"-bare"}, path: "keys/{}"},
	{Name: Livefloor, About: "noop-bare with one POST to the upstream", Program: Noop, Args: []string{"-bare", "-post"}, CallsUpstream: true, path: "keys/{}", Config: postConfig},
	{Name: Twin, About: "livefloor a second time; the difference between the two is noise", Program: Noop, Args: []string{"-bare", "-post"}, CallsUpstream: true, path: "keys/{}", Config: postConfig},
	{Name: Direct, About: "the same POST without Vault", CallsUpstream: true},
	{Name: "kv", About: "Vault's kv version 1, without a lease", Type: "kv", path: "{}", perUser: kvEntry},
}

// MustFind returns the contender with this name. It panics if there is none.
func MustFind(name string) Contender {
	for _, c := range Contenders {
		if c.Name == name {
			return c
		}
	}
	panic("no contender " + name)
}

func loginConfig(a upstream.Access) map[string]any {
	return map[string]any{"url": a.SOAP(), "username": a.Login, "password": a.Password}
}

func soapConfig(a upstream.Access) map[string]any {
	return with(loginConfig(a), map[string]any{maxCallsField: maxCalls})
}

func cachedConfig(a upstream.Access) map[string]any {
	return with(soapConfig(a), map[string]any{"key_cache_ttl": "1h"})
}

func restConfig(a upstream.Access) map[string]any {
	return with(soapConfig(a), map[string]any{"transport": "rest", "url": a.REST()})
}

func with(config, fields map[string]any) map[string]any {
	maps.Copy(config, fields)
	return config
}

// postConfig always reads the first user's key, since livefloor does not know SOAP.
func postConfig(a upstream.Access) map[string]any {
	return map[string]any{
		"url":    a.SOAP(),
		"action": upstream.SOAPHeader(upstream.Get)["SOAPAction"],
		"body":   upstream.ReadBody(a.APIKey, strconv.Itoa(upstream.FirstUser)),
	}
}

func role(user string) (string, map[string]any) {
	return "roles/bench-" + user, map[string]any{"user_id": user}
}

func kvEntry(user string) (string, map[string]any) {
	return user, map[string]any{"api_key": "00000000-0000-4000-8000-000000000000", "user_id": user}
}

// MeasuredIn reports whether the contender is measured with this latency and this many
// readers.
func (c Contender) MeasuredIn(latency time.Duration, readers int) bool {
	if c.OnlyIfLimited {
		return latency > 0 && readers >= 128
	}
	return latency == 0 || c.CallsUpstream
}

// InVault reports whether the contender is a mount.
func (c Contender) InVault() bool { return c.Program != "" || c.Type != "" }

// Job returns a load of this many workers. Each one reads its own user.
func (c Contender) Job(v *Vault, a upstream.Access, workers int) load.Job {
	if c.InVault() {
		return v.Job(c.Name+"/"+c.path, workers)
	}
	return load.Job{
		Addr: a.Addr, Method: http.MethodPost, Path: simulator.SOAPPath,
		Header: upstream.SOAPHeader(upstream.Get), Body: upstream.ReadBody(a.APIKey, load.Placeholder),
		Workers: workers, FirstUser: upstream.FirstUser, Users: workers,
	}
}

// Job returns a load of reads of a path, which may contain load.Placeholder.
func (v *Vault) Job(path string, workers int) load.Job {
	return load.Job{
		Addr: v.Addr, Method: http.MethodGet, Path: "/v1/" + path,
		Header:  map[string]string{"X-Vault-Token": v.Token},
		Workers: workers, FirstUser: upstream.FirstUser, Users: workers,
	}
}

// PID returns the process of the contender's plugin, or 0 if it has none.
func (v *Vault) PID(c Contender) (int, error) {
	if c.Program == "" {
		return 0, nil
	}
	return proc.Child(v.Group.PID, c.Name)
}

// Register adds the contender's plugin to Vault's catalog.
func (v *Vault) Register(ctx context.Context, c Contender) error {
	p := v.tools.programs[c.Program]
	if err := v.tools.install(p, c.Name); err != nil {
		return err
	}
	return v.Do(ctx, http.MethodPut, catalogPath(c), map[string]any{
		"sha256": p.sha256, "command": c.Name, "args": c.Args, "version": p.version,
	}, nil)
}

func catalogPath(c Contender) string { return "sys/plugins/catalog/secret/" + c.Name }

// Enable enables the contender's engine.
func (v *Vault) Enable(ctx context.Context, c Contender) error {
	body := map[string]any{"type": c.Name}
	if c.Type != "" {
		body["type"], body["options"] = c.Type, map[string]string{"version": "1"}
	}
	return v.Do(ctx, http.MethodPost, "sys/mounts/"+c.Name, body, nil)
}

// Disable undoes Enable and Register.
func (v *Vault) Disable(ctx context.Context, c Contender) error {
	if err := v.Do(ctx, http.MethodDelete, "sys/mounts/"+c.Name, nil, nil); err != nil || c.Program == "" {
		return err
	}
	path := catalogPath(c)
	if version := v.tools.programs[c.Program].version; version != "" {
		path += "?version=" + version
	}
	return v.Do(ctx, http.MethodDelete, path, nil, nil)
}

// Configure writes the contender's config with additional fields. If an older build of
// the plugin refuses max_concurrent_calls, Configure leaves it out.
func (v *Vault) Configure(ctx context.Context, c Contender, a upstream.Access, fields map[string]any) error {
	if c.Config == nil {
		return nil
	}
	config := c.Config(a)
	write := func() error {
		return v.Do(ctx, http.MethodPost, c.Name+"/config", with(config, fields), nil)
	}
	err := write()
	if c.Program == Other && Status(err) == http.StatusBadRequest {
		delete(config, maxCallsField)
		err = write()
	}
	return err
}

// Mount registers, enables and configures a contender for this many users, and reads a
// key once. If an optional contender is refused, Mount removes it again and returns why.
func (v *Vault) Mount(ctx context.Context, c Contender, a upstream.Access, users int) (refused string, err error) {
	if !c.InVault() {
		return "", nil
	}
	if c.Program != "" {
		if err := v.Register(ctx, c); err != nil {
			return "", err
		}
	}
	if err := v.Enable(ctx, c); err != nil {
		return "", err
	}
	err = v.prepare(ctx, c, a, users)
	if status := Status(err); c.Optional && status >= 400 && status < 500 {
		return err.Error(), v.Disable(ctx, c)
	}
	return "", err
}

func (v *Vault) prepare(ctx context.Context, c Contender, a upstream.Access, users int) error {
	if err := v.Configure(ctx, c, a, nil); err != nil {
		return err
	}
	for i := 0; i < users && c.perUser != nil; i++ {
		path, body := c.perUser(strconv.Itoa(upstream.FirstUser + i))
		if err := v.Do(ctx, http.MethodPost, c.Name+"/"+path, body, nil); err != nil {
			return err
		}
	}
	return v.ReadFirst(ctx, c)
}

// ReadFirst reads the key of the first user.
func (v *Vault) ReadFirst(ctx context.Context, c Contender) error {
	path := strings.ReplaceAll(c.path, load.Placeholder, strconv.Itoa(upstream.FirstUser))
	return v.Do(ctx, http.MethodGet, c.Name+"/"+path, nil, nil)
}
