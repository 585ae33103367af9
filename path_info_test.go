// SPDX-License-Identifier: MPL-2.0

package ecgrid

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
)

func TestInfo(t *testing.T) {
	t.Parallel()
	m := newTestMount(t)
	m.expect("info", fields{"version": "v1.2.3", "commit": "test"})
	if v := m.backend.(logical.PluginVersioner).PluginVersion().Version; v != "v1.2.3" {
		t.Errorf("the plugin reports version %s to the catalog", v)
	}
}
