// SPDX-License-Identifier: MPL-2.0

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
Returns the version, commit, build and Vault SDK of the running plugin. It does not
call ECGrid and needs no config.
`
	sdkModule = "github.com/hashicorp/vault/sdk"
)

var infoFields = fieldTable[noPatch, *Plugin]{
	returnedField[noPatch]("version", framework.TypeString, "Version of the plugin.",
		func(p *Plugin) any { return p.Version }),
	returnedField[noPatch]("commit", framework.TypeString, "Source commit of the build.",
		func(p *Plugin) any { return p.Commit }),
	returnedField[noPatch]("build", framework.TypeString, "Go version and platform of the build.",
		func(*Plugin) any { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }),
	returnedField[noPatch]("sdk", framework.TypeString, "Vault SDK version of the build.",
		func(*Plugin) any { return sdkVersion() }),
}

// infoPaths serves info.
func (m *mount) infoPaths() []*framework.Path {
	return []*framework.Path{{
		Pattern: "info$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "info",
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(infoHelpSynopsis, m.readInfo, ok(infoFields.responseSchema())),
		},
		HelpSynopsis:    infoHelpSynopsis,
		HelpDescription: infoHelpDescription,
	}}
}

// readInfo serves GET info.
func (m *mount) readInfo(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: infoFields.data(m.plugin)}, nil
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
