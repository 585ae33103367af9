// SPDX-License-Identifier: MPL-2.0

// Package baseline has the secrets engines that the plugin is compared with. They are
// written as the SDK's documentation teaches, and only create leases. What they cost is
// the cost of Vault, the SDK and gRPC.
package baseline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

const (
	secretType = "baseline"
	// maxIdleConns is more than the readers of any round, so no read waits for a dial.
	maxIdleConns = 2048
	// leasedKey is what every lease holds. It is as long as an ECGrid API key.
	leasedKey = "00000000-0000-4000-8000-000000000000"
)

// Options select one of the engines.
type Options struct {
	// Bare avoids the two calls back to Vault that the SDK makes in every request.
	Bare bool
	// Post makes every read send the POST that was written to "config".
	Post bool
}

// Serve is the main function of a plugin.
func Serve(o Options) error {
	return plugin.ServeMultiplex(&plugin.ServeOpts{BackendFactoryFunc: Factory(o)})
}

// Factory returns the factory of an engine.
func Factory(o Options) logical.Factory {
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		own := *conf
		if o.Bare && own.System != nil {
			own.System = &systemView{SystemView: own.System}
		}
		b := newBackend(o)
		return b, b.Setup(ctx, &own)
	}
}

// systemView caches the two answers that the SDK asks Vault for in every request.
type systemView struct {
	logical.SystemView
	once  sync.Once
	state consts.ReplicationState
	local bool
}

func (v *systemView) load() {
	v.once.Do(func() { v.state, v.local = v.SystemView.ReplicationState(), v.SystemView.LocalMount() })
}

// ReplicationState returns Vault's first answer.
func (v *systemView) ReplicationState() consts.ReplicationState { v.load(); return v.state }

// LocalMount returns Vault's first answer.
func (v *systemView) LocalMount() bool { v.load(); return v.local }

type backend struct {
	*framework.Backend
	Options
	post   atomic.Pointer[post]
	client *http.Client
}

// post is the request of a read.
type post struct{ url, action, body string }

func newBackend(o Options) *backend {
	b := &backend{Options: o, client: &http.Client{Transport: &http.Transport{
		MaxIdleConns:        maxIdleConns,
		MaxIdleConnsPerHost: maxIdleConns,
		DisableCompression:  true,
	}}}
	b.Backend = &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{
			path("config$", logical.UpdateOperation, b.writeConfig, "url", "action", "body"),
			path("keys/"+framework.GenericNameRegex("user_id"), logical.ReadOperation, b.readKey, "user_id"),
		},
		Secrets: []*framework.Secret{{
			Type:   secretType,
			Fields: textFields("api_key"),
			Renew: func(_ context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
				return &logical.Response{Secret: req.Secret}, nil
			},
			Revoke: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
				return nil, nil
			},
		}},
	}
	return b
}

func path(pattern string, operation logical.Operation, handler framework.OperationFunc, fields ...string) *framework.Path {
	return &framework.Path{
		Pattern: pattern,
		Fields:  textFields(fields...),
		Operations: map[logical.Operation]framework.OperationHandler{operation: &framework.PathOperation{
			Callback:                    handler,
			ForwardPerformanceStandby:   true,
			ForwardPerformanceSecondary: true,
		}},
	}
}

func textFields(names ...string) map[string]*framework.FieldSchema {
	fields := map[string]*framework.FieldSchema{}
	for _, name := range names {
		fields[name] = &framework.FieldSchema{Type: framework.TypeString}
	}
	return fields
}

func (b *backend) writeConfig(_ context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	b.post.Store(&post{url: d.Get("url").(string), action: d.Get("action").(string), body: d.Get("body").(string)})
	return nil, nil
}

func (b *backend) readKey(ctx context.Context, _ *logical.Request, d *framework.FieldData) (*logical.Response, error) {
	if b.Post {
		if err := b.callUpstream(ctx); err != nil {
			return nil, err
		}
	}
	userID, err := strconv.Atoi(d.Get("user_id").(string))
	if err != nil {
		return nil, err
	}
	return b.Secret(secretType).Response(
		map[string]any{"api_key": leasedKey, "user_id": userID},
		map[string]any{"user_id": strconv.Itoa(userID)},
	), nil
}

// callUpstream sends the POST, reads the answer to its end, and discards it.
func (b *backend) callUpstream(ctx context.Context) error {
	p := b.post.Load()
	if p == nil {
		return errors.New("config was not written")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(p.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	req.Header.Set("SOAPAction", p.action)
	resp, err := b.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the upstream answered HTTP %d", resp.StatusCode)
	}
	return nil
}
