// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"context"
	"net/http"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend"
)

const (
	metricsHelpSynopsis    = "Show the metrics of this mount, for Prometheus."
	metricsHelpDescription = `
Returns the counters of this mount and its state in the Prometheus text format. The
counters are those of the plugin process on the active node. They begin at 0 when it
starts. It does not call ECGrid and needs no config.

The response is not JSON, so "vault read" cannot show it. Use curl, and Prometheus with
the metrics_path /v1/ and the path of the mount and /metrics.
`
)

// metricsPaths serves metrics.
func (m *mount) metricsPaths() []*framework.Path {
	responses := map[int][]framework.Response{http.StatusOK: {{
		Description: http.StatusText(http.StatusOK),
		MediaType:   "text/plain",
		Example:     &logical.Response{}, // without one, OpenAPI has no media type
	}}}
	return []*framework.Path{{
		Pattern: "metrics$",
		DisplayAttrs: &framework.DisplayAttributes{
			OperationPrefix: operationPrefix,
			OperationSuffix: "metrics",
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: operation(metricsHelpSynopsis, m.readMetrics, responses),
		},
		HelpSynopsis:    metricsHelpSynopsis,
		HelpDescription: metricsHelpDescription,
	}}
}

// readMetrics serves GET metrics. Vault sends the raw body as it is.
func (m *mount) readMetrics(ctx context.Context, _ *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	text, err := m.engine.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	return &logical.Response{Data: map[string]any{
		logical.HTTPStatusCode:  http.StatusOK,
		logical.HTTPContentType: backend.MetricsContentType,
		logical.HTTPRawBody:     text,
	}}, nil
}

// buildLabels returns the labels of the metric of the build. They are the fields of info.
func (p *Plugin) buildLabels() map[string]string {
	labels := map[string]string{}
	for name, value := range infoFields.data(p) {
		labels[name] = value.(string)
	}
	return labels
}
