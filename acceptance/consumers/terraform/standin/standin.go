// SPDX-License-Identifier: MPL-2.0

// Package standin is a Terraform provider that stands in for the Vault provider, if its
// binary is not available. It serves the schema that the Vault provider publishes, and
// sends the requests that the source of the Vault provider sends. So Terraform itself runs:
// it checks the configuration against the schema, and decides what it plans, when it opens
// an ephemeral resource and what it stores. The code of the Vault provider is not run.
//
// It uses VAULT_TOKEN itself. The Vault provider makes a child token of it first.
package standin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov5"
	"github.com/hashicorp/terraform-plugin-go/tfprotov5/tf5server"

	"vault-plugin-ecgrid/acceptance/consumers/terraform/schema"
	"vault-plugin-ecgrid/acceptance/vaulttest"
)

// Wanted reports whether Terraform has started this process as a provider.
func Wanted() bool { return os.Getenv("TF_PLUGIN_MAGIC_COOKIE") != "" }

// Serve answers Terraform until it ends the process.
func Serve() error {
	published, err := schema.Vault()
	if err != nil {
		return err
	}
	return tf5server.Serve("registry.terraform.io/hashicorp/vault", func() tfprotov5.ProviderServer {
		return &provider{schema: published}
	})
}

// provider implements what Terraform calls. Terraform does not call the other methods of
// the embedded interface, which is nil.
type provider struct {
	tfprotov5.ProviderServer
	schema schema.Provider
	vault  vaulttest.Client
}

func (p *provider) GetMetadata(context.Context, *tfprotov5.GetMetadataRequest) (*tfprotov5.GetMetadataResponse, error) {
	r := &tfprotov5.GetMetadataResponse{}
	for name := range p.schema.Resources {
		r.Resources = append(r.Resources, tfprotov5.ResourceMetadata{TypeName: name})
	}
	for name := range p.schema.Ephemeral {
		r.EphemeralResources = append(r.EphemeralResources, tfprotov5.EphemeralResourceMetadata{TypeName: name})
	}
	return r, nil
}

func (p *provider) GetProviderSchema(context.Context, *tfprotov5.GetProviderSchemaRequest) (*tfprotov5.GetProviderSchemaResponse, error) {
	return &tfprotov5.GetProviderSchemaResponse{
		Provider:                 &tfprotov5.Schema{Block: &tfprotov5.SchemaBlock{}},
		ResourceSchemas:          protocolSchemas(p.schema.Resources),
		EphemeralResourceSchemas: protocolSchemas(p.schema.Ephemeral),
	}, nil
}

func (p *provider) GetResourceIdentitySchemas(context.Context, *tfprotov5.GetResourceIdentitySchemasRequest) (*tfprotov5.GetResourceIdentitySchemasResponse, error) {
	return &tfprotov5.GetResourceIdentitySchemasResponse{}, nil
}

func (p *provider) PrepareProviderConfig(_ context.Context, r *tfprotov5.PrepareProviderConfigRequest) (*tfprotov5.PrepareProviderConfigResponse, error) {
	return &tfprotov5.PrepareProviderConfigResponse{PreparedConfig: r.Config}, nil
}

func (p *provider) ConfigureProvider(context.Context, *tfprotov5.ConfigureProviderRequest) (*tfprotov5.ConfigureProviderResponse, error) {
	pem, err := os.ReadFile(os.Getenv("VAULT_CACERT"))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	p.vault = vaulttest.Client{
		Addr: os.Getenv("VAULT_ADDR"), Token: os.Getenv("VAULT_TOKEN"),
		HTTP: &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	}
	return &tfprotov5.ConfigureProviderResponse{Diagnostics: problem("cannot read VAULT_CACERT", err)}, nil
}

func (p *provider) StopProvider(context.Context, *tfprotov5.StopProviderRequest) (*tfprotov5.StopProviderResponse, error) {
	return &tfprotov5.StopProviderResponse{}, nil
}

func problem(summary string, err error) []*tfprotov5.Diagnostic {
	if err == nil {
		return nil
	}
	return []*tfprotov5.Diagnostic{{Severity: tfprotov5.DiagnosticSeverityError, Summary: summary, Detail: err.Error()}}
}

// send sends a request and returns what Vault answered. Found is false if Vault has
// nothing at the path.
func (p *provider) send(method, path string, body any) (data map[string]any, found bool, err error) {
	r, err := p.vault.Do(method, path, body)
	switch {
	case err != nil:
		return nil, false, err
	case r.Status == http.StatusNotFound:
		return nil, false, nil
	case !r.OK():
		return nil, false, fmt.Errorf("error of Vault at %s: status %d: %v", path, r.Status, r.Errors)
	}
	return r.Data, true, nil
}
