package ecgrid

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

const (
	infoHelpSynopsis    = "Show which build of the plugin serves this mount."
	infoHelpDescription = `
Returns version, commit, build and Vault SDK of the running plugin. It does not call
ECGrid and needs no config.
`
	sdkModule = "github.com/hashicorp/vault/sdk"
)

// infoPaths serves info.
func (m *mount) infoPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "info$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "info",
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(infoHelpSynopsis, m.readInfo, ok(map[string]*framework.FieldSchema{
				"version": {Type: framework.TypeString, Description: "Version of the plugin."},
				"commit":  {Type: framework.TypeString, Description: "Source commit it was built from."},
				"build":   {Type: framework.TypeString, Description: "Go version and platform of the build."},
				"sdk":     {Type: framework.TypeString, Description: "Version of the Vault SDK it was built with."},
			})),
		},
		HelpSynopsis:    infoHelpSynopsis,
		HelpDescription: infoHelpDescription,
	}}
}

// readInfo serves GET info.
func (m *mount) readInfo(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{
		"version": m.plugin.Version,
		"commit":  m.plugin.Commit,
		"build":   runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		"sdk":     sdkVersion(),
	}}, nil
}

func sdkVersion() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range build.Deps {
		if dep.Path == sdkModule {
			return dep.Version
		}
	}
	return "unknown"
}
