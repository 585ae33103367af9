// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"context"
	"testing"
	"time"

	"vault-plugin-ecgrid/internal/ecgrid"
)

func TestRotateRole(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, storage := configured(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		time.Sleep(time.Hour)
		done, err := e.RotateRole(t.Context(), "a")
		check(t, err)
		checkChanges(t, f, 1)
		r := readRole(t, e, "a")
		if !r.Rotation.Last.Equal(done.RotatedAt) || !r.Rotation.Next.Equal(done.RotatedAt.Add(24*time.Hour)) {
			t.Errorf("rotated at %s, recorded %+v", done.RotatedAt, r.Rotation)
		}
		// A result that cannot be stored is only a warning. A client that repeats the
		// request after an error would replace the key again.
		f.set(func() { f.onAny = func(op string) { storage.FailPut(op == "GenerateAPIKey") } })
		done, err = e.RotateRole(t.Context(), "a")
		f.set(func() { f.onAny = nil })
		check(t, err)
		checkChanges(t, f, 2)
		if len(done.Warnings) != 1 {
			t.Errorf("got warnings %v, want one", done.Warnings)
		}
		storage.FailPut(false)
		if got := readRole(t, e, "a"); got != r {
			t.Errorf("the role was changed to %+v", got)
		}
		f.failWith("GenerateAPIKey", ecgrid.ErrAccessDenied)
		wantErr(t, errOf(e.RotateRole(t.Context(), "a")), ecgrid.ErrAccessDenied)
	})
}

// A client that hangs up stops neither the rotation nor its record.
func TestRotateRoleCanceled(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		writeRole(t, e, "a", RolePatch{Schedule: SchedulePatch{Period: ptr(24 * time.Hour)}})
		ctx, hangUp := context.WithCancel(t.Context())
		f.on("GenerateAPIKey", hangUp)
		check(t, errOf(e.RotateRole(ctx, "a")))
		checkChanges(t, f, 1)
		if r := readRole(t, e, "a"); r.Rotation.Last.IsZero() {
			t.Errorf("the rotation is not recorded: %+v", r.Rotation)
		}
	})
}
