// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/simulator"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.configure(nil)
	m.expect("status", fields{"login_name": simulator.AdminLogin, "auth_level": "NetworkAdmin",
		"transport": transport(), "url": m.sim.URL(transport()), "open_sessions": byTransport[any](1.0, nil)})
	for op, read := range map[string]func(){
		"WhoAmI":   func() { m.refused(http.StatusBadGateway, logical.ReadOperation, "status", nil) },
		"UserList": func() { m.refused(http.StatusBadGateway, logical.ListOperation, "keys/", nil) },
	} { // not 404, because the request names nothing that could be missing
		clear := m.sim.Inject(simulator.Fault{Op: op, Cause: simulator.NotFound})
		read()
		clear()
	}
	_ = m.sim.Close()
	m.refused(http.StatusServiceUnavailable, logical.ReadOperation, "status", nil)
}
