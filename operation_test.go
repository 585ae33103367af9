// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/internal/ecgrid"
)

// A panic ends its request, but not the process, which other mounts share.
func TestPanicEndsOneRequest(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	const canary = "panic-value"
	connect := m.plugin.Connect
	m.plugin.Connect = func(ecgrid.Endpoint) (ecgrid.Client, error) { panic(canary) }
	m.backend = m.serve()
	m.refused(http.StatusInternalServerError, logical.UpdateOperation, "config", m.login(nil))
	m.must(logical.ReadOperation, "info", nil)
	if strings.Contains(m.log.String(), canary) {
		t.Error("the log contains the panic's value")
	}
	m.plugin.Connect = connect
	m.backend = m.serve()
	m.configure(nil)
}
