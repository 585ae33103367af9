// SPDX-License-Identifier: MPL-2.0

package acceptance

import (
	"bytes"
	"net/http"
	"strings"
	"testing"
)

// A real Vault takes the events. Only Vault Enterprise has subscribers.
func TestEventsOnVault(t *testing.T) {
	t.Parallel()
	v := sharedVault(t)
	m := configuredMount(t, v, nil)
	m.ok(t, http.MethodPost, m.at("rotate-key/5001"), nil)
	m.disable(t) // waits until all events are sent
	if bytes.Contains(readAll(v.logPath()), []byte("Vault does not take events")) {
		t.Error("Vault does not take an event")
	}
	if version, _ := v.cli("version"); strings.Contains(version, "+ent") {
		t.Skip("not run: what Vault Community answers to a subscription")
	}
	if out, code := v.cli("events", "subscribe", "ecgrid/*"); code == 0 || !strings.Contains(out, "events endpoint not found") {
		t.Errorf("a subscription ended with %d: %s", code, out)
	}
}
