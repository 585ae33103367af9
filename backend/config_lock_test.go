// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"
)

// Reads do not wait while a rotate-root holds the config lock and waits for ECGrid.
func TestReadsDoNotWaitForTheConfigLock(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		f.applyAfter = []time.Duration{30 * time.Second}
		read := func() error { return errOf(e.IssueKey(t.Context(), 5001, 0)) }
		go func() { _, _ = e.RotateRoot(context.Background()) }()
		time.Sleep(time.Second)
		checkWithin(t, time.Second, "a read", read)
		e.Invalidate(configKey) // no connection is in use now
		time.Sleep(4 * time.Second)
		checkWithin(t, 2*time.Second, "a first read", read)
		time.Sleep(2 * time.Minute)
		checkHealthy(t, f, e)
	})
}
