// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"vault-plugin-ecgrid/acceptance/consumertest"
	"vault-plugin-ecgrid/internal/simulator"
)

// TestLateScheduledRotation: the first try of a scheduled rotation fails. The second one,
// a minute or two later, comes after the operator's read. The pods must have the key soon
// after it all the same.
func TestLateScheduledRotation(t *testing.T) {
	if testing.Short() {
		t.Skip("the rotation takes some minutes")
	}
	t.Parallel()
	w := start(t, time.Hour)
	at := time.Now().UTC().Add(4 * time.Minute)
	w.Write(t, "ecgrid/roles/"+consumertest.Role, object{"rotation_schedule": fmt.Sprintf("%d * * * *", at.Minute())})
	clear := w.Grid.Inject(simulator.Fault{Op: "GenerateAPIKey", Cause: simulator.AccessDenied})
	w.example(t, exampleNamespace, nil)
	w.run(t)
	hasKey := func() bool { return w.podKey(exampleNamespace)() == w.Key() }
	consumertest.Eventually(t, patience, "the first read", hasKey)
	first := w.Key()
	consumertest.Eventually(t, 7*time.Minute, "a failed rotation", func() bool {
		r, err := w.Do(http.MethodGet, "ecgrid/roles/"+consumertest.Role, nil)
		return err == nil && r.OK() && fmt.Sprint(r.Data["last_rotation_error"]) != ""
	})
	clear()
	consumertest.Eventually(t, 4*time.Minute, "the rotation", func() bool { return w.Key() != first })
	took := consumertest.Eventually(t, time.Minute+consumertest.Slack, "the pods have the rotated key", hasKey)
	t.Logf("the pods had the key after %v, %d reads", took, w.reads(exampleNamespace))
	w.noSuperfluous(t, exampleNamespace, "after a late rotation")
}
