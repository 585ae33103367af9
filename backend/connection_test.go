// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"testing"
	"time"
)

// The vendor's endpoints share their logins. A move between them keeps the pending
// passwords, the superseded password and the pacing of logins.
func TestMoveBetweenVendorEndpoints(t *testing.T) {
	t.Parallel()
	runCase(t, "a kept password becomes the right one", func(t *testing.T) {
		f, e, _ := faultThenApply(t, 5*time.Minute)
		_, _ = e.RotateRoot(t.Context())
		writeConfig(t, e, ConfigPatch{Transport: ptr("rest")})
		time.Sleep(10 * time.Minute)
		for range 60 {
			_, _ = e.IssueKey(t.Context(), 5001, 0)
			time.Sleep(time.Minute)
			e.Tick(t.Context())
		}
		checkHealthy(t, f, e)
	})
	runCase(t, "a superseded password is written again", func(t *testing.T) {
		f, e, write := superseded(t)
		check(t, write(ConfigPatch{Transport: ptr("rest")}))
		if c := storedConfig(t, e); c.Root.Last.IsZero() {
			t.Error("the time of the last rotation is lost")
		}
		wantErr(t, write(ConfigPatch{Password: ptr("right"), VerifyConnection: ptr(false)}), ErrInvalid)
		checkPasswordStored(t, f, e)
	})
	runCase(t, "superseded password and move in one write", func(t *testing.T) {
		f, _, write := superseded(t)
		_ = write(ConfigPatch{Transport: ptr("rest"), Password: ptr("right")})
		checkRefused(t, f, 0)
	})
	runCase(t, "refused logins are paced", func(t *testing.T) {
		f, e, _ := configured(t, func(c *Config) { c.Password = "wrong" })
		for _, transport := range []string{"rest", "soap"} {
			for range 10 {
				_, _ = e.IssueKey(t.Context(), 5001, 0)
				time.Sleep(30 * time.Second)
			}
			_ = e.WriteConfig(t.Context(), ConfigPatch{Transport: &transport, VerifyConnection: ptr(false)}, noManager{})
		}
		checkRefused(t, f, 3)
	})
}
