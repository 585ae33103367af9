// SPDX-License-Identifier: MPL-2.0

package vso

import (
	"fmt"
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
	eventually(t, 30*time.Second, "the first read", func() bool { return w.podKey(exampleNamespace)() == w.Key() })
	first := w.Key()
	eventually(t, 7*time.Minute, "a failed rotation", func() bool {
		time.Sleep(time.Second)
		r, err := w.Do("GET", "ecgrid/roles/"+consumertest.Role, nil)
		return err == nil && r.OK() && fmt.Sprint(r.Data["last_rotation_error"]) != ""
	})
	clear()
	t.Logf("failed at %s", time.Now().UTC().Format(time.TimeOnly))
	eventually(t, 4*time.Minute, "the rotation", func() bool { return w.Key() != first })
	t.Logf("rotated at %s", time.Now().UTC().Format(time.TimeOnly))
	took, err := wait(75*time.Second, func() bool { return w.podKey(exampleNamespace)() == w.Key() })
	if err != nil {
		t.Errorf("the pods do not have the rotated key: %v; events: %q", err, w.events(exampleNamespace))
		took, err = wait(8*time.Minute, func() bool { return w.podKey(exampleNamespace)() == w.Key() })
		t.Logf("without that limit: %v %v", took, err)
	}
	t.Logf("the pods had the key after %v, %d reads", took, w.reads(exampleNamespace))
	w.noSuperfluous(t, exampleNamespace, "after a late rotation")
}
