// SPDX-License-Identifier: MPL-2.0

// Package clients makes the ECGrid client of a transport.
package clients

import (
	"fmt"

	"vault-plugin-ecgrid/internal/ecgrid"
	"vault-plugin-ecgrid/internal/ecgrid/rest"
	"vault-plugin-ecgrid/internal/ecgrid/soap"
)

var connectors = map[ecgrid.Transport]ecgrid.Connector{
	ecgrid.SOAP: func(e ecgrid.Endpoint) (ecgrid.Client, error) { return soap.Connect(e) },
	ecgrid.REST: func(e ecgrid.Endpoint) (ecgrid.Client, error) { return rest.Connect(e) },
}

// Connect returns a client of an endpoint. It does no I/O. It is an ecgrid.Connector.
func Connect(e ecgrid.Endpoint) (ecgrid.Client, error) {
	connect := connectors[e.Transport.OrDefault()]
	if connect == nil {
		return nil, fmt.Errorf("ECGrid endpoint: the transport is neither %s nor %s", ecgrid.SOAP, ecgrid.REST)
	}
	return connect(e)
}
