// SPDX-License-Identifier: MPL-2.0

package backend

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-ecgrid/backend/session"
)

// superseded returns an engine whose rotate-root has replaced the password "right", which
// an operator wrote.
func superseded(t *testing.T) (f *fakeECGrid, e *Engine, write func(ConfigPatch) error) {
	t.Helper()
	f = newFake()
	e = testEngine(t, f, new(logical.InmemStorage))
	writeConfig(t, e, ConfigPatch{Username: ptr("login"), Password: ptr("right")})
	check(t, errOf(e.RotateRoot(t.Context())))
	return f, e, func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
}

// An operator's password that was not verified is superseded, too, after rotate-root has
// used it. It must not replace the password that only Vault knows.
func TestSupersededPasswordThatWasNotVerified(t *testing.T) {
	t.Parallel()
	for name, verify := range map[string]*bool{"written again, not verified": ptr(false), "written again, verified": nil} {
		runCase(t, name, func(t *testing.T) {
			f, e, write := superseded(t)
			f.set(func() { f.password = "by support" })
			check(t, write(ConfigPatch{Password: ptr("by support"), VerifyConnection: ptr(false)}))
			check(t, errOf(e.RotateRoot(t.Context()))) // the password works
			wantErr(t, write(ConfigPatch{Password: ptr("by support"), VerifyConnection: verify}), ErrInvalid)
			checkPasswordStored(t, f, e)
			checkRefused(t, f, 0)
		})
	}
}

// The last password that an operator wrote is refused after any number of rotations. It
// is not sent to ECGrid.
func TestSupersededPassword(t *testing.T) {
	runVirtual(t, func(t *testing.T) {
		f, e, _ := configured(t)
		write := func(p ConfigPatch) error { return e.WriteConfig(t.Context(), p, noManager{}) }
		check(t, write(ConfigPatch{Password: ptr("right")}))
		at, err := e.RotateRoot(t.Context())
		check(t, err)
		for range 3 {
			time.Sleep(time.Hour)
			before := f.now().calls
			for range 20 {
				for name, patch := range map[string]ConfigPatch{
					"alone":           {Password: ptr("right")},
					"with username":   {Username: ptr("LOGIN"), Password: ptr("right")},
					"unverified":      {Username: ptr("login"), Password: ptr("right"), VerifyConnection: ptr(false)},
					"with a new path": {URL: ptr("https://os.ecgrid.io/x"), Password: ptr("right")},
				} {
					err := write(patch)
					_, message, _ := Describe(err)
					if !errors.Is(err, ErrInvalid) || !strings.Contains(message, at.Format(time.RFC3339)) {
						t.Errorf("%s: %v", name, err)
					}
				}
			}
			if calls := f.now().calls; calls["Login"] != before["Login"] || calls["WhoAmI"] != before["WhoAmI"] {
				t.Error("the superseded password was sent to ECGrid")
			}
			checkHealthy(t, f, e)
			check(t, errOf(e.RotateRoot(t.Context())))
		}
		// A password that does not work replaces nothing.
		wantErr(t, write(ConfigPatch{Password: ptr("wrong")}), session.ErrRefused)
		wantErr(t, write(ConfigPatch{Password: ptr("right")}), ErrInvalid)
		// One that works does. The password before it was not superseded and is just wrong.
		f.set(func() { f.password = "third" })
		if err := write(ConfigPatch{Password: ptr("third")}); err != nil {
			t.Errorf("got %v", err)
		}
		wantErr(t, write(ConfigPatch{Password: ptr("right")}), session.ErrRefused)
		checkHealthy(t, f, e)

		// Another login may use the same password.
		check(t, errOf(e.RotateRoot(t.Context())))
		for _, patch := range []ConfigPatch{
			{URL: ptr("https://other.example/x"), Password: ptr("third")},
			{Username: ptr("other"), Password: ptr("third")},
		} {
			patch.VerifyConnection = ptr(false)
			check(t, write(patch))
		}
		if c := storedConfig(t, e); !c.SupersededAt.IsZero() || !c.Root.Last.IsZero() {
			t.Errorf("another login has superseded_at %s and last rotation %s", c.SupersededAt, c.Root.Last)
		}
	})
}
